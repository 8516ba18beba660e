// Taking results apart in tests.
#pragma once

#include <stdexcept>
#include <utility>

#include "partitions/io/result.hpp"

namespace slotkeeper::test {

/// The value; the test fails with the error's message when there is none.
template <class T>
T ok(Result<T> result) {
  if (!result.has_value()) {
    throw std::runtime_error(std::string(info(result.assume_error().code).name) + ": " + result.assume_error().message);
  }
  if constexpr (!std::is_void_v<T>) return std::move(result).assume_value();
}

/// The error; the test fails when there is none.
template <class T>
Error error_of(Result<T> result) {
  if (result.has_value()) throw std::runtime_error("this should have failed and did not");
  return std::move(result).assume_error();
}

}  // namespace slotkeeper::test

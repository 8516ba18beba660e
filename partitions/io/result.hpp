// Results of everything that can fail: Boost.Outcome behind one alias, because g++ 12 and clang 14 warn when such a
// result is dropped, which tl::expected and std::expected of GCC 12 do not. A dropped fsync result is the bug of this
// field.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <boost/outcome/basic_result.hpp>
#include <boost/outcome/policy/terminate.hpp>
#include <boost/outcome/success_failure.hpp>

#include "partitions/io/error_code.hpp"

namespace slotkeeper {

/// One figure or list that goes with an error, printed under `detail` in JSON.
struct ErrorDetail {
  std::string name;
  std::variant<std::int64_t, bool, std::string, std::vector<std::string>> value;
};

/// What failed, where, and the figures that go with it. `message` is a sentence without the final full stop; each layer
/// puts its own context in front with `with_context`.
struct Error {
  Errc code = Errc::internal;
  int os_errno = 0;  ///< of the system call that failed, 0 when none did
  std::string message;
  std::vector<ErrorDetail> details;

  [[nodiscard]] Error with_context(std::string_view prefix) &&;
  [[nodiscard]] Error with_detail(ErrorDetail detail) &&;
  [[nodiscard]] Error with_code(Errc other) &&;
};

/// An error with a message. `os_errno`, where it is not 0, is spelled out at the end of the message.
[[nodiscard]] Error make_error(Errc code, std::string message, int os_errno = 0);

template <class T>
using Result = BOOST_OUTCOME_V2_NAMESPACE::basic_result<T, Error, BOOST_OUTCOME_V2_NAMESPACE::policy::terminate>;

using BOOST_OUTCOME_V2_NAMESPACE::success;

/// Prefixes the error of a failed result and leaves a good one alone.
template <class T>
[[nodiscard]] Result<T> with_context(Result<T> result, std::string_view prefix) {
  if (result.has_value()) return result;
  return std::move(result).assume_error().with_context(prefix);
}

}  // namespace slotkeeper

#define SK_DETAIL_JOIN2(a, b) a##b
#define SK_DETAIL_JOIN(a, b) SK_DETAIL_JOIN2(a, b)
#define SK_DETAIL_UNIQUE SK_DETAIL_JOIN(sk_result_, __LINE__)

/// Returns from the function with the error of a failed `Result<void>` (or drops the value of a good one).
#define SK_TRY(expression)                      \
  do {                                          \
    auto sk_result = (expression);              \
    if (!sk_result.has_value()) [[unlikely]]    \
      return std::move(sk_result).as_failure(); \
  } while (false)

/// `SK_TRY_ASSIGN(auto name, expression)`: declares or assigns the value, or returns with the error.
// NOLINTBEGIN(bugprone-macro-parentheses): a declaration cannot stand in parentheses
#define SK_TRY_ASSIGN(target, expression)            \
  auto SK_DETAIL_UNIQUE = (expression);              \
  if (!SK_DETAIL_UNIQUE.has_value()) [[unlikely]]    \
    return std::move(SK_DETAIL_UNIQUE).as_failure(); \
  target = std::move(SK_DETAIL_UNIQUE).assume_value()
// NOLINTEND(bugprone-macro-parentheses)

namespace slotkeeper::detail {
[[noreturn]] void invariant_broken(const char* condition, const char* file, int line);
}  // namespace slotkeeper::detail

/// Aborts in every build when a condition that only a bug can break does not hold. Never for input.
#define SK_INVARIANT(condition) \
  ((condition) ? static_cast<void>(0) : ::slotkeeper::detail::invariant_broken(#condition, __FILE__, __LINE__))

#include "partitions/io/result.hpp"

#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace slotkeeper {

Error Error::with_context(std::string_view prefix) && {
  message.insert(0, std::string(prefix) + ": ");
  return std::move(*this);
}

Error Error::with_detail(ErrorDetail detail) && {
  details.push_back(std::move(detail));
  return std::move(*this);
}

Error Error::with_code(Errc other) && {
  code = other;
  return std::move(*this);
}

Error make_error(Errc code, std::string message, int os_errno) {
  if (os_errno != 0) message += ": " + std::generic_category().message(os_errno);
  return Error{.code = code, .os_errno = os_errno, .message = std::move(message), .details = {}};
}

namespace detail {
void invariant_broken(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "slotkeeper: broken invariant at %s:%d: %s\n", file, line, condition);
  std::abort();
}
}  // namespace detail

}  // namespace slotkeeper

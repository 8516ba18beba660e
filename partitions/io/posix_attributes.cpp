// Extended attributes of descriptors and of paths.
#include <algorithm>
#include <optional>
#include <sys/xattr.h>

#include "partitions/io/posix_call.hpp"

namespace slotkeeper::io {
namespace {

/// Attribute names and values are at most 64 KiB each (XATTR_LIST_MAX, XATTR_SIZE_MAX), so one buffer always suffices;
/// most are far smaller and the first try fits.
constexpr std::size_t kFirstTryBytes = 1024;
constexpr std::size_t kLimitBytes = 65536;

/// Calls `get(buffer, size)` until the answer fits; -1 with errno in `failure` otherwise.
template <class Get>
std::optional<std::string> growing(Get&& get, int& failure) {
  std::string buffer(kFirstTryBytes, '\0');
  for (;;) {
    const ssize_t length = get(buffer.data(), buffer.size());
    if (length >= 0) {
      buffer.resize(static_cast<std::size_t>(length));
      return buffer;
    }
    failure = errno;
    if (failure != ERANGE || buffer.size() >= kLimitBytes) return std::nullopt;
    buffer.resize(kLimitBytes);
  }
}

std::optional<std::string> value_of(const AttributeTarget& target, const std::string& attribute, int& failure) {
  return growing(
      [&](char* buffer, std::size_t size) {
        return target.descriptor >= 0 ? ::fgetxattr(target.descriptor, attribute.c_str(), buffer, size)
                                      : ::getxattr(target.path.c_str(), attribute.c_str(), buffer, size);
      },
      failure);
}

}  // namespace

Result<std::vector<ExtendedAttribute>> list_attributes(const AttributeTarget& target) {
  int failure = 0;
  const auto names = growing(
      [&](char* buffer, std::size_t size) {
        return target.descriptor >= 0 ? ::flistxattr(target.descriptor, buffer, size)
                                      : ::listxattr(target.path.c_str(), buffer, size);
      },
      failure);
  std::vector<ExtendedAttribute> attributes;
  if (!names) {
    if (failure == ENOTSUP) return attributes;
    return call_failed("listxattr", target.name, failure);
  }
  for (std::size_t start = 0; start < names->size();) {
    const std::size_t end = std::min(names->find('\0', start), names->size());
    const std::string attribute = names->substr(start, end - start);
    start = end + 1;
    auto value = value_of(target, attribute, failure);
    if (!value && failure == ENODATA) continue;  // removed since it was listed
    if (!value) return call_failed("getxattr of " + attribute, target.name, failure);
    attributes.push_back({.name = attribute, .value = std::move(*value)});
  }
  std::sort(attributes.begin(), attributes.end());
  return attributes;
}

Result<void> set_attribute(const AttributeTarget& target, const ExtendedAttribute& attribute) {
  if (attribute.name.find('\0') != std::string::npos) return call_failed("setxattr", target.name, EINVAL);
  const char* const name = attribute.name.c_str();
  const int outcome = target.descriptor >= 0
                          ? ::fsetxattr(target.descriptor, name, attribute.value.data(), attribute.value.size(), 0)
                          : ::setxattr(target.path.c_str(), name, attribute.value.data(), attribute.value.size(), 0);
  if (outcome != 0) return call_failed("setxattr of " + attribute.name, target.name, errno);
  return success();
}

Result<void> remove_attribute(const AttributeTarget& target, const std::string& attribute) {
  const int outcome = target.descriptor >= 0 ? ::fremovexattr(target.descriptor, attribute.c_str())
                                             : ::removexattr(target.path.c_str(), attribute.c_str());
  if (outcome != 0) return call_failed("removexattr of " + attribute, target.name, errno);
  return success();
}

}  // namespace slotkeeper::io

// Flags that keep even root from changing an entry (chattr +i, +a): firmware sets them to guard its configuration, and
// then they stand in the way of a restore.
#pragma once

#include <cerrno>
#include <functional>
#include <string>
#include <vector>

#include "partitions/io/directory.hpp"

namespace slotkeeper::permanent {

/// Carries out `change`. Where that is not permitted, takes the flags off `involved` (paths below `root`; those that
/// are missing do not count) and tries once more. `lifted` is told every entry that lost a flag; it may be empty.
/// Errors: those of `change`.
template <class Change>
[[nodiscard]] auto despite_write_protection(io::Directory& root, const std::vector<std::string>& involved,
                                            const std::function<void(const std::string&)>& lifted, Change change)
    -> decltype(change()) {
  auto done = change();
  if (done.has_value() || done.assume_error().os_errno != EPERM) return done;
  bool any = false;
  for (const std::string& path : involved) {
    const Result<bool> cleared = root.clear_write_protection_of(path);
    if (!cleared.has_value() || !cleared.assume_value()) continue;
    any = true;
    if (lifted) lifted(path);
  }
  if (!any) return done;
  return change();
}

}  // namespace slotkeeper::permanent

#pragma once

#include <string>

namespace slotkeeper::test {

/// All of a file or device. Throws when the system refuses.
[[nodiscard]] std::string contents_of(const std::string& path);

}  // namespace slotkeeper::test

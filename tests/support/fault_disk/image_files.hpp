// Disk images as sparse files. Throws std::runtime_error when the system refuses.
#pragma once

#include <string>

namespace slotkeeper::test {

[[nodiscard]] std::string read_image(const std::string& path);
/// Makes or replaces the file; zeros become holes.
void write_image(const std::string& path, const std::string& contents);
void copy_image(const std::string& from, const std::string& to);

}  // namespace slotkeeper::test

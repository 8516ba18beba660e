// Logs whose entries can be counted: every line has a number and a checksum of its own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace slotkeeper::test {

/// `count` lines with the numbers from `first` on, of about 110 bytes each, as compressible as real logs are.
[[nodiscard]] std::string log_lines(std::uint64_t first, std::uint64_t count);

/// Standard output of a shell command, however long. Throws when it fails.
[[nodiscard]] std::string output_of(const std::string& shell_command);

/// The contents of a log; what ends in ".zst" is unpacked by the zstd tool. Throws when that fails.
[[nodiscard]] std::string read_log(const std::string& path);

/// What is wrong with these contents as lines `first` to `last`, each once and in order; "" when nothing is.
[[nodiscard]] std::string wrong_with_lines(const std::string& contents, std::uint64_t first, std::uint64_t last);

}  // namespace slotkeeper::test

#include "tests/support/log_lines.hpp"

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "tests/support/permanent_partition.hpp"

namespace slotkeeper::test {
namespace {

std::uint64_t mixed(std::uint64_t value) {
  value += 0x9E3779B97F4A7C15ULL;
  value = (value ^ (value >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  value = (value ^ (value >> 27U)) * 0x94D049BB133111EBULL;
  return value ^ (value >> 31U);
}

std::uint32_t checksum(const std::string& text) {  // FNV-1a: shares nothing with what is tested
  std::uint32_t value = 2166136261U;
  for (const char byte : text) value = (value ^ static_cast<unsigned char>(byte)) * 16777619U;
  return value;
}

std::string one_line(std::uint64_t number) {
  static const char* const kEvents[] = {"tls: session opened", "dhcp: lease renewed", "card: slot polled",
                                        "ntp: clock adjusted", "KSR/UPDATE/START Target=Konnektor"};
  const std::uint64_t random = mixed(number);
  char text[160];
  std::snprintf(text, sizeof text, "%012llu 2026-11-26T%02u:%02u:%02uZ konnektor svc[%u]: %s id=%08x",
                static_cast<unsigned long long>(number), static_cast<unsigned int>(number / 3600 % 24),
                static_cast<unsigned int>(number / 60 % 60), static_cast<unsigned int>(number % 60),
                static_cast<unsigned int>(300 + random % 40), kEvents[random % 5],
                static_cast<unsigned int>(random >> 32U));
  const std::string line = text;
  std::snprintf(text, sizeof text, " #%08x\n", checksum(line));
  return line + text;
}

}  // namespace

std::string log_lines(std::uint64_t first, std::uint64_t count) {
  std::string text;
  for (std::uint64_t number = first; number < first + count; ++number) text += one_line(number);
  return text;
}

std::string output_of(const std::string& shell_command) {
  std::FILE* const pipe = ::popen(shell_command.c_str(), "re");
  if (pipe == nullptr) throw std::runtime_error("popen");
  std::string output;
  char buffer[65536];
  for (std::size_t count = 1; count != 0;) {
    count = std::fread(buffer, 1, sizeof buffer, pipe);
    output.append(buffer, count);
  }
  if (::pclose(pipe) != 0) throw std::runtime_error("failed: " + shell_command);
  return output;
}

std::string read_log(const std::string& path) {
  return path.ends_with(".zst") ? output_of("zstd -d -c -q -- '" + path + "'") : contents_of(path);
}

std::string wrong_with_lines(const std::string& contents, std::uint64_t first, std::uint64_t last) {
  std::size_t at = 0;
  for (std::uint64_t number = first; number <= last; ++number) {
    const std::string wanted = one_line(number);
    if (contents.compare(at, wanted.size(), wanted) != 0) {
      return "line " + std::to_string(number) + " is not at byte " + std::to_string(at) + " of " +
             std::to_string(contents.size()) + ", there is: " + contents.substr(at, 60);
    }
    at += wanted.size();
  }
  return at == contents.size() ? "" : std::to_string(contents.size() - at) + " bytes behind the last line";
}

}  // namespace slotkeeper::test

#include "engine/bundle/version.hpp"

#include <array>
#include <charconv>
#include <cstdint>

namespace slotkeeper::bundle {
namespace {

constexpr std::size_t kNumbersMax = 8;
constexpr std::size_t kDigitsMax = 9;
using Numbers = std::array<std::uint32_t, kNumbersMax>;

std::optional<Numbers> numbers_of(std::string_view version) {
  Numbers numbers{};
  for (std::uint32_t& number : numbers) {
    const std::string_view digits = version.substr(0, version.find('.'));
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (digits.empty() || digits.size() > kDigitsMax || error != std::errc{} || end != digits.data() + digits.size()) {
      return std::nullopt;
    }
    if (digits.size() == version.size()) return numbers;
    version.remove_prefix(digits.size() + 1);
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::strong_ordering> compare_versions(std::string_view a, std::string_view b) {
  const auto left = numbers_of(a);
  const auto right = numbers_of(b);
  if (!left || !right) return std::nullopt;
  return *left <=> *right;
}

}  // namespace slotkeeper::bundle

// Versions as people write them: "3.5.1".
#pragma once

#include <compare>
#include <optional>
#include <string_view>

namespace slotkeeper::bundle {

/// Number by number: "3.10" comes after "3.9", "3.5" equals "3.5.0". Nothing where one of the two is not made of 1 to 8
/// numbers of at most 9 digits with dots between: what else could be meant is not guessed.
[[nodiscard]] std::optional<std::strong_ordering> compare_versions(std::string_view a, std::string_view b);

}  // namespace slotkeeper::bundle

// The word that was probably meant.
#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace slotkeeper {

/// The candidate that differs least from a misspelt word; nothing when none is near.
[[nodiscard]] std::optional<std::string_view> nearest_word(std::string_view word,
                                                           std::span<const std::string_view> candidates);

}  // namespace slotkeeper

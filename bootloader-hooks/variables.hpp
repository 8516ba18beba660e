// Variables of a bootloader's environment, and what all backends that have them read the same way. Pure functions.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bootloader-hooks/boot_state.hpp"

namespace slotkeeper::boot {

using Variables = std::map<std::string, std::string>;
/// New values; nothing removes the variable.
using VariableChanges = std::map<std::string, std::optional<std::string>>;

[[nodiscard]] std::optional<std::string> value_of(const Variables& variables, const std::string& name);

/// The slots in a text like "A B", best first, each once. Other words (a recovery system, say) are none of our slots.
[[nodiscard]] std::vector<SlotId> order_in(const std::optional<std::string>& text);

/// The text for `order`; words of `before` that are none of our slots stay, behind ours.
[[nodiscard]] std::string order_text(const std::vector<SlotId>& order, const std::optional<std::string>& before);

}  // namespace slotkeeper::boot

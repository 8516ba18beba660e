// Tables for people, made from the same members that the JSON result line carries, so that both say the same.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/json/json.hpp"

namespace slotkeeper::cli {

/// The lines for this command's result, at most 80 columns where the names allow; none for commands without a table.
[[nodiscard]] std::vector<std::string> table_of(std::string_view command, const JsonObject& extra);

}  // namespace slotkeeper::cli

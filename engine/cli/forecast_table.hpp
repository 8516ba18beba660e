// The forecast of the preflight for people: what the permanent partition holds, what the update needs of it, and, after
// the gates, which of them decides and what to delete.
#pragma once

#include <string>
#include <vector>

#include "engine/json/json.hpp"

namespace slotkeeper::cli {

/// What comes before the gates. `forecast` is the member of that name of the result line of `preflight`.
[[nodiscard]] std::vector<std::string> forecast_lines(const Json& forecast);

/// What comes after them: nothing where all of them pass.
[[nodiscard]] std::vector<std::string> verdict_lines(const Json& forecast);

}  // namespace slotkeeper::cli

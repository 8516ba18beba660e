// The forecast as the result line of `preflight` carries it; tables for people are made from the same members.
#pragma once

#include "engine/json/json.hpp"
#include "engine/transaction/steps/preflight.hpp"

namespace slotkeeper {

/// The members of `forecast`; one example of them stands in DESIGN.md.
[[nodiscard]] JsonObject forecast_members(const PreflightReport& report, const permanent::ClassTable& classes);

}  // namespace slotkeeper

#include "engine/transaction/steps/compact.hpp"

#include "engine/transaction/compacting.hpp"

namespace slotkeeper {

Result<CompactedPermanent> compact_permanent(Device& device, UpdatePlan& plan) {
  device.phase = Phase::compact;
  SK_TRY(device.sink().check_cancelled());
  SK_TRY_ASSIGN(auto root, device.open_permanent());
  SK_TRY_ASSIGN(auto report,
                permanent::carry_out(*root, plan.report().compaction, scratch_areas(device), device.sink()));
  device.compacted = report.has_effect();
  plan.forget_files();
  SK_TRY_ASSIGN(const auto space, root->space());
  SK_TRY(root->close());
  auto input = plan.report().forecast.input;
  input.space = space;
  input.reclaimable = {};
  const auto forecast = permanent::make_forecast(input);
  for (const auto& gate : forecast.gates) {
    if (gate.pass) continue;
    return make_error(gate.code, "after compaction: " + gate.message)
        .with_detail({"measured", static_cast<std::int64_t>(gate.measured)})
        .with_detail({"limit", static_cast<std::int64_t>(gate.limit)})
        .with_detail({"unit", gate.unit});
  }
  return CompactedPermanent(std::move(report));
}

}  // namespace slotkeeper

// Step 3 of 9: VerifiedManifest -> UpdatePlan. Looks, computes and decides; changes no byte anywhere.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/bundle/bundle.hpp"
#include "engine/bundle/reuse_plan.hpp"
#include "engine/transaction/device.hpp"
#include "partitions/permanent/compaction.hpp"
#include "partitions/permanent/forecast.hpp"
#include "partitions/permanent/forecast_advice.hpp"
#include "partitions/permanent/write_probe.hpp"

namespace slotkeeper {

/// Everything that was found, whether the gates pass or not.
struct PreflightReport {
  SlotId target = SlotId::b;
  std::vector<permanent::Gate> gates;  ///< in the order of the table of codes; all are evaluated
  permanent::Forecast forecast;
  permanent::CompactionPlan compaction;
  std::optional<permanent::WriteRate> write_rate;       ///< of the live system; nothing where the probe is switched off
  permanent::Advice advice;                             ///< what to free so that the gates of the forecast pass
  std::uint64_t errors_counted = 0;                     ///< of the permanent partition's filesystem
  SlotReading fallback;                                 ///< how the booted slot read
  std::map<std::string, bundle::OldChunks> old_chunks;  ///< what it holds, by volume, cut as the bundle is

  [[nodiscard]] const permanent::Inventory& inventory() const { return compaction.inventory; }
  /// The first gate that says no.
  [[nodiscard]] const permanent::Gate* first_refusal() const;
};

/// Tells everything that an update would write, in the order of its steps.
void tell_writes(Device& device, const bundle::Manifest& manifest, const PreflightReport& report);

/// The gate's code and message, its figures in the details.
[[nodiscard]] Error refusal_error(const permanent::Gate& gate);

/// Errors: incompatible (device, volume, size), unsupported, wrong_state (the target is in use), no_space, io_error.
[[nodiscard]] Result<PreflightReport> examine(Device& device, const bundle::VerifiedManifest& manifest);

/// A plan of which every gate passed. Of the inventory it has the sums and the files that compaction is about.
class UpdatePlan {
 public:
  [[nodiscard]] const PreflightReport& report() const { return report_; }
  /// Once compaction is done.
  void forget_files() {
    report_.compaction.inventory.entries = {};
    report_.compaction.actions = {};
  }

 private:
  friend Result<UpdatePlan> plan_update(Device& device, const bundle::VerifiedManifest& manifest);
  explicit UpdatePlan(PreflightReport report) : report_(std::move(report)) {}
  PreflightReport report_;
};

/// Errors: as examine, and the code of the first gate that says no, with its figures in the details.
[[nodiscard]] Result<UpdatePlan> plan_update(Device& device, const bundle::VerifiedManifest& manifest);

}  // namespace slotkeeper

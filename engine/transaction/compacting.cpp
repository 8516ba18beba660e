#include "engine/transaction/compacting.hpp"

namespace slotkeeper {
namespace {

constexpr std::size_t kListedMax = 100;

template <class Items, class Print>
JsonArray first_of(const Items& items, Print&& print) {
  JsonArray list;
  for (const auto& item : items) {
    if (list.size() == kListedMax) break;
    list.emplace_back(print(item));
  }
  return list;
}

Json dropped_to_json(const permanent::DroppedSegment& segment) {
  return JsonObject{{"path", escape_bytes(segment.path)},
                    {"bytes", segment.bytes},
                    {"entries", segment.entries ? Json(*segment.entries) : Json()}};
}

Json compressed_to_json(const permanent::CompressedSegment& segment) {
  return JsonObject{{"path", escape_bytes(segment.path)},
                    {"before_bytes", segment.before_bytes},
                    {"after_bytes", segment.after_bytes}};
}

Json left_alone_to_json(const permanent::LeftAlone& left) {
  return JsonObject{{"path", escape_bytes(left.path)}, {"reason", permanent::text_of(left.reason)}};
}

/// Entries of all dropped segments; null when those of one could not be counted.
Json entries_of(const std::vector<permanent::DroppedSegment>& dropped) {
  std::uint64_t entries = 0;
  for (const auto& segment : dropped) {
    if (!segment.entries) return Json();
    entries += *segment.entries;
  }
  return Json(entries);
}

}  // namespace

permanent::ScratchAreas scratch_areas(Device& device) {
  return {device.store->area(AreaKind::scratch), device.store->area(AreaKind::scratch_second)};
}

Result<permanent::CompactionLimits> compaction_limits(Device& device) {
  permanent::CompactionLimits limits{.now = device.settings.host.now()};
  SK_TRY_ASSIGN(limits.half_compressed_inode, permanent::half_compressed(scratch_areas(device)));
  return limits;
}

PlannedWrite planned_write_of(const permanent::CompactionPlan& plan, const permanent::CompactionAction& action) {
  const bool compresses = action.kind == permanent::CompactionAction::Kind::compress;
  const std::uint64_t size = plan.file(action).status.size_bytes;
  const std::uint64_t stored = size - std::min(size, action.frees.bytes);
  return {.where = "permanent partition",
          .what = text_of(action.kind, plan.path(action)),
          .bytes = compresses ? stored : 0};
}

Result<void> finish_compaction(Device& device) {
  const auto phase = std::exchange(device.phase, Phase::compact);
  SK_TRY_ASSIGN(auto root, device.open_permanent());
  SK_TRY_ASSIGN(const bool wrote, permanent::recover_compaction(*root, scratch_areas(device), device.sink()));
  SK_TRY(root->close());
  device.wrote = device.wrote || wrote;
  device.phase = phase;
  return success();
}

void report_compaction(Device& device, const permanent::CompactionPlan& plan,
                       const permanent::CompactionReport& report) {
  std::uint64_t dropped_bytes = 0;
  for (const auto& segment : report.dropped) dropped_bytes += segment.bytes;
  permanent::LeftAloneList left = plan.left_alone;
  std::vector<permanent::LeftAlone> named = left.named();
  named.insert(named.end(), report.left_alone.named().begin(), report.left_alone.named().end());
  JsonObject& extra = device.report;
  extra.emplace_back("frees_bytes", plan.frees.bytes);
  extra.emplace_back("frees_inodes", plan.frees.inodes);
  extra.emplace_back("freed_bytes", report.freed.bytes);
  extra.emplace_back("removed_files", report.removed_files);
  extra.emplace_back("dropped_files", report.dropped.size());
  extra.emplace_back("dropped_bytes", dropped_bytes);
  extra.emplace_back("dropped_entries", entries_of(report.dropped));
  extra.emplace_back("dropped", first_of(report.dropped, dropped_to_json));
  extra.emplace_back("compressed_files", report.compressed.size());
  extra.emplace_back("compressed", first_of(report.compressed, compressed_to_json));
  extra.emplace_back("left_alone_files", plan.left_alone.count() + report.left_alone.count());
  extra.emplace_back("left_alone", first_of(named, left_alone_to_json));
}

}  // namespace slotkeeper

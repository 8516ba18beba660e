#include "partitions/permanent/restore.hpp"

#include "partitions/permanent/restore_build.hpp"
#include "partitions/permanent/restore_install.hpp"
#include "partitions/permanent/restore_plan.hpp"

namespace slotkeeper::permanent {
namespace {

/// A restore that was begun is finished: half of it is of no use to anybody.
class Uncancelled final : public ProgressSink {
 public:
  explicit Uncancelled(ProgressSink& sink) : sink_(sink) {}
  void progress(Phase phase, std::uint64_t done_bytes, std::uint64_t total_bytes) override {
    sink_.progress(phase, done_bytes, total_bytes);
  }
  void notice(std::string_view message) override { sink_.notice(message); }
  [[nodiscard]] bool cancel_requested() const override { return false; }

 private:
  ProgressSink& sink_;
};

/// The snapshot in memory, shown to be the one that was recorded.
Result<SnapshotListing> list_snapshot(StoreArea& snapshot, const SnapshotFacts& facts) {
  SnapshotListing listing;
  SK_TRY_ASSIGN(const SnapshotContents contents,
                read_snapshot(snapshot, [&](SnapshotReader::Item&& item) -> Result<void> {
                  if (item.is_mount) {
                    listing.mounts.push_back(item.entry.path);
                  } else {
                    listing.entries.push_back(item.entry);
                  }
                  return success();
                }));
  if (contents.config_root != facts.config_root || contents.protected_root != facts.protected_root) {
    return make_error(Errc::readback_mismatch, "the snapshot in the state store is not the one that was recorded");
  }
  return listing;
}

Result<void> verify_restored(io::Directory& root, const ClassTable& classes, const SnapshotListing& wanted,
                             const SnapshotFacts& facts, const TrialLogs& logs, ProgressSink& progress) {
  SK_TRY_ASSIGN(const Inventory inventory, take_inventory(root, classes, HashScope::config_and_state, progress));
  SK_TRY_ASSIGN(const RestorePlan rest, plan_restore(wanted, inventory, logs));
  bool good = rest.is_empty();
  if (rest.kept.empty() && wanted.mounts.empty() && inventory.mounts.empty())
    good = good && inventory.protected_root == facts.protected_root;
  if (good) return success();
  std::string first = "the roots differ";
  if (!rest.remove.empty()) first = rest.remove.front() + " is there again";
  if (!rest.set_aside.empty()) first = rest.set_aside.front() + " is there again";
  if (!rest.fix_directories.empty()) first = wanted.entries[rest.fix_directories.front()].path + " differs";
  if (!rest.build.empty()) first = wanted.entries[rest.build.front()].path + " differs";
  return make_error(Errc::readback_mismatch, "afterwards " + first);
}

Result<RestoreReport> restore(io::Directory& root, const ClassTable& classes, StoreArea& snapshot,
                              const SnapshotListing& wanted, const SnapshotFacts& facts, const TrialLogs& logs,
                              ProgressSink& progress) {
  RestoreReport report;
  SK_TRY_ASSIGN(const Inventory present, take_inventory(root, classes, HashScope::config_and_state, progress));
  SK_TRY_ASSIGN(const RestorePlan plan, plan_restore(wanted, present, logs));
  report.kept = plan.kept;
  if (plan.is_empty()) return report;
  report.changed = true;
  Replacements built;
  if (plan.changes_entries()) {
    SK_TRY_ASSIGN(built, build_replacements(root, wanted, plan, snapshot, progress));
  }
  SK_TRY(install_replacements(root, wanted, plan, built, logs, report, progress));
  SK_TRY(verify_restored(root, classes, wanted, facts, logs, progress));
  return report;
}

}  // namespace

Result<RestoreReport> restore_snapshot(io::Directory& root, const ClassTable& classes, StoreArea& snapshot,
                                       const SnapshotFacts& facts, ProgressSink& progress,
                                       const ClassTable* trial_classes) {
  SK_TRY_ASSIGN(const SnapshotListing wanted, with_context(list_snapshot(snapshot, facts), "restore"));
  Uncancelled uncancelled(progress);
  const TrialLogs logs(classes, trial_classes);
  Result<RestoreReport> report = restore(root, classes, snapshot, wanted, facts, logs, uncancelled);
  if (report.has_value()) return report;
  Error error = std::move(report).assume_error();
  const std::string cause(info(error.code).name);
  return std::move(error)
      .with_code(Errc::restore_incomplete)
      .with_context("the configuration is not completely restored")
      .with_detail({"cause", cause});
}

}  // namespace slotkeeper::permanent

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

/// Where a restore takes from and by what it proves itself.
struct Source {
  StoreArea& snapshot;
  const SnapshotFacts& facts;
};

/// The snapshot in memory, shown to be the one that was recorded.
Result<SnapshotListing> list_snapshot(const Source& source, const Inventory& present) {
  SnapshotListing listing;
  SK_TRY_ASSIGN(const SnapshotContents contents,
                read_snapshot(source.snapshot, [&](SnapshotReader::Item&& item) -> Result<void> {
                  if (item.is_mount) {
                    listing.mounts.push_back(item.entry.path);
                  } else {
                    listing.add(item.entry, present);
                  }
                  return success();
                }));
  if (contents.config_root != source.facts.config_root || contents.protected_root != source.facts.protected_root) {
    return make_error(Errc::readback_mismatch, "the snapshot in the state store is not the one that was recorded");
  }
  return listing;
}

Result<void> verify_restored(io::Directory& root, const ClassTable& classes, const Source& source,
                             const TrialLogs& logs, ProgressSink& progress) {
  SK_TRY_ASSIGN(const Inventory inventory, take_inventory(root, classes, HashScope::config_and_state, progress));
  SK_TRY_ASSIGN(const SnapshotListing wanted, list_snapshot(source, inventory));
  SK_TRY_ASSIGN(const RestorePlan rest, plan_restore(wanted, inventory, logs));
  bool good = rest.is_empty();
  if (rest.kept.empty() && wanted.mounts.empty() && inventory.mounts.empty())
    good = good && inventory.protected_root == source.facts.protected_root;
  if (good) return success();
  std::string first = "the roots differ";
  if (!rest.remove.empty()) first = rest.remove.front() + " is there again";
  if (!rest.set_aside.empty()) first = rest.set_aside.front() + " is there again";
  if (!rest.fix_directories.empty()) first = wanted.entries[rest.fix_directories.front()].path + " differs";
  if (!rest.build.empty()) first = wanted.entries[rest.build.front()].path + " differs";
  return make_error(Errc::readback_mismatch, "afterwards " + first);
}

/// What is to be done, and the entries of the snapshot that it speaks of.
struct Work {
  SnapshotListing wanted;
  RestorePlan plan;
};

Error incomplete(Error error) {
  const std::string cause(info(error.code).name);
  return std::move(error)
      .with_code(Errc::restore_incomplete)
      .with_context("the configuration is not completely restored")
      .with_detail({"cause", cause});
}

/// A snapshot that cannot be read is no half restore: its own errors are passed on.
Result<Work> compare(io::Directory& root, const ClassTable& classes, const Source& source, const TrialLogs& logs,
                     ProgressSink& progress) {
  auto present = take_inventory(root, classes, HashScope::config_and_state, progress);
  if (!present.has_value()) return incomplete(std::move(present).assume_error());
  SK_TRY_ASSIGN(SnapshotListing wanted, with_context(list_snapshot(source, present.assume_value()), "restore"));
  auto plan = plan_restore(wanted, present.assume_value(), logs);
  if (!plan.has_value()) return incomplete(std::move(plan).assume_error());
  return Work{.wanted = std::move(wanted), .plan = std::move(plan).assume_value()};
}

Result<RestoreReport> carry_out(io::Directory& root, const ClassTable& classes, const Source& source, const Work& work,
                                const TrialLogs& logs, ProgressSink& progress) {
  const auto& [wanted, plan] = work;
  RestoreReport report;
  report.kept = plan.kept;
  if (plan.is_empty()) return report;
  report.changed = true;
  Replacements built;
  if (plan.changes_entries()) {
    SK_TRY_ASSIGN(built, build_replacements(root, wanted, plan, source.snapshot, progress));
  }
  SK_TRY(install_replacements(root, wanted, plan, built, logs, report, progress));
  SK_TRY(verify_restored(root, classes, source, logs, progress));
  return report;
}

}  // namespace

Result<RestoreReport> restore_snapshot(io::Directory& root, const ClassTable& classes, StoreArea& snapshot,
                                       const SnapshotFacts& facts, ProgressSink& progress,
                                       const ClassTable* trial_classes) {
  Uncancelled uncancelled(progress);
  const TrialLogs logs(classes, trial_classes);
  const Source source{.snapshot = snapshot, .facts = facts};
  SK_TRY_ASSIGN(const Work work, compare(root, classes, source, logs, uncancelled));
  Result<RestoreReport> report = carry_out(root, classes, source, work, logs, uncancelled);
  if (report.has_value()) return report;
  return incomplete(std::move(report).assume_error());
}

}  // namespace slotkeeper::permanent

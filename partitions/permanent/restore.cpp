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

Result<void> verify_restored(io::Directory& root, const ClassTable& classes, const Source& source,
                             const TrialLogs& logs, ProgressSink& progress) {
  SK_TRY_ASSIGN(const Inventory inventory, take_inventory(root, classes, HashScope::config_and_state, progress));
  SK_TRY_ASSIGN(const RestorePlan rest, plan_restore(source.snapshot, source.facts, inventory, logs));
  bool good = rest.is_empty();
  if (rest.kept.empty() && rest.mounts.empty() && inventory.mounts.empty())
    good = good && inventory.protected_root == source.facts.protected_root;
  if (good) return success();
  std::string first = "the roots differ";
  if (!rest.remove.empty()) first = rest.remove.front() + " is there again";
  if (!rest.set_aside.empty()) first = rest.set_aside.front() + " is there again";
  if (!rest.fix_directories.empty()) first = rest.entries[rest.fix_directories.front()].path + " differs";
  if (!rest.build.empty()) first = rest.build.first_path() + " differs";
  return make_error(Errc::readback_mismatch, "afterwards " + first);
}

Error incomplete(Error error) {
  const std::string cause(info(error.code).name);
  return std::move(error)
      .with_code(Errc::restore_incomplete)
      .with_context("the configuration is not completely restored")
      .with_detail({"cause", cause});
}

/// A snapshot that cannot be read is no half restore: its own errors are passed on.
Result<RestorePlan> compare(io::Directory& root, const ClassTable& classes, const Source& source, const TrialLogs& logs,
                            ProgressSink& progress) {
  const auto present = take_inventory(root, classes, HashScope::config_and_state, progress);
  if (!present.has_value()) return incomplete(present.assume_error());
  auto plan = plan_restore(source.snapshot, source.facts, present.assume_value(), logs);
  if (plan.has_value() || plan.assume_error().code != Errc::restore_incomplete) {
    return with_context(std::move(plan), "restore");
  }
  return incomplete(std::move(plan).assume_error());
}

/// The plan is gone when the inventory that verifies all is taken.
Result<RestoreReport> carry_out(io::Directory& root, const Source& source, const RestorePlan plan,
                                const TrialLogs& logs, ProgressSink& progress) {
  RestoreReport report;
  for (const std::string& path : plan.kept) report.kept.add(path);
  if (plan.is_empty()) return report;
  report.changed = true;
  Replacements built;
  if (plan.changes_entries()) {
    SK_TRY_ASSIGN(built, build_replacements(root, plan, source.snapshot, source.facts, progress));
  }
  SK_TRY(install_replacements(root, plan, built, logs, report, progress));
  return report;
}

}  // namespace

Result<RestoreReport> restore_snapshot(io::Directory& root, const ClassTable& classes, StoreArea& snapshot,
                                       const SnapshotFacts& facts, ProgressSink& progress,
                                       const ClassTable* trial_classes) {
  Uncancelled uncancelled(progress);
  const TrialLogs logs(classes, trial_classes);
  const Source source{.snapshot = snapshot, .facts = facts};
  SK_TRY_ASSIGN(RestorePlan plan, compare(root, classes, source, logs, uncancelled));
  Result<RestoreReport> report = carry_out(root, source, std::move(plan), logs, uncancelled);
  if (!report.has_value()) return incomplete(std::move(report).assume_error());
  if (report.assume_value().changed) {
    Result<void> verified = verify_restored(root, classes, source, logs, uncancelled);
    if (!verified.has_value()) return incomplete(std::move(verified).assume_error());
  }
  return report;
}

}  // namespace slotkeeper::permanent

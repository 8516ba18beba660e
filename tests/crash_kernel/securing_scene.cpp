#include <filesystem>

#include "partitions/permanent/reserve.hpp"
#include "tests/crash_kernel/scene.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::test {
namespace {

constexpr std::uint64_t kSlackBytes = 16 * 1024;

/// Records: "begun" before anything, "secured" when snapshot and reserve are there, "closing" and "over" in a recovery.
class SecuringScene final : public Scene {
 public:
  [[nodiscard]] std::string name() const override { return "securing"; }

  void prepare(const Machine& machine) override {
    fill_partition(machine.root, seed());
    ok(permanent::make_own_directory(*machine.open_root()));
    settle_times(machine.root, kOriginalTime);
    note_root(machine);
    before_ = listing(machine);
  }

  Result<void> act(const Machine& machine, const Acknowledge& acknowledge) override {
    SK_TRY_ASSIGN(const auto store, machine.open_store(StateStore::Access::write));
    SK_TRY_ASSIGN(const auto root, machine.try_open_root());
    SK_TRY(store->write_record(RecordKind::transaction, "begun"));
    StoreArea& area = store->area(AreaKind::snapshot_first);
    SK_TRY_ASSIGN(facts_, permanent::take_snapshot(
                              *root, classes_, area, [](const permanent::SnapshotFacts&) { return "{}"; }, progress_));
    acknowledge("snapshot");
    SK_TRY_ASSIGN(const permanent::ReserveFacts reserve, permanent::make_reserve(*root, area, kSlackBytes, progress_));
    (void)reserve;
    acknowledge("reserve");
    SK_TRY(store->write_record(RecordKind::transaction, "secured"));
    acknowledge("secured");
    SK_TRY(root->close());
    return store->close();
  }

  Problems check_instant(const Machine& machine, const Promised& promised) override {
    Problems problems = check_contents(machine);
    const std::string record = record_of(machine);
    if (promised("secured") && record != "secured") problems.push_back("the record is lost, there is '" + record + "'");
    if (promised("snapshot") || record == "secured") check_snapshot(machine, problems);
    if (promised("reserve") || record == "secured") check_reserve(machine, problems);
    return problems;
  }

  Result<void> recover(const Machine& machine) override {
    SK_TRY_ASSIGN(const auto store, machine.open_store(StateStore::Access::write));
    SK_TRY_ASSIGN(const auto root, machine.try_open_root());
    SK_TRY(store->write_record(RecordKind::transaction, "closing"));
    SK_TRY(permanent::release_reserve(*root));
    SK_TRY(store->write_record(RecordKind::transaction, "over"));
    SK_TRY(root->close());
    return store->close();
  }

  Problems check_finished(const Machine& machine) override {
    Problems problems = check_contents(machine);
    const std::string record = record_of(machine);
    if (record == "secured") {
      check_snapshot(machine, problems);
      check_reserve(machine, problems);
    } else if (record != "over") {
      problems.push_back("the record says '" + record + "'");
    } else if (!std::filesystem::is_empty(machine.at(".slotkeeper"))) {
      problems.push_back("something is left of the reserve");
    }
    return problems;
  }

 private:
  static TreeListing listing(const Machine& machine) { return list_tree(machine.root, {.takes = is_restored}); }

  Problems check_contents(const Machine& machine) {
    Problems problems = log_problems(machine.root, kSystemEntries);
    // The root's own time changes with the engine's directory only when that is made, and it exists.
    if (std::string changes = difference(before_, listing(machine)); !changes.empty()) {
      problems.push_back("configuration: " + changes);
    }
    return problems;
  }

  void check_snapshot(const Machine& machine, Problems& problems) {
    const auto store = ok(machine.open_store(StateStore::Access::read));
    const auto verified = permanent::verify_snapshot(store->area(AreaKind::snapshot_first), facts_, progress_);
    if (!verified.has_value()) problems.push_back("the snapshot: " + verified.assume_error().message);
    ok(store->close());
  }

  static void check_reserve(const Machine& machine, Problems& problems) {
    const auto store = ok(machine.open_store(StateStore::Access::read));
    const auto whole = permanent::reserve_is_whole(*machine.open_root(), store->area(AreaKind::snapshot_first));
    if (!whole.has_value()) {
      problems.push_back("the reserve: " + whole.assume_error().message);
    } else if (!whole.assume_value()) {
      problems.push_back("the reserve is not whole");
    }
    ok(store->close());
  }

  permanent::SnapshotFacts facts_;
  TreeListing before_;
};

}  // namespace

std::unique_ptr<Scene> make_securing_scene() { return std::make_unique<SecuringScene>(); }

}  // namespace slotkeeper::test

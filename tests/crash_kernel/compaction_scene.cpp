#include <filesystem>

#include "partitions/permanent/compaction.hpp"
#include "partitions/permanent/reserve.hpp"
#include "tests/crash_kernel/scene.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::test {
namespace {

constexpr int kSpoolFiles = 6;

class CompactionScene final : public Scene {
 public:
  [[nodiscard]] std::string name() const override { return "compaction"; }

  void prepare(const Machine& machine) override {
    fill_partition(machine.root, seed());
    for (int i = 0; i < kSpoolFiles; ++i) {
      put_file(machine.at(i % 2 == 0 ? "spool/" : "spool/deep/") + std::to_string(i), noise(20'000, 7));
    }
    ok(permanent::make_own_directory(*machine.open_root()));
    settle_times(machine.root, kOriginalTime);
    note_root(machine);
    before_ = listing(machine);
  }

  Result<void> act(const Machine& machine, const Acknowledge& acknowledge) override {
    SK_TRY(compact(machine));
    acknowledge("compacted");
    return success();
  }

  Problems check_instant(const Machine& machine, const Promised& promised) override {
    Problems problems = check_contents(machine);
    const int left = spool_files(machine);
    if (promised("compacted") && left != 0) problems.push_back(std::to_string(left) + " removed files are back");
    return problems;
  }

  Result<void> recover(const Machine& machine) override { return compact(machine); }

  Problems check_finished(const Machine& machine) override {
    Problems problems = check_contents(machine);
    if (const int left = spool_files(machine); left != 0) {
      problems.push_back(std::to_string(left) + " disposable files are left");
    }
    return problems;
  }

 private:
  Result<void> compact(const Machine& machine) {
    SK_TRY_ASSIGN(const auto store, machine.open_store(StateStore::Access::write));
    const permanent::ScratchAreas scratch{store->area(AreaKind::scratch), store->area(AreaKind::scratch_second)};
    SK_TRY_ASSIGN(const auto root, machine.try_open_root());
    SK_TRY_ASSIGN(permanent::Inventory inventory,
                  permanent::take_inventory(*root, classes_, permanent::HashScope::config, progress_));
    // In the year of the files everything is quiet and nothing expires; segments are compressed in another scene.
    SK_TRY_ASSIGN(permanent::CompactionPlan plan, permanent::plan_compaction(*root, std::move(inventory), classes_,
                                                                             {.now = {.seconds = kOriginalTime}}));
    std::erase_if(plan.actions, [](const permanent::CompactionAction& action) {
      return action.kind != permanent::CompactionAction::Kind::remove_disposable;
    });
    SK_TRY_ASSIGN(const permanent::CompactionReport report, permanent::carry_out(*root, plan, scratch, progress_));
    (void)report;
    SK_TRY(store->close());
    return root->close();
  }

  static TreeListing listing(const Machine& machine) { return list_tree(machine.root, {.takes = is_restored}); }

  Problems check_contents(const Machine& machine) {
    Problems problems = log_problems(machine.root, kSystemEntries);
    if (std::string changes = difference(before_, listing(machine)); !changes.empty()) {
      problems.push_back("configuration: " + changes);
    }
    return problems;
  }

  static int spool_files(const Machine& machine) {
    int count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(machine.at("spool"))) {
      if (entry.is_regular_file()) ++count;
    }
    return count;
  }

  TreeListing before_;
};

}  // namespace

std::unique_ptr<Scene> make_compaction_scene() { return std::make_unique<CompactionScene>(); }

}  // namespace slotkeeper::test

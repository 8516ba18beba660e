#include <filesystem>
#include <stdexcept>
#include <sys/stat.h>
#include <unistd.h>

#include "partitions/permanent/reserve.hpp"
#include "partitions/permanent/restore.hpp"
#include "tests/crash_kernel/scene.hpp"
#include "tests/support/partition_checker.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::test {
namespace {

constexpr std::uint64_t kSlackBytes = 16 * 1024;
constexpr std::uint64_t kTrialEntries = 30;  ///< what the trial logged

constexpr std::int64_t kTrialTime = kOriginalTime + 86'400;

void require(bool good, const char* what) {
  if (!good) throw std::runtime_error(std::string("cannot ") + what);
}

/// Records: "trial", "restoring", "over".
class RestoreScene final : public Scene {
 public:
  [[nodiscard]] std::string name() const override { return "restore"; }

  void prepare(const Machine& machine) override {
    fill_partition(machine.root, seed());
    ok(permanent::make_own_directory(*machine.open_root()));
    settle_times(machine.root, kOriginalTime);
    note_root(machine);
    before_ = listing(machine, true);
    before_unlinked_ = listing(machine, false);
    const auto store = ok(machine.open_store(StateStore::Access::write));
    const auto root = machine.open_root();
    StoreArea& area = store->area(AreaKind::snapshot_first);
    facts_ = ok(permanent::take_snapshot(
        *root, classes_, area, [](const permanent::SnapshotFacts&) { return "{}"; }, progress_));
    (void)ok(permanent::make_reserve(*root, area, kSlackBytes, progress_));
    ok(store->write_record(RecordKind::transaction, "trial"));
    ok(root->close());
    ok(store->close());
    change_as_trial(machine);
    trial_ = listing(machine, false);
  }

  Result<void> act(const Machine& machine, const Acknowledge& acknowledge) override {
    SK_TRY_ASSIGN(const auto store, machine.open_store(StateStore::Access::write));
    SK_TRY_ASSIGN(const auto root, machine.try_open_root());
    SK_TRY(store->write_record(RecordKind::transaction, "restoring"));
    SK_TRY_ASSIGN(
        const permanent::RestoreReport report,
        permanent::restore_snapshot(*root, classes_, store->area(AreaKind::snapshot_first), facts_, progress_));
    (void)report;
    acknowledge("restored");
    SK_TRY(permanent::release_reserve(*root));
    acknowledge("released");
    SK_TRY(store->write_record(RecordKind::transaction, "over"));
    acknowledge("over");
    SK_TRY(root->close());
    return store->close();
  }

  Problems check_instant(const Machine& machine, const Promised& promised) override {
    Problems problems = check_logs(machine);
    const std::string record = record_of(machine);
    const bool restored = promised("restored") || record == "over";
    if (restored) check_restored(machine, problems);
    if (!restored) {
      const Problems odd = neither_old_nor_new(before_unlinked_, trial_, listing(machine, false));
      problems.insert(problems.end(), odd.begin(), odd.end());
    }
    if ((promised("released") || record == "over") && !only_kept_logs(machine)) {
      problems.push_back("the reserve is back");
    }
    if (promised("over") && record != "over") problems.push_back("the record is lost, there is '" + record + "'");
    return problems;
  }

  Result<void> recover(const Machine& machine) override {
    return act(machine, [](const std::string&) {});
  }

  Problems check_finished(const Machine& machine) override {
    Problems problems = check_logs(machine);
    check_restored(machine, problems);
    if (!only_kept_logs(machine)) problems.push_back("something is left of the reserve");
    if (const std::string record = record_of(machine); record != "over") {
      problems.push_back("the record says '" + record + "'");
    }
    return problems;
  }

 private:
  static TreeListing listing(const Machine& machine, bool links) {
    return list_tree(machine.root, {.takes = is_restored, .links = links});
  }

  static void change_as_trial(const Machine& machine) {
    const auto at = [&](const std::string& path) { return machine.at(path); };
    put_file(at("etc/changed"), marked_contents("changed by the trial", 2500));
    put_attribute(at("etc/changed"), "trusted.a", "2");
    require(::chmod(at("etc/mode").c_str(), 0600) == 0 && ::chown(at("etc/mode").c_str(), 5, 6) == 0, "change a mode");
    std::filesystem::remove_all(at("etc/gone"));
    put_file(at("etc/first"), marked_contents("first of the trial", 800));
    require(::unlink(at("etc/link").c_str()) == 0 && ::symlink("elsewhere", at("etc/link").c_str()) == 0, "link");
    require(::unlink(at("etc/becomes-folder").c_str()) == 0, "unlink");
    std::filesystem::create_directories(at("etc/becomes-folder"));
    put_file(at("etc/becomes-folder/x.log"), log_entries("trial", 0, kTrialEntries));
    put_file(at("etc/becomes-folder/new"), "new");
    put_file(at("etc/new"), "new");
    put_file(at("state/db"), marked_contents("db of the trial", 6000));
    append_file(at("log/system.log"), log_entries("system", kSystemEntries, kTrialEntries));
    for (const char* path : {"etc/changed", "etc/mode", "etc/first", "etc/link", "etc/becomes-folder/new", "etc/new",
                             "state/db", "log/system.log", "etc/becomes-folder/x.log", "etc/becomes-folder", "etc"}) {
      put_time(at(path), kTrialTime, 0);
    }
  }

  static Problems check_logs(const Machine& machine) {
    Problems problems = log_problems(machine.root, kSystemEntries + kTrialEntries);
    int copies = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(machine.root)) {
      if (!entry.is_regular_file() || !entry.path().filename().string().ends_with("x.log")) continue;
      if (contents_of(entry.path().string()) != log_entries("trial", 0, kTrialEntries)) {
        problems.push_back("the trial's own log is damaged: " + entry.path().string());
      }
      ++copies;
    }
    if (copies != 1) problems.push_back("the trial's own log is there " + std::to_string(copies) + " times");
    return problems;
  }

  void check_restored(const Machine& machine, Problems& problems) {
    const std::string changes = difference(before_, listing(machine, true));
    if (!changes.empty()) problems.push_back("not as the snapshot: " + changes);
  }

  static bool only_kept_logs(const Machine& machine) {
    for (const auto& entry : std::filesystem::directory_iterator(machine.at(".slotkeeper"))) {
      if (entry.path().filename() != "kept") return false;
    }
    return true;
  }

  permanent::SnapshotFacts facts_;
  TreeListing before_;
  TreeListing before_unlinked_;
  TreeListing trial_;
};

}  // namespace

std::unique_ptr<Scene> make_restore_scene() { return std::make_unique<RestoreScene>(); }

}  // namespace slotkeeper::test

// Rotated log segments are compressed: with room beside the original, or, on a full partition, in their own place.
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <stdexcept>
#include <sys/stat.h>
#include <unistd.h>

#include "partitions/permanent/compaction.hpp"
#include "partitions/permanent/reserve.hpp"
#include "tests/crash_kernel/scene.hpp"
#include "tests/support/partition_checker.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::test {
namespace {

constexpr std::uint64_t kLongEntries = 9000;  ///< of the segment that takes several pieces, some 450 KiB

/// Takes every free block, without writing any.
void take_all_space(const std::string& path) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) throw std::runtime_error("cannot make " + path);
  std::uint64_t size = 0;
  for (std::uint64_t step = 1u << 20; step >= 1024; step /= 2) {
    while (::fallocate(file, 0, static_cast<off_t>(size), static_cast<off_t>(step)) == 0) size += step;
  }
  ::close(file);
}

/// 0 where there is nothing.
std::uint64_t inode_of(const std::string& path) {
  struct stat facts {};
  return ::stat(path.c_str(), &facts) == 0 ? facts.st_ino : 0;
}

class CompressionScene final : public Scene {
 public:
  explicit CompressionScene(bool is_full) : is_full_(is_full) {
    for (permanent::ClassRule& rule : classes_.rules) rule.keep_days.reset();  // nothing expires here
  }
  [[nodiscard]] std::string name() const override { return is_full_ ? "compression_in_place" : "compression"; }

  void prepare(const Machine& machine) override {
    fill_partition(machine.root, seed());
    std::filesystem::create_directories(machine.at("log/long"));
    put_file(machine.at("log/long/traffic.log.1"), log_entries("traffic", 0, kLongEntries + seed() % 100));
    put_attribute(machine.at("log/long/traffic.log.1"), "user.origin", "firewall");
    put_file(machine.at("log/long/traffic.log"), log_entries("traffic", kLongEntries + seed() % 100, 10));
    ok(permanent::make_own_directory(*machine.open_root()));
    if (is_full_) {
      std::filesystem::create_directories(machine.at("log/fill"));
      take_all_space(machine.at("log/fill/fill.log"));
    }
    inode_ = inode_of(machine.at("log/long/traffic.log.1"));
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
    // In place, entries are readable again only when the recovery has been there.
    Problems problems = check_contents(machine, !is_full_ || promised("compacted"), !promised("compacted"));
    if (promised("compacted")) check_effect(machine, problems);
    return problems;
  }

  Result<void> recover(const Machine& machine) override {
    SK_TRY_ASSIGN(const auto store, machine.open_store(StateStore::Access::write));
    SK_TRY_ASSIGN(const auto root, machine.try_open_root());
    SK_TRY_ASSIGN(const bool wrote, permanent::recover_compaction(*root, scratch(*store), progress_));
    (void)wrote;
    // What a recovery leaves must be in order before anything else happens.
    const Problems between = check_contents(machine, true, false);
    if (!between.empty()) return make_error(Errc::internal, "after recover_compaction: " + between.front());
    SK_TRY(root->close());
    SK_TRY(store->close());
    return compact(machine);
  }

  Problems check_finished(const Machine& machine) override {
    Problems problems = check_contents(machine, true, false);
    check_effect(machine, problems);
    return problems;
  }

 private:
  static permanent::ScratchAreas scratch(StateStore& store) {
    return {store.area(AreaKind::scratch), store.area(AreaKind::scratch_second)};
  }

  Result<void> compact(const Machine& machine) {
    SK_TRY_ASSIGN(const auto store, machine.open_store(StateStore::Access::write));
    SK_TRY_ASSIGN(const auto root, machine.try_open_root());
    SK_TRY_ASSIGN(permanent::Inventory inventory,
                  permanent::take_inventory(*root, classes_, permanent::HashScope::config, progress_));
    // An hour from now everything is quiet.
    permanent::CompactionLimits limits{.now = {.seconds = std::time(nullptr) + 3600, .nanoseconds = 0}};
    SK_TRY_ASSIGN(limits.half_compressed_inode, permanent::half_compressed(scratch(*store)));
    SK_TRY_ASSIGN(const permanent::CompactionPlan plan,
                  permanent::plan_compaction(*root, std::move(inventory), classes_, limits));
    SK_TRY_ASSIGN(const permanent::CompactionReport report,
                  permanent::carry_out(*root, plan, scratch(*store), progress_));
    (void)report;
    SK_TRY(root->close());
    return store->close();
  }

  static TreeListing listing(const Machine& machine) { return list_tree(machine.root, {.takes = is_restored}); }

  Problems check_contents(const Machine& machine, bool with_logs, bool allows_copies) {
    Problems problems;
    if (with_logs) {
      problems = log_problems(machine.root, kSystemEntries, allows_copies);
      const Problems traffic = missing_log_entries({.folder = machine.at("log/long"),
                                                    .stream = "traffic",
                                                    .first = 0,
                                                    .count = kLongEntries + seed() % 100 + 10,
                                                    .allows_copies = allows_copies});
      problems.insert(problems.end(), traffic.begin(), traffic.end());
    }
    if (std::string changes = difference(before_, listing(machine)); !changes.empty()) {
      problems.push_back("configuration: " + changes);
    }
    return problems;
  }

  void check_effect(const Machine& machine, Problems& problems) const {
    const std::uint64_t inode = inode_of(machine.at("log/long/traffic.log.1.zst"));
    if (std::filesystem::exists(machine.at("log/long/traffic.log.1")) || inode == 0) {
      problems.emplace_back("the long segment is not compressed");
    } else if ((inode == inode_) != is_full_) {
      problems.emplace_back("the long segment was compressed in the other way");
    }
    if (!std::filesystem::is_empty(machine.at(".slotkeeper")))
      problems.emplace_back("something is left in .slotkeeper");
  }

  bool is_full_;
  std::uint64_t inode_ = 0;  ///< of the long segment before
  TreeListing before_;
};

}  // namespace

std::unique_ptr<Scene> make_compression_scene(bool is_full) { return std::make_unique<CompressionScene>(is_full); }

}  // namespace slotkeeper::test

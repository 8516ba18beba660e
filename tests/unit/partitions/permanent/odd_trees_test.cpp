// Trees as no vendor makes them and some device has them: very many files, holes, immutable files, links across
// classes, and everything that becomes something else while it is looked at.
#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "partitions/permanent/compaction.hpp"
#include "partitions/permanent/forecast.hpp"
#include "partitions/permanent/inventory.hpp"
#include "partitions/permanent/reserve.hpp"
#include "partitions/permanent/restore.hpp"
#include "partitions/permanent/snapshot.hpp"
#include "tests/support/memory_area.hpp"
#include "tests/support/permanent_partition.hpp"
#include "tests/support/tree_listing.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::permanent {
namespace {

namespace fs = std::filesystem;
using namespace slotkeeper::test;  // NOLINT: the words of the tests
using testing::ElementsAre;
using testing::IsEmpty;
using testing::IsSubsetOf;

std::string no_description(const SnapshotFacts&) { return "{}"; }

std::optional<Entry> find(const Inventory& inventory, const std::string& path) {
  const auto found = inventory.entries.find(path);
  return found ? std::optional(inventory.entries[*found]) : std::nullopt;
}

class OddTreesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root for loop devices and mounts";
  }
  void use(const Ext4Options& options = {}) {
    partition_ = std::make_unique<PermanentPartition>(options);
    ok(make_own_directory(*partition_->open()));
    for (const char* folder : {"etc", "log", "state", "spool"}) fs::create_directory(at(folder));
  }
  [[nodiscard]] std::string at(const std::string& path) const { return *partition_ / path; }
  Inventory take(HashScope scope = HashScope::config_and_state) {
    return ok(take_inventory(*partition_->open(), usual_classes(), scope, progress_));
  }
  SnapshotFacts secure() {
    SnapshotFacts facts = ok(take_snapshot(*partition_->open(), usual_classes(), area_, no_description, progress_));
    ok(make_reserve(*partition_->open(), area_, 64 * 1024, progress_));
    return facts;
  }
  Result<RestoreReport> restore(const SnapshotFacts& facts) {
    return restore_snapshot(*partition_->open(), usual_classes(), area_, facts, progress_);
  }

  std::unique_ptr<PermanentPartition> partition_;
  MemoryArea area_{96 << 20};
  SilentProgress progress_;
};

TEST_F(OddTreesTest, AHundredThousandSmallFiles) {
  use({.size_bytes = 320u << 20, .block_bytes = 1024, .inodes = 110'000});
  constexpr int kFiles = 100'000;
  for (int folder = 0; folder < 100; ++folder) fs::create_directory(at("etc/" + std::to_string(folder)));
  const int root = ::open(partition_->path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  for (int i = 0; i < kFiles; ++i) {
    const std::string name = "etc/" + std::to_string(i % 100) + "/option-" + std::to_string(i);
    const int file = ::openat(root, name.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    ASSERT_EQ(::write(file, name.data(), name.size()), static_cast<ssize_t>(name.size()));
    ::close(file);
  }
  ::close(root);
  const Inventory inventory = take();
  EXPECT_EQ(inventory.entries.size(), kFiles + 105U);
  EXPECT_EQ(inventory.classes.at("config").files, 1U * kFiles);
  EXPECT_LT(inventory.entries.memory_bytes(), 16U << 20);
  EXPECT_EQ(find(inventory, "etc/7/option-31407")->digest, sha256(io::as_bytes("etc/7/option-31407")));
  const SnapshotFacts facts = ok(take_snapshot(*partition_->open(), usual_classes(), area_, no_description, progress_));
  EXPECT_EQ(facts.protected_root, inventory.protected_root);
  EXPECT_LE(facts.stored_bytes, snapshot_bound_bytes(inventory));
}

TEST_F(OddTreesTest, ALogOfOneGibibyteIsMostlyAHole) {
  use();
  put_file(at("log/huge"), "first line\n");
  fs::resize_file(at("log/huge"), std::uintmax_t{1} << 30);
  const Inventory inventory = take();
  EXPECT_EQ(find(inventory, "log/huge")->status.size_bytes, 1U << 30);
  EXPECT_LT(inventory.classes.at("system").bytes, 64U << 10);
  EXPECT_LT(rollback_reserve_of(inventory, 1024).bytes, 1U << 20);
  EXPECT_LT(secure().stored_bytes, 64U << 10);
}

TEST_F(OddTreesTest, HolesOfTheConfigurationTakeNoRoomInTheSnapshotButCountInTheReserve) {
  use();
  put_file(at("etc/sparse"), "begin");
  fs::resize_file(at("etc/sparse"), 4 << 20);
  append_file(at("etc/sparse"), "end");
  const SnapshotFacts facts = secure();
  EXPECT_LT(facts.stored_bytes, 64U << 10);
  EXPECT_GE(rollback_reserve_of(take(), 1024).bytes, 4U << 20);
  const std::string before = contents_of(at("etc/sparse"));
  // The trial fills the partition to the last byte: a restore writes the hole as zeros, into blocks of the reserve.
  put_file(at("etc/sparse"), "other");
  fill_bytes(at("log"));
  EXPECT_TRUE(ok(restore(facts)).changed);
  EXPECT_EQ(contents_of(at("etc/sparse")), before);
}

TEST_F(OddTreesTest, AHoleLargerThanThePartitionIsRefusedByTheForecast) {
  use();
  put_file(at("etc/sparse"), "begin");
  fs::resize_file(at("etc/sparse"), 64 << 20);
  const io::SpaceFacts space = ok(partition_->open()->space());
  EXPECT_GT(rollback_reserve_of(take(HashScope::nothing), space.block_bytes).bytes, space.capacity_bytes);
}

TEST_F(OddTreesTest, DirectoriesDownToTheLimitAndNotOneMore) {
  use();
  const auto dig = [&](const std::string& top, std::size_t depth) {
    std::string path = top;
    for (std::size_t level = 1; level < depth; ++level) path += "/d";
    fs::create_directories(at(path));
    return path;
  };
  const std::string deepest = dig("etc", kDepthMax);
  dig("log", kDepthMax + 1);
  EXPECT_TRUE(find(take(), deepest).has_value());
  EXPECT_EQ(find(take(), dig("log", kDepthMax + 1)), std::nullopt);
  fs::create_directory(at(deepest + "/d"));
  const Error refused = error_of(take_inventory(*partition_->open(), usual_classes(), HashScope::nothing, progress_));
  EXPECT_EQ(refused.code, Errc::io_error);
  EXPECT_EQ(refused.os_errno, ENAMETOOLONG);
}

/// Takes the flag away again, so that the partition can be torn down.
class Immutable {
 public:
  explicit Immutable(std::string path) : path_(std::move(path)) { run_tool({"chattr", "+i", path_}); }
  Immutable(const Immutable&) = delete;
  Immutable& operator=(const Immutable&) = delete;
  ~Immutable() { run_tool({"chattr", "-i", path_}); }

 private:
  std::string path_;
};

TEST_F(OddTreesTest, ImmutableFilesAreReadAndLeftAlone) {
  use();
  put_file(at("etc/fixed"), "config");
  put_file(at("log/fixed"), "log");
  put_file(at("spool/fixed"), std::string(10'000, 's'));
  const Immutable config(at("etc/fixed"));
  const Immutable log(at("log/fixed"));
  const Immutable spool(at("spool/fixed"));
  const Inventory inventory = take(HashScope::everything);
  EXPECT_TRUE(find(inventory, "log/fixed")->digest.has_value());
  const auto root = partition_->open();
  MemoryArea first(1 << 20);
  MemoryArea second(1 << 20);
  const auto plan =
      ok(plan_compaction(*root, take(HashScope::nothing), usual_classes(), {.now = {.seconds = 4'000'000'000}}));
  ok(carry_out(*root, plan, {.first = first, .second = second}, progress_));
  EXPECT_EQ(contents_of(at("spool/fixed")), std::string(10'000, 's'));
  const SnapshotFacts facts = secure();
  EXPECT_FALSE(ok(restore(facts)).changed);
}

TEST_F(OddTreesTest, AFileThatTheTrialMadeImmutableIsRestored) {
  use();
  put_file(at("etc/fixed"), "old");
  const SnapshotFacts facts = secure();
  put_file(at("etc/fixed"), "new");
  const Immutable config(at("etc/fixed"));
  EXPECT_TRUE(ok(restore(facts)).changed);
  EXPECT_EQ(contents_of(at("etc/fixed")), "old");
}

TEST_F(OddTreesTest, NamesOfOneFileInSeveralClasses) {
  use();
  put_file(at("log/a"), std::string(5'000, 'l'));
  for (const char* name : {"etc/b", "state/c", "spool/d", "etc/a"}) fs::create_hard_link(at("log/a"), at(name));
  const Inventory inventory = take(HashScope::everything);
  EXPECT_EQ(find(inventory, "etc/a")->hard_link, "");
  EXPECT_EQ(find(inventory, "etc/b")->hard_link, "etc/a");
  EXPECT_EQ(find(inventory, "state/c")->hard_link, "etc/a");
  EXPECT_EQ(find(inventory, "log/a")->hard_link, "");
  EXPECT_EQ(find(inventory, "spool/d")->hard_link, "");
  EXPECT_EQ(inventory.classes.at("system").files, 1U);
  EXPECT_EQ(inventory.classes.at("system").inodes, 1U);  // the directory alone: the file counts as configuration
  EXPECT_EQ(inventory.classes.at("spool").inodes, 1U);
  const auto root = partition_->open();
  const CompactionLimits limits{.now = {.seconds = 4'000'000'000}};
  EXPECT_THAT(ok(plan_compaction(*root, take(HashScope::nothing), usual_classes(), limits)).actions, IsEmpty());
  EXPECT_EQ(secure().protected_root, inventory.protected_root);
}

class Mounted {
 public:
  Mounted(const std::string& from, std::string on) : on_(std::move(on)) {
    if (::mount(from.c_str(), on_.c_str(), nullptr, MS_BIND, nullptr) != 0) throw std::runtime_error("bind mount");
  }
  Mounted(const Mounted&) = delete;
  Mounted& operator=(const Mounted&) = delete;
  ~Mounted() { ::umount2(on_.c_str(), MNT_DETACH); }

 private:
  std::string on_;
};

TEST_F(OddTreesTest, ThePartitionMountedInsideItselfIsNotWalkedTwice) {
  use();
  put_file(at("etc/a"), "a");
  fs::create_directory(at("etc/self"));
  const Mounted self(partition_->path(), at("etc/self"));
  const Inventory inventory = take();
  EXPECT_THAT(inventory.mounts, ElementsAre("etc/self"));
  EXPECT_EQ(find(inventory, "etc/self/etc/a"), std::nullopt);
  EXPECT_TRUE(find(inventory, "etc/a").has_value());
}

/// Does something at the n-th question of a walk: there is one for each entry, before it is looked at.
class Interferes final : public ProgressSink {
 public:
  Interferes(int at, std::function<void()> what) : left_(at), what_(std::move(what)) {}
  void progress(Phase, std::uint64_t, std::uint64_t) override {}
  void notice(std::string_view) override {}
  [[nodiscard]] bool cancel_requested() const override {
    if (--left_ == 0) what_();
    return false;
  }
  [[nodiscard]] bool came_to_it() const { return left_ <= 0; }

 private:
  mutable int left_;
  std::function<void()> what_;
};

/// One thing becomes another at every moment of the walk in turn.
class SwappedInTest : public testing::Test {
 protected:
  void SetUp() override {
    put_file(outside_ / "secret", "not ours");
    put_file(outside_ / "f2", "not ours");
  }
  static void make_tree(const std::string& top) {
    fs::create_directories(top + "/etc/d");
    for (const char* name : {"f1", "f2", "f3", "d/g1", "d/g2"}) put_file(top + "/etc/" + name, name);
    put_file(top + "/other", "other");
  }
  static std::vector<std::string> paths_of(const Inventory& inventory) {
    std::vector<std::string> paths;
    for (const Entry& entry : inventory.entries) {
      paths.push_back(entry.path + " " + std::to_string(static_cast<int>(entry.status.type)) +
                      (entry.digest ? entry.digest->hex() : ""));
    }
    return paths;
  }
  /// `swap` gets the folder of the tree.
  void sweep(const std::function<void(const std::string&)>& swap) {
    int successes = 0;
    for (const unsigned int readers : {0U, 2U}) {
      for (int moment = 1;; ++moment) {
        const TemporaryDirectory folder;
        make_tree(folder.path());
        const auto root = ok(storage_->open_directory(folder.path()));
        SilentProgress silent;
        std::vector<std::string> allowed = paths_of(ok(take_inventory(*root, {}, HashScope::config, silent)));
        Interferes interferes(moment, [&] { swap(folder.path()); });
        const auto inventory = take_inventory(*root, {}, HashScope::config, interferes, readers);
        if (!interferes.came_to_it()) break;
        const auto after = paths_of(ok(take_inventory(*root, {}, HashScope::config, silent)));
        allowed.insert(allowed.end(), after.begin(), after.end());
        std::ranges::sort(allowed);
        allowed.erase(std::unique(allowed.begin(), allowed.end()), allowed.end());
        // Each entry is one that was there before or is there after, and nothing comes from elsewhere.
        if (!inventory.has_value()) {
          EXPECT_EQ(inventory.assume_error().code, Errc::config_busy) << inventory.assume_error().message;
          continue;
        }
        ++successes;
        EXPECT_THAT(paths_of(inventory.assume_value()), IsSubsetOf(allowed)) << "moment " << moment;
      }
    }
    EXPECT_GT(successes, 10);
  }

  TemporaryDirectory outside_;
  std::unique_ptr<io::Storage> storage_ = io::make_posix_storage();
};

TEST_F(SwappedInTest, AFileDisappears) {
  sweep([](const std::string& top) { fs::remove(top + "/etc/f2"); });
}
TEST_F(SwappedInTest, ADirectoryDisappearsWithAllThatIsInIt) {
  sweep([](const std::string& top) { fs::remove_all(top + "/etc/d"); });
}
TEST_F(SwappedInTest, ASymbolicLinkForADirectory) {
  sweep([&](const std::string& top) {
    fs::rename(top + "/etc", outside_ / "moved");
    fs::create_symlink(outside_.path(), top + "/etc");
    fs::remove_all(outside_ / "moved");
  });
}
TEST_F(SwappedInTest, ASymbolicLinkForAFile) {
  sweep([&](const std::string& top) {
    fs::remove(top + "/etc/f2");
    fs::create_symlink(outside_ / "secret", top + "/etc/f2");
  });
}
TEST_F(SwappedInTest, ADirectoryForAFile) {
  sweep([](const std::string& top) {
    fs::remove(top + "/etc/f2");
    fs::create_directory(top + "/etc/f2");
    put_file(top + "/etc/f2/below", "new");
  });
}
TEST_F(SwappedInTest, AFifoForAFile) {
  sweep([](const std::string& top) {
    fs::remove(top + "/etc/f2");
    if (::mkfifo((top + "/etc/f2").c_str(), 0600) != 0) throw std::runtime_error("mkfifo");
  });
}
TEST_F(SwappedInTest, AFileForADirectory) {
  sweep([](const std::string& top) {
    fs::remove_all(top + "/etc/d");
    put_file(top + "/etc/d", "file now");
  });
}

}  // namespace
}  // namespace slotkeeper::permanent

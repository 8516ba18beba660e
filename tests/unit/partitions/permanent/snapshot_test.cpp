#include "partitions/permanent/snapshot.hpp"

#include <algorithm>
#include <map>
#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "partitions/permanent/paths.hpp"
#include "partitions/permanent/snapshot_archive.hpp"
#include "tests/support/memory_area.hpp"
#include "tests/support/permanent_partition.hpp"
#include "tests/support/tree_listing.hpp"

namespace slotkeeper::permanent {
namespace {

using namespace slotkeeper::test;  // NOLINT: the words of the tests
using testing::ElementsAre;

constexpr std::uint64_t kRoomy = 8 << 20;

/// Does something to the partition when a snapshot has got as far as its first bytes in the area, once per attempt.
class DisturbedProgress final : public ProgressSink {
 public:
  void progress(Phase, std::uint64_t, std::uint64_t) override {
    if (disturb) disturb();
  }
  void notice(std::string_view) override {}
  [[nodiscard]] bool cancel_requested() const override { return false; }
  std::function<void()> disturb;
};

class SnapshotTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root for loop devices and mounts";
    partition_ = std::make_unique<PermanentPartition>();
  }
  Result<SnapshotFacts> try_take(StoreArea& area) {
    return take_snapshot(
        *partition_->open(), usual_classes(), area, [](const SnapshotFacts&) { return "{}"; }, progress_);
  }
  SnapshotFacts take(StoreArea& area) {
    auto facts = try_take(area);
    EXPECT_TRUE(facts.has_value()) << facts.assume_error().message;
    return facts.has_value() ? facts.assume_value() : SnapshotFacts{};
  }
  Inventory inventory(HashScope scope = HashScope::config_and_state) {
    SilentProgress silent;
    return take_inventory(*partition_->open(), usual_classes(), scope, silent).assume_value();
  }
  static std::map<std::string, SnapshotReader::Item> items_of(StoreArea& area) {
    std::map<std::string, SnapshotReader::Item> items;
    const auto read = read_snapshot(area, [&](SnapshotReader::Item&& item) -> Result<void> {
      const std::string path = item.entry.path;
      items.emplace(path, std::move(item));
      return success();
    });
    EXPECT_TRUE(read.has_value()) << read.assume_error().message;
    return items;
  }
  std::string at(const std::string& path) const { return *partition_ / path; }

  std::unique_ptr<PermanentPartition> partition_;
  DisturbedProgress progress_;
};

TEST_F(SnapshotTest, RootsAreThoseOfTheInventory) {
  make_zoo(partition_->path());
  MemoryArea area(kRoomy);
  const SnapshotFacts facts = take(area);
  const Inventory seen = inventory();
  EXPECT_EQ(facts.config_root, seen.config_root);
  EXPECT_EQ(facts.protected_root, seen.protected_root);
  EXPECT_EQ(facts.stored_bytes, area.length());
  EXPECT_LE(area.length(), snapshot_bound_bytes(seen));
  SilentProgress silent;
  EXPECT_TRUE(verify_snapshot(area, facts, silent).has_value());
}

TEST_F(SnapshotTest, KeepsEveryEntryExactly) {
  make_zoo(partition_->path());
  MemoryArea area(kRoomy);
  const SnapshotFacts facts = take(area);
  const auto items = items_of(area);
  std::size_t members = 0;
  const Inventory seen = inventory();
  const std::vector<bool> is_member = snapshot_members(seen.entries);
  for (std::size_t i = 0; i < is_member.size(); ++i) {
    const Entry& entry = seen.entries[i];
    if (!is_member[i]) {
      EXPECT_FALSE(items.contains(entry.path)) << entry.path;
      continue;
    }
    ++members;
    ASSERT_TRUE(items.contains(entry.path)) << entry.path;
    const Entry& kept = items.at(entry.path).entry;
    EXPECT_EQ(kept.kind, entry.kind) << entry.path;
    EXPECT_EQ(kept.status.type, entry.status.type) << entry.path;
    EXPECT_EQ(kept.status.mode, entry.status.mode) << entry.path;
    EXPECT_EQ(kept.status.owner, entry.status.owner) << entry.path;
    EXPECT_EQ(kept.status.group, entry.status.group) << entry.path;
    EXPECT_EQ(kept.status.modified, entry.status.modified) << entry.path;
    EXPECT_EQ(kept.attributes, entry.attributes) << entry.path;
    EXPECT_EQ(kept.link_target, entry.link_target) << entry.path;
    EXPECT_EQ(kept.hard_link, entry.hard_link) << entry.path;
    EXPECT_EQ(kept.digest, entry.digest) << entry.path;
    if (entry.status.type != io::EntryType::directory) {
      EXPECT_EQ(kept.status.links, entry.status.links) << entry.path;
      EXPECT_EQ(kept.status.node_device, entry.status.node_device) << entry.path;
    }
  }
  EXPECT_EQ(items.size(), members);
  EXPECT_EQ(facts.entries, members);
}

TEST_F(SnapshotTest, LiesInTheStateStoreAcrossARestart) {
  make_zoo(partition_->path());
  const TemporaryDirectory folder;
  const std::string path = folder / "store";
  ASSERT_TRUE(StateStore::format(partition_->storage(), path, 16u << 20, "device").has_value());
  SnapshotFacts facts;
  {
    auto store = StateStore::open(partition_->storage(), path, StateStore::Access::write);
    ASSERT_TRUE(store.has_value()) << store.assume_error().message;
    facts = take(store.assume_value()->area(AreaKind::snapshot_second));
    ASSERT_TRUE(store.assume_value()->close().has_value());
  }
  auto store = StateStore::open(partition_->storage(), path, StateStore::Access::read);
  ASSERT_TRUE(store.has_value());
  StoreArea& area = store.assume_value()->area(AreaKind::snapshot_second);
  EXPECT_EQ(area.read_seal().assume_value()->description, "{}");
  const auto verified = verify_snapshot(area, facts, progress_);
  EXPECT_TRUE(verified.has_value()) << verified.assume_error().message;
  EXPECT_EQ(SnapshotReader::open(store.assume_value()->area(AreaKind::snapshot_first)).assume_error().code,
            Errc::state_store);
}

TEST_F(SnapshotTest, IsAnArchiveThatUsualToolsUnderstand) {
  make_zoo(partition_->path());
  MemoryArea area(kRoomy);
  take(area);
  const TemporaryDirectory folder;
  put_file(folder / "snapshot.tar.zst", std::string(io::as_text(io::ConstBytes(area.bytes().data(), area.length()))));
  run_tool({"zstd", "-q", "-t", folder / "snapshot.tar.zst"});
  const std::string names = run_tool({"tar", "--zstd", "-tf", folder / "snapshot.tar.zst"});
  EXPECT_NE(names.find("etc/small\n"), std::string::npos);
  EXPECT_EQ(names.find("spool"), std::string::npos);
}

TEST_F(SnapshotTest, DirectoriesOnTheWayToStateAreInIt) {
  ASSERT_EQ(::mkdir(at("spool").c_str(), 0755), 0);
  ASSERT_EQ(::mkdir(at("spool/sub").c_str(), 0711), 0);
  const ClassTable classes = {
      .rules = {{.name = "s", .kind = ClassKind::state, .match = {"spool/sub/x"}, .keep_days = {}},
                {.name = "d", .kind = ClassKind::disposable, .match = {"spool/**"}, .keep_days = {}}}};
  put_file(at("spool/sub/x"), "state");
  put_file(at("spool/sub/y"), "not");
  MemoryArea area(kRoomy);
  const auto facts = take_snapshot(
      *partition_->open(), classes, area, [](const SnapshotFacts&) { return ""; }, progress_);
  ASSERT_TRUE(facts.has_value());
  const auto items = items_of(area);
  EXPECT_EQ(items.size(), 4U);
  EXPECT_EQ(items.at("spool/sub").entry.kind, ClassKind::disposable);
  EXPECT_EQ(items.at("spool/sub").entry.status.mode, 0711U);
}

TEST_F(SnapshotTest, EmptyPartition) {
  MemoryArea area(kRoomy);
  const SnapshotFacts facts = take(area);
  EXPECT_EQ(facts.entries, 1U);
  EXPECT_EQ(facts.config_root, inventory().config_root);
}

TEST_F(SnapshotTest, LargeNumbersOfBytesStream) {
  put_file(at("noise"), noise(5 << 20, 7));
  MemoryArea area(kRoomy);
  const SnapshotFacts facts = take(area);
  EXPECT_EQ(facts.plain_bytes, 5U << 20);
  EXPECT_EQ(facts.config_root, inventory().config_root);
}

TEST_F(SnapshotTest, AreaTooSmallSaysHowMuchIsNeeded) {
  put_file(at("noise"), noise(1 << 20, 7));
  MemoryArea measure(kRoomy);
  const std::uint64_t needed = take(measure).stored_bytes;
  MemoryArea fits(needed);
  EXPECT_TRUE(try_take(fits).has_value());
  MemoryArea small(needed - 1);
  const auto refused = try_take(small);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.assume_error().code, Errc::no_space);
  EXPECT_FALSE(small.read_seal().assume_value().has_value());
  std::map<std::string, std::int64_t> figures;
  for (const auto& detail : refused.assume_error().details) figures[detail.name] = std::get<std::int64_t>(detail.value);
  EXPECT_EQ(figures["needed_bytes"], static_cast<std::int64_t>(needed));
  EXPECT_EQ(figures["capacity_bytes"], static_cast<std::int64_t>(needed - 1));
}

TEST_F(SnapshotTest, AnErrorOfTheStateStoreIsPassedOnAsItIs) {
  put_file(at("noise"), noise(300'000, 7));
  for (std::uint64_t writes = 0; writes < 5; ++writes) {
    MemoryArea area(kRoomy);
    area.fail_write(writes);
    const auto refused = try_take(area);
    ASSERT_FALSE(refused.has_value()) << writes;
    EXPECT_EQ(refused.assume_error().code, Errc::sync_failed) << writes;
    EXPECT_FALSE(area.read_seal().assume_value().has_value());
  }
  MemoryArea area(kRoomy);
  const SnapshotFacts facts = take(area);
  area.fail_reads(true);
  EXPECT_EQ(read_snapshot(area, {}).assume_error().code, Errc::io_error);
  SilentProgress silent;
  EXPECT_EQ(verify_snapshot(area, facts, silent).assume_error().code, Errc::io_error);
}

TEST_F(SnapshotTest, BitThatFlipsOnTheWayIsFoundBeforeTheSeal) {
  make_zoo(partition_->path());
  MemoryArea area(kRoomy);
  area.flip_bit_before_seal(1000);
  const auto refused = try_take(area);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.assume_error().code, Errc::readback_mismatch);
  EXPECT_FALSE(area.read_seal().assume_value().has_value());
}

TEST_F(SnapshotTest, EveryFlippedBitIsFoundByVerify) {
  make_zoo(partition_->path());
  MemoryArea area(kRoomy);
  const SnapshotFacts facts = take(area);
  SilentProgress silent;
  for (std::size_t offset = 0; offset < area.length(); offset += area.length() / 97) {
    area.flip_bit_at(offset);
    const auto verified = verify_snapshot(area, facts, silent);
    ASSERT_FALSE(verified.has_value()) << offset;
    EXPECT_EQ(verified.assume_error().code, Errc::readback_mismatch);
    area.flip_bit_at(offset);
  }
  EXPECT_TRUE(verify_snapshot(area, facts, silent).has_value());
}

TEST_F(SnapshotTest, VerifyRefusesAnotherSnapshot) {
  put_file(at("a"), "1");
  MemoryArea area(kRoomy);
  const SnapshotFacts old_facts = take(area);
  put_file(at("a"), "2");
  take(area);
  SilentProgress silent;
  EXPECT_EQ(verify_snapshot(area, old_facts, silent).assume_error().code, Errc::readback_mismatch);
}

TEST_F(SnapshotTest, WithoutASealThereIsNoSnapshot) {
  MemoryArea area(kRoomy);
  SilentProgress silent;
  EXPECT_EQ(SnapshotReader::open(area).assume_error().code, Errc::state_store);
  EXPECT_EQ(verify_snapshot(area, {}, silent).assume_error().code, Errc::state_store);
}

TEST_F(SnapshotTest, GarbageUnderAGoodSealIsNoSnapshot) {
  MemoryArea area(kRoomy);
  const std::string garbage = noise(10'000, 9);
  ASSERT_TRUE(area.write_at(0, io::as_bytes(garbage)).has_value());
  ASSERT_TRUE(area.seal({.length_bytes = garbage.size(), .digest = sha256(io::as_bytes(garbage)), .description = ""})
                  .has_value());
  EXPECT_EQ(read_snapshot(area, {}).assume_error().code, Errc::state_store);
}

TEST_F(SnapshotTest, ATruncatedArchiveIsNoSnapshot) {
  make_zoo(partition_->path());
  MemoryArea area(kRoomy);
  take(area);
  const std::size_t length = area.length();
  for (const std::size_t cut : {length / 3, length / 2, length - 100'000}) {
    const auto digest = sha256(io::ConstBytes(area.bytes().data(), cut));
    ASSERT_TRUE(area.seal({.length_bytes = cut, .digest = digest, .description = ""}).has_value());
    EXPECT_EQ(read_snapshot(area, {}).assume_error().code, Errc::state_store) << cut;
  }
}

TEST_F(SnapshotTest, ConfigThatChangesOnceMakesItStartOver) {
  put_file(at("big"), noise(2 << 20, 7));
  int calls = 0;
  progress_.disturb = [&] {
    if (++calls == 2) append_file(at("big"), "changed meanwhile");
  };
  MemoryArea area(kRoomy);
  const SnapshotFacts facts = take(area);
  EXPECT_EQ(facts.config_root, inventory().config_root);
  EXPECT_EQ(facts.plain_bytes, (2U << 20) + 17);
}

TEST_F(SnapshotTest, ConfigThatKeepsChangingIsBusyAndNamed) {
  put_file(at("big"), noise(1 << 20, 7));
  progress_.disturb = [&] { append_file(at("big"), "x"); };
  MemoryArea area(kRoomy);
  const auto refused = try_take(area);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.assume_error().code, Errc::config_busy);
  EXPECT_THAT(std::get<std::vector<std::string>>(refused.assume_error().details.at(0).value), ElementsAre("big"));
  EXPECT_FALSE(area.read_seal().assume_value().has_value());
}

TEST_F(SnapshotTest, ConfigThatIsReplacedOrRemovedIsNoticed) {
  put_file(at("a-big"), noise(1 << 20, 7));
  put_file(at("b"), "old");
  int round = 0;
  progress_.disturb = [&] {
    if (++round > 1) return;
    put_file(at("a-new"), noise(1 << 20, 8));
    ASSERT_EQ(::rename(at("a-new").c_str(), at("a-big").c_str()), 0);
    ASSERT_EQ(::unlink(at("b").c_str()), 0);
  };
  MemoryArea area(kRoomy);
  const SnapshotFacts facts = take(area);
  EXPECT_EQ(facts.config_root, inventory().config_root);
  EXPECT_FALSE(items_of(area).contains("b"));
}

TEST_F(SnapshotTest, StateMayKeepChangingAndIsTakenInOneSize) {
  ASSERT_EQ(::mkdir(at("state").c_str(), 0755), 0);
  put_file(at("state/db"), noise(1 << 20, 7));
  put_file(at("state/temporary"), "goes");
  int calls = 0;
  progress_.disturb = [&] {
    append_file(at("state/db"), "x");
    if (++calls == 6) ::unlink(at("state/temporary").c_str());
  };
  MemoryArea area(kRoomy);
  const SnapshotFacts facts = take(area);
  SilentProgress silent;
  EXPECT_TRUE(verify_snapshot(area, facts, silent).has_value());
  EXPECT_GT(items_of(area).at("state/db").entry.status.size_bytes, 1U << 20);
}

TEST_F(SnapshotTest, StateThatShrinksWhileItIsReadIsFilledWithZeros) {
  ASSERT_EQ(::mkdir(at("state").c_str(), 0755), 0);
  put_file(at("state/db"), std::string(1 << 20, 'd'));
  progress_.disturb = [&] {
    if (::truncate(at("state/db").c_str(), 300'000) == 0) append_file(at("state/db"), std::string(500'000, 'e'));
    ASSERT_EQ(::truncate(at("state/db").c_str(), 400'000), 0);
  };
  MemoryArea area(kRoomy);
  const SnapshotFacts facts = take(area);
  SilentProgress silent;
  EXPECT_TRUE(verify_snapshot(area, facts, silent).has_value());
}

/// Who reads it must know of all mounts before the first entry.
TEST(SnapshotArchive, AMountBehindAnEntryIsDamage) {
  for (const bool mount_first : {true, false}) {
    MemoryArea area(kRoomy);
    const auto writer = SnapshotArchiveWriter::begin(area).assume_value();
    SnapshotReader::Item top;
    top.entry.path = ".";
    top.entry.status.type = io::EntryType::directory;
    SnapshotReader::Item mount = top;
    mount.entry.path = "mounted";
    mount.is_mount = true;
    ASSERT_TRUE(writer->add(mount_first ? mount : top).has_value());
    ASSERT_TRUE(writer->add(mount_first ? top : mount).has_value());
    const auto facts = writer->finish().assume_value();
    ASSERT_TRUE(
        area.seal({.length_bytes = facts.stored_bytes, .digest = facts.digest, .description = "{}"}).has_value());
    const auto read = read_snapshot(area, {});
    ASSERT_EQ(read.has_value(), mount_first);
    if (!mount_first) {
      EXPECT_EQ(read.assume_error().code, Errc::state_store);
    }
  }
}

TEST_F(SnapshotTest, TakingItWritesNothingOnThePartition) {
  make_zoo(partition_->path());
  const TreeListing before = list_tree(partition_->path(), {.inode_changes = true});
  MemoryArea area(kRoomy);
  take(area);
  EXPECT_EQ(difference(before, list_tree(partition_->path(), {.inode_changes = true})), "");
}

}  // namespace
}  // namespace slotkeeper::permanent

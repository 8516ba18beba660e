#include "partitions/permanent/inventory.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <thread>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "partitions/permanent/paths.hpp"
#include "partitions/permanent/root_digest.hpp"
#include "tests/support/permanent_partition.hpp"
#include "tests/support/tree_listing.hpp"

namespace slotkeeper::permanent {
namespace {

using namespace slotkeeper::test;  // NOLINT: the words of the tests
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Notices final : public ProgressSink {
 public:
  void progress(Phase, std::uint64_t, std::uint64_t) override {}
  void notice(std::string_view message) override { messages.emplace_back(message); }
  [[nodiscard]] bool cancel_requested() const override { return cancelled; }
  std::vector<std::string> messages;
  bool cancelled = false;
};

class InventoryTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root for loop devices and mounts";
    partition_ = std::make_unique<PermanentPartition>();
  }
  Result<Inventory> try_take(HashScope scope = HashScope::config_and_state) {
    return take_inventory(*partition_->open(), usual_classes(), scope, notices_);
  }
  Inventory take(HashScope scope = HashScope::config_and_state) {
    auto inventory = try_take(scope);
    EXPECT_TRUE(inventory.has_value()) << inventory.assume_error().message;
    return inventory.has_value() ? std::move(inventory).assume_value() : Inventory{};
  }
  static std::optional<Entry> find(const Inventory& inventory, const std::string& path) {
    const auto found = inventory.entries.find(path);
    return found ? std::optional(inventory.entries[*found]) : std::nullopt;
  }
  std::string at(const std::string& path) const { return *partition_ / path; }

  std::unique_ptr<PermanentPartition> partition_;
  Notices notices_;
};

TEST_F(InventoryTest, HoldsEveryEntryInOrderWithItsClass) {
  make_zoo(partition_->path());
  ASSERT_EQ(::mkdir(at(".slotkeeper").c_str(), 0700), 0);
  put_file(at(".slotkeeper/ours"), "x");
  const Inventory inventory = take();
  const TreeListing listing = list_tree(partition_->path(), {.takes = [](const std::string& path) {
                                          return !path.starts_with(".slotkeeper") && path != "lost+found";
                                        }});
  EXPECT_EQ(inventory.entries.size(), listing.size());
  for (const Entry& entry : inventory.entries) EXPECT_TRUE(listing.contains(entry.path)) << entry.path;
  for (std::size_t i = 1; i < inventory.entries.size(); ++i) {
    EXPECT_TRUE(path_before(inventory.entries.path(i - 1), inventory.entries.path(i)));
  }
  EXPECT_EQ(inventory.entries.front().path, ".");
  EXPECT_EQ(find(inventory, "log/security/audit")->kind, ClassKind::security_log);
  EXPECT_EQ(find(inventory, "etc/trace.log")->kind, ClassKind::log);
  EXPECT_EQ(find(inventory, "etc/small")->kind, ClassKind::config);
  EXPECT_EQ(find(inventory, "etc/small")->rule, usual_classes().rules.size());
  EXPECT_EQ(find(inventory, "state/leases.db")->kind, ClassKind::state);
  EXPECT_EQ(find(inventory, "etc/linked-b")->hard_link, "etc/linked-a");
  EXPECT_EQ(find(inventory, "state/linked-c")->hard_link, "etc/linked-a");
  EXPECT_EQ(find(inventory, "etc/linked-a")->hard_link, "");
  EXPECT_EQ(*find(inventory, "etc/small")->digest, sha256(io::as_bytes(contents_of(at("etc/small")))));
  EXPECT_FALSE(find(inventory, "log/system.log")->digest.has_value());
  EXPECT_THAT(find(inventory, "log/system.log")->attributes, IsEmpty());
  EXPECT_EQ(inventory.classes.at("system").files, 2U);
  EXPECT_EQ(inventory.classes.at("security").files, 1U);
  EXPECT_GE(inventory.classes.at("spool").bytes, 40'000U);
  EXPECT_EQ(inventory.classes.at("system").inodes, 3U);  // with the directory
  EXPECT_EQ(inventory.classes.at("leases").files, 2U);
  EXPECT_EQ(inventory.classes.at("leases").inodes, 2U);  // state/linked-c counts where its first name is
  EXPECT_TRUE(inventory.classes.contains("config"));
}

TEST_F(InventoryTest, EveryClassHasARowEvenWhenEmpty) {
  const Inventory inventory = take();
  EXPECT_EQ(inventory.classes.size(), 5U);
  EXPECT_EQ(inventory.classes.at("spool").files, 0U);
}

TEST_F(InventoryTest, WritesNothing) {
  make_zoo(partition_->path());
  const TreeListing before = list_tree(partition_->path(), {.inode_changes = true});
  take(HashScope::everything);
  EXPECT_EQ(difference(before, list_tree(partition_->path(), {.inode_changes = true})), "");
}

TEST_F(InventoryTest, RootsStandForConfigurationAlone) {
  make_zoo(partition_->path());
  const Inventory before = take();
  EXPECT_NE(before.config_root, Sha256{});
  EXPECT_NE(before.protected_root, before.config_root);
  append_file(at("log/system.log"), "more");
  put_file(at("log/new"), "more");
  put_file(at("spool/new"), "more");
  put_time(at("etc/small"), 5, 5);  // times are no part of it
  const Inventory logs = take();
  EXPECT_EQ(logs.config_root, before.config_root);
  EXPECT_EQ(logs.protected_root, before.protected_root);
  append_file(at("state/leases.db"), "more");
  const Inventory state = take();
  EXPECT_EQ(state.config_root, before.config_root);
  EXPECT_NE(state.protected_root, before.protected_root);
}

TEST_F(InventoryTest, RootShowsEverySortOfChange) {
  make_zoo(partition_->path());
  const auto shows = [&](const std::string& path, const std::function<void()>& change) {
    const Inventory before = take();
    change();
    const Inventory after = take();
    EXPECT_NE(after.config_root, before.config_root) << path;
  };
  shows("etc/small", [&] { append_file(at("etc/small"), "x"); });
  shows("etc/small", [&] { ASSERT_EQ(::chmod(at("etc/small").c_str(), 0600), 0); });
  shows("etc/small", [&] { ASSERT_EQ(::chown(at("etc/small").c_str(), 3, 0), 0); });
  shows("etc/small", [&] { ASSERT_EQ(::chown(at("etc/small").c_str(), 3, 4), 0); });
  shows("etc/small", [&] { put_attribute(at("etc/small"), "user.a", "1"); });
  shows("etc/small", [&] { put_attribute(at("etc/small"), "user.a", "2"); });
  shows("etc/small", [&] { drop_attribute(at("etc/small"), "user.a"); });
  shows("etc/small", [&] { run_tool({"setfacl", "-m", "u:4711:r", at("etc/small")}); });
  shows("etc/dangling", [&] {
    ASSERT_EQ(::unlink(at("etc/dangling").c_str()), 0);
    ASSERT_EQ(::symlink("elsewhere", at("etc/dangling").c_str()), 0);
  });
  shows("etc/empty", [&] { ASSERT_EQ(::unlink(at("etc/empty").c_str()), 0); });
  shows("etc/fresh", [&] { put_file(at("etc/fresh"), ""); });
  shows("etc/folder", [&] { ASSERT_EQ(::mkdir(at("etc/folder").c_str(), 0755), 0); });
  shows("etc/linked-b", [&] {
    ASSERT_EQ(::unlink(at("etc/linked-b").c_str()), 0);
    put_file(at("etc/linked-b"), contents_of(at("etc/linked-a")));
  });
  shows("etc/null", [&] {
    ASSERT_EQ(::unlink(at("etc/null").c_str()), 0);
    ASSERT_EQ(::mknod(at("etc/null").c_str(), S_IFCHR | 0666, makedev(1, 5)), 0);
  });
  shows("etc/private", [&] { ASSERT_EQ(::chmod(at("etc/private").c_str(), 0750), 0); });
}

TEST_F(InventoryTest, ScopeDecidesWhatIsRead) {
  make_zoo(partition_->path());
  const Inventory nothing = take(HashScope::nothing);
  EXPECT_EQ(nothing.config_root, Sha256{});
  EXPECT_FALSE(find(nothing, "etc/small")->digest.has_value());
  const Inventory config = take(HashScope::config);
  EXPECT_NE(config.config_root, Sha256{});
  EXPECT_EQ(config.protected_root, Sha256{});
  EXPECT_FALSE(find(config, "state/leases.db")->digest.has_value());
  const Inventory both = take(HashScope::config_and_state);
  EXPECT_EQ(both.config_root, config.config_root);
  EXPECT_TRUE(find(take(HashScope::everything), "log/system.log")->digest.has_value());
}

/// A mount for as long as the object lives.
class Mounted {
 public:
  Mounted(const std::string& source, std::string target, const char* type, unsigned long flags)
      : target_(std::move(target)) {
    if (::mount(source.c_str(), target_.c_str(), type, flags, nullptr) != 0)
      throw std::runtime_error("mount " + target_);
  }
  Mounted(const Mounted&) = delete;
  Mounted& operator=(const Mounted&) = delete;
  ~Mounted() { ::umount2(target_.c_str(), MNT_DETACH); }

 private:
  std::string target_;
};

TEST_F(InventoryTest, MountsInsideAreLeftOut) {
  for (const char* folder : {"etc", "etc/foreign", "etc/again", "etc/real"}) {
    ASSERT_EQ(::mkdir(at(folder).c_str(), 0755), 0);
  }
  put_file(at("etc/bound"), "");
  put_file(at("etc/real/file"), "x");
  const Mounted foreign("none", at("etc/foreign"), "tmpfs", 0);
  const Mounted again(at("etc/real"), at("etc/again"), nullptr, MS_BIND);
  const Mounted bound(at("etc/real/file"), at("etc/bound"), nullptr, MS_BIND);
  put_file(at("etc/foreign/x"), "not ours");
  const Inventory inventory = take();
  std::vector<std::string> paths;
  for (const Entry& entry : inventory.entries) paths.push_back(entry.path);
  EXPECT_THAT(paths, ElementsAre(".", "etc", "etc/real", "etc/real/file"));
  EXPECT_THAT(inventory.mounts, testing::UnorderedElementsAre("etc/again", "etc/bound", "etc/foreign"));
  EXPECT_EQ(notices_.messages.size(), 3U);
}

TEST_F(InventoryTest, LostAndFoundIsNobodys) {
  EXPECT_FALSE(find(take(), "lost+found").has_value());
  EXPECT_THAT(notices_.messages, IsEmpty());
  put_file(at("lost+found/#12"), "recovered");
  EXPECT_FALSE(find(take(), "lost+found/#12").has_value());
  EXPECT_THAT(notices_.messages, ElementsAre(HasSubstr("lost+found")));
}

TEST_F(InventoryTest, ConfigThatKeepsChangingIsBusy) {
  put_file(at("steady"), "x");
  put_file(at("busy"), "x");
  // So long that no reading of it ends before the writer gets its turn, however busy the machine is.
  constexpr off_t kLength = 64 << 20;
  ASSERT_EQ(::truncate(at("busy").c_str(), kLength), 0);
  std::atomic<bool> stop = false;
  std::atomic<std::uint64_t> writes = 0;
  std::thread writer([&] {
    const int file = ::open(at("busy").c_str(), O_WRONLY | O_CLOEXEC);
    // A size that grows with every write shows whatever the clock's tick.
    while (!stop) {
      if (::ftruncate(file, kLength + static_cast<off_t>(++writes % 100'000)) != 0) break;
    }
    ::close(file);
  });
  while (writes < 10) std::this_thread::yield();
  const auto inventory = try_take();
  stop = true;
  writer.join();
  ASSERT_FALSE(inventory.has_value());
  const Error& error = inventory.assume_error();
  EXPECT_EQ(error.code, Errc::config_busy);
  ASSERT_EQ(error.details.size(), 1U);
  EXPECT_EQ(error.details[0].name, "paths");
  EXPECT_THAT(std::get<std::vector<std::string>>(error.details[0].value), ElementsAre("busy"));
}

TEST_F(InventoryTest, StateAndLogsMayChangeWhileTheyAreRead) {
  ASSERT_EQ(::mkdir(at("state").c_str(), 0755), 0);
  put_file(at("state/busy"), "x");
  ASSERT_EQ(::truncate(at("state/busy").c_str(), 8 << 20), 0);
  std::atomic<bool> stop = false;
  std::atomic<std::uint64_t> writes = 0;
  std::thread writer([&] {
    const int file = ::open(at("state/busy").c_str(), O_WRONLY | O_CLOEXEC);
    while (!stop) {
      if (::ftruncate(file, (8 << 20) + static_cast<off_t>(++writes % 100'000)) != 0) break;
    }
    ::close(file);
  });
  while (writes < 10) std::this_thread::yield();
  const auto inventory = try_take();
  stop = true;
  writer.join();
  EXPECT_TRUE(inventory.has_value());
}

TEST_F(InventoryTest, EndsWhenCancelled) {
  put_file(at("a"), "x");
  notices_.cancelled = true;
  EXPECT_EQ(try_take().assume_error().code, Errc::cancelled);
}

TEST_F(InventoryTest, RefusesAProtectedPathThatLiesTooDeepButNotALog) {
  const auto dig = [&](const std::string& top) {
    const int start = ::open(partition_->path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int folder = start;
    std::string name = top;
    for (int level = 0; level < 20; ++level) {
      ASSERT_EQ(::mkdirat(folder, name.c_str(), 0755), 0);
      const int next = ::openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      ::close(folder);
      folder = next;
      name = std::string(250, 'd');
    }
    ::close(folder);
  };
  dig("log");
  EXPECT_TRUE(try_take().has_value());
  EXPECT_THAT(notices_.messages, ElementsAre(HasSubstr("too deep")));
  dig("etc");
  const auto refused = try_take();
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.assume_error().code, Errc::io_error);
  EXPECT_EQ(refused.assume_error().os_errno, ENAMETOOLONG);
}

Entry example() {
  Entry entry;
  entry.path = "etc/ntp";
  entry.status.mode = 0640;
  entry.status.group = 10;
  entry.status.size_bytes = 3;
  entry.attributes = {{.name = "user.a", .value = "1"}};
  entry.digest = sha256(io::as_bytes("ntp"));
  return entry;
}

TEST(RootDigest, SerialisationIsTheDocumentedOne) {
  const auto number = [](char low, char high = 0) { return std::string({low, high, 0, 0, 0, 0, 0, 0}); };
  const std::string expected = "f" + number(7) + "etc/ntp" + number(0) + number(10) + number('\xa0', 1) + number(1) +
                               number(6) + "user.a" + number(1) + "1" + number(0) + number(3) +
                               std::string(io::as_text(sha256(io::as_bytes("ntp")).bytes));
  EXPECT_EQ(serialise(example()), expected);
}

TEST(RootDigest, ExampleHasTheDocumentedRoot) {
  RootDigest roots;
  roots.add(example());
  EXPECT_EQ(roots.finish().config.hex(), "ef17045ecf3b2daf87c7857d95b4460f9ae12ebe11bce50eb2938b20a39d51d3");
}

TEST(RootDigest, FieldsCannotRunIntoEachOther) {
  Entry a = example();
  Entry b = example();
  a.path = "ab";
  a.hard_link = "c";
  b.path = "a";
  b.hard_link = "bc";
  EXPECT_NE(serialise(a), serialise(b));
}

TEST(SnapshotMembers, AreProtectedEntriesAndTheWayToThem) {
  const auto entry = [](const char* path, ClassKind kind, io::EntryType type) {
    Entry made;
    made.path = path;
    made.kind = kind;
    made.status.type = type;
    return made;
  };
  using enum io::EntryType;
  const EntryList entries = {entry(".", ClassKind::log, directory),         entry("log", ClassKind::log, directory),
                             entry("log/a", ClassKind::log, directory),     entry("log/a/b", ClassKind::log, directory),
                             entry("log/a/b/c", ClassKind::state, regular), entry("log/x", ClassKind::log, directory),
                             entry("log/y", ClassKind::log, regular)};
  EXPECT_THAT(snapshot_members(entries), ElementsAre(true, true, true, true, true, false, false));
}

}  // namespace
}  // namespace slotkeeper::permanent

#include "partitions/permanent/entry_list.hpp"

#include <algorithm>
#include <limits>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "partitions/permanent/paths.hpp"

namespace slotkeeper::permanent {
namespace {

void expect_same(const Entry& a, const Entry& b) {
  EXPECT_EQ(a.path, b.path);
  EXPECT_EQ(a.kind, b.kind);
  EXPECT_EQ(a.rule, b.rule);
  EXPECT_EQ(a.attributes, b.attributes);
  EXPECT_EQ(a.link_target, b.link_target);
  EXPECT_EQ(a.hard_link, b.hard_link);
  EXPECT_EQ(a.digest, b.digest);
  EXPECT_EQ(a.status.type, b.status.type);
  EXPECT_EQ(a.status.device, b.status.device);
  EXPECT_EQ(a.status.inode, b.status.inode);
  EXPECT_EQ(a.status.mode, b.status.mode);
  EXPECT_EQ(a.status.owner, b.status.owner);
  EXPECT_EQ(a.status.group, b.status.group);
  EXPECT_EQ(a.status.links, b.status.links);
  EXPECT_EQ(a.status.size_bytes, b.status.size_bytes);
  EXPECT_EQ(a.status.allocated_bytes, b.status.allocated_bytes);
  EXPECT_EQ(a.status.node_device, b.status.node_device);
  EXPECT_EQ(a.status.modified, b.status.modified);
  EXPECT_EQ(a.status.changed, b.status.changed);
  EXPECT_EQ(a.status.accessed, b.status.accessed);
}

Entry named(std::string path) {
  Entry entry;
  entry.path = std::move(path);
  entry.status.links = 1;
  return entry;
}

Entry of_extremes() {
  Entry entry = named(std::string("\x01\xff\n\"\\ \x80", 7) + std::string(3990, 'p'));
  entry.kind = ClassKind::disposable;
  entry.rule = std::numeric_limits<std::uint32_t>::max();
  entry.link_target = std::string(4095, 't');
  entry.digest = Sha256{};
  entry.digest->bytes.fill(std::byte{0xff});
  io::EntryStatus& status = entry.status;
  status.type = io::EntryType::socket;
  status.device = status.inode = status.links = status.size_bytes = status.node_device =
      std::numeric_limits<std::uint64_t>::max();
  status.allocated_bytes = std::numeric_limits<std::uint64_t>::max() / 512 * 512;
  status.mode = 07777;
  status.owner = status.group = std::numeric_limits<std::uint32_t>::max();
  status.modified = {.seconds = std::numeric_limits<std::int64_t>::min(), .nanoseconds = 999'999'999};
  status.changed = {.seconds = std::numeric_limits<std::int64_t>::max(), .nanoseconds = 0};
  status.accessed = {.seconds = -1, .nanoseconds = 1};
  return entry;
}

TEST(EntryList, GivesBackWhatWasPut) {
  std::vector<Entry> entries = {named("."), of_extremes(), named("a")};
  entries[0].status.type = io::EntryType::directory;
  entries[0].status.device = 7;
  entries[2].status.device = 8;
  entries[2].status.allocated_bytes = 513;
  entries[2].attributes = {{.name = "user.empty", .value = ""},
                           {.name = "user.zero", .value = std::string("\0\xff", 2)}};
  for (const io::EntryType type :
       {io::EntryType::regular, io::EntryType::directory, io::EntryType::symlink, io::EntryType::block_device,
        io::EntryType::character_device, io::EntryType::fifo, io::EntryType::socket}) {
    Entry entry = named("type-" + std::to_string(static_cast<int>(type)));
    entry.status.type = type;
    entries.push_back(entry);
  }
  for (const ClassKind kind :
       {ClassKind::config, ClassKind::state, ClassKind::log, ClassKind::security_log, ClassKind::disposable}) {
    Entry entry = named(std::string("kind-").append(name_of(kind)));
    entry.kind = kind;
    entries.push_back(entry);
  }
  EntryList list;
  for (const Entry& entry : entries) list.push_back(entry);
  ASSERT_EQ(list.size(), entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    expect_same(list[i], entries[i]);
    EXPECT_EQ(list.path(i), entries[i].path);
    EXPECT_EQ(list.kind(i), entries[i].kind);
    EXPECT_EQ(list.type(i), entries[i].status.type);
  }
  std::size_t next = 0;
  for (const Entry& entry : list) expect_same(entry, entries[next++]);
  EXPECT_EQ(next, entries.size());
}

TEST(EntryList, TakesEntriesLargerThanABlockAndGoesOnInTheOneBefore) {
  EntryList list;
  list.push_back(named("before"));
  Entry large = named("large");
  large.attributes = {{.name = "user.large", .value = std::string(500'000, 'v')}};
  list.push_back(large);
  const std::uint64_t with_large = list.memory_bytes();
  list.push_back(named("after"));
  EXPECT_LT(list.memory_bytes(), with_large + 1000);
  expect_same(list[0], named("before"));
  expect_same(list[1], large);
  expect_same(list[2], named("after"));
}

TEST(EntryList, KeepsAttributesThatNeighboursShareOnce) {
  EntryList list;
  Entry entry = named("");
  entry.attributes = {{.name = "security.label", .value = std::string(1000, 'v')}};
  for (int i = 0; i < 1000; ++i) {
    entry.path = std::to_string(i);
    list.push_back(entry);
  }
  EXPECT_LT(list.memory_bytes(), 400'000U);  // a block of 256 KiB and one position for each entry, not 1 MB
  EXPECT_EQ(list[999].attributes, entry.attributes);
  EXPECT_EQ(list[0].attributes, entry.attributes);
}

TEST(EntryList, SortsAsPathBeforeAndFinds) {
  std::vector<std::string> paths = {"b", "a/b", "a", ".", "a-", "-first", "a/a", std::string("\xff", 1), "a0"};
  EntryList list;
  for (const std::string& path : paths) list.push_back(named(path));
  list.sort();
  std::ranges::sort(paths, path_before);
  for (std::size_t i = 0; i < paths.size(); ++i) {
    EXPECT_EQ(list.path(i), paths[i]);
    EXPECT_EQ(list.find(paths[i]), i);
  }
  EXPECT_EQ(list.find("a/"), std::nullopt);
  EXPECT_EQ(list.find(""), std::nullopt);
  EXPECT_EQ(EntryList().find("a"), std::nullopt);
}

TEST(EntryList, RemovesByIndexAndStaysInOrder) {
  EntryList list{named("a"), named("b"), named("c"), named("d")};
  list.remove({0, 2});
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(list.path(0), "b");
  EXPECT_EQ(list.path(1), "d");
  EXPECT_EQ(list.find("d"), 1U);
}

TEST(EntryList, HardLinksAreFoundWhetherTheFirstNameIsThereOrNot) {
  Entry first = named("first");
  first.status.links = 3;
  Entry other = named("other");
  other.status.links = 3;
  other.hard_link = "first";
  Entry strange = named("strange");
  strange.hard_link = "nowhere/in the list";
  const EntryList list{first, other, strange};
  expect_same(list[0], first);
  expect_same(list[1], other);
  expect_same(list[2], strange);
}

TEST(EntryList, HardLinksAreSetAfterSorting) {
  Entry first = named("a");
  Entry other = named("b");
  Entry wrong = named("c");
  first.status.links = other.status.links = wrong.status.links = 2;
  wrong.hard_link = "not the list's";
  EntryList list{wrong, other, first};
  list.sort();
  list.set_hard_link(1, 0);
  list.set_hard_link(2, 0);
  EXPECT_EQ(list[0].hard_link, "");
  EXPECT_EQ(list[1].hard_link, "a");
  EXPECT_EQ(list[2].hard_link, "a");
}

/// As a device has them: a path of some 40 bytes, a digest, times of now, an inode of a large filesystem.
TEST(EntryList, TwoHundredThousandEntriesTakeLittle) {
  std::mt19937_64 generator(20261126);
  EntryList list;
  for (int i = 0; i < 200'000; ++i) {
    Entry entry =
        named("var/lib/device/config/module-" + std::to_string(generator() % 1000) + "/" + std::to_string(100'000 + i));
    entry.digest = sha256(io::as_bytes(entry.path));
    entry.status.device = 0x800003;
    entry.status.inode = 1'000'000 + generator() % 1'000'000;
    entry.status.mode = 0644;
    entry.status.owner = entry.status.group = 1000;
    entry.status.size_bytes = generator() % 100'000;
    entry.status.allocated_bytes = (entry.status.size_bytes + 4095) / 4096 * 4096;
    const auto nanoseconds = static_cast<std::int32_t>(generator() % 1'000'000'000);
    entry.status.modified = {.seconds = 1'790'000'000, .nanoseconds = nanoseconds};
    entry.status.changed = {.seconds = 1'790'000'100, .nanoseconds = 999'999'999 - nanoseconds};
    entry.status.accessed = {.seconds = 1'795'000'000, .nanoseconds = nanoseconds / 2};
    list.push_back(entry);
  }
  list.sort();
  EXPECT_LT(list.memory_bytes(), 26U << 20) << list.memory_bytes();
  for (std::size_t i = 1; i < list.size(); ++i) ASSERT_TRUE(path_before(list.path(i - 1), list.path(i)));
  EXPECT_EQ(list[12345].digest, sha256(io::as_bytes(list.path(12345))));
}

}  // namespace
}  // namespace slotkeeper::permanent

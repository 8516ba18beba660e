// Of each piece of a tree one state that the model allows, and one that it does not: a comparison that never fails
// shows nothing.
#include "tests/support/simulation/model_check.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "tests/crash_kernel/shadow_storage.hpp"
#include "tests/support/permanent_partition.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Problems = std::vector<std::string>;

constexpr io::TimeStamp kOld{.seconds = 1'000, .nanoseconds = 0};
constexpr io::TimeStamp kNew{.seconds = 2'000, .nanoseconds = 5};

std::shared_ptr<const std::vector<std::byte>> bytes(const std::string& text) {
  return std::make_shared<std::vector<std::byte>>(io::as_bytes(text).begin(), io::as_bytes(text).end());
}
std::string sectors(const std::string& letters) {
  std::string text;
  for (const char letter : letters) text += std::string(kSimulatedSectorBytes, letter);
  return text;
}

/// A model with file "/a" ("aa", two sectors), "/b" ("b") and folder "/d"; what is found is what it says unless a test
/// changes it.
class ModelCheck : public testing::Test {
 protected:
  ModelCheck() {
    a_ = add("a", {.mode = 0644, .modified = kOld, .attributes = {{"user.x", "1"}}}, "aa");
    b_ = add("b", {.mode = 0644, .modified = kOld}, "b");
    d_ = add("d", {.type = io::EntryType::directory, .mode = 0755, .modified = kOld}, "");
    model_.sync_all();
    found_ = model_.durable();
  }

  NodeNumber add(const std::string& name, Node node, const std::string& letters) {
    node.contents = PagedBytes(io::as_bytes(sectors(letters)));
    const NodeNumber number = model_.create(std::move(node));
    name_it({{kRootNode, name, number}});
    return number;
  }
  void name_it(std::vector<Change::Name> names, bool is_whole = false) {
    model_.make({.kind = Change::Kind::names, .names = std::move(names), .is_whole = is_whole});
  }
  void write(NodeNumber node, std::uint64_t sector, const std::string& letters) {
    model_.make({.kind = Change::Kind::write,
                 .node = node,
                 .offset = sector * kSimulatedSectorBytes,
                 .length = letters.size() * kSimulatedSectorBytes,
                 .data = bytes(sectors(letters)),
                 .modified = kNew});
  }
  void resize(NodeNumber node, std::uint64_t sector_count) {
    model_.make(
        {.kind = Change::Kind::size, .node = node, .length = sector_count * kSimulatedSectorBytes, .modified = kNew});
  }
  void find_contents(const std::string& text) { found_.edit(a_).contents = PagedBytes(io::as_bytes(text)); }
  [[nodiscard]] Problems problems() const { return not_allowed(model_, found_); }
  [[nodiscard]] Problems problems_with(const std::string& letters) {
    find_contents(sectors(letters));
    return problems();
  }

  VolatileTree model_;
  FileTree found_;
  NodeNumber a_ = 0;
  NodeNumber b_ = 0;
  NodeNumber d_ = 0;
};

TEST_F(ModelCheck, AllowsWhatIsDurableAndNothingElse) {
  EXPECT_THAT(problems(), IsEmpty());
  EXPECT_THAT(problems_with("ax"), ElementsAre(HasSubstr("./a: the sector at 512")));
}

TEST_F(ModelCheck, AllowsEachSectorOfAWriteForItself) {
  write(a_, 0, "xy");
  for (const char* letters : {"aa", "xa", "ay", "xy"}) EXPECT_THAT(problems_with(letters), IsEmpty()) << letters;
  EXPECT_THAT(problems_with("yx"), ElementsAre(HasSubstr("the sector at 0")));
  find_contents(std::string(100, 'x') + std::string(924, 'a'));
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("the sector at 0"))) << "a sector does not tear";
  model_.sync(a_);
  EXPECT_THAT(problems_with("xy"), ElementsAre(HasSubstr("was changed at 1000"))) << "its time is durable, too";
  found_.edit(a_).modified = kNew;
  EXPECT_THAT(problems_with("xy"), IsEmpty());
  EXPECT_THAT(problems_with("xa"), ElementsAre(HasSubstr("the sector at 512"))) << "a synced change is not missing";
}

TEST_F(ModelCheck, AllowsAnyOfSeveralWritesToOneSectorInTheirOrder) {
  const auto write_bytes = [&](std::uint64_t offset, const std::string& text) {
    model_.make({.kind = Change::Kind::write,
                 .node = a_,
                 .offset = offset,
                 .length = text.size(),
                 .data = bytes(text),
                 .modified = kNew});
  };
  const std::string rest(1019, 'a');
  write_bytes(0, "1234");
  write_bytes(2, "xyz");
  for (const char* head : {"aaaaa", "1234a", "aaxyz", "12xyz"}) {
    find_contents(head + rest);
    EXPECT_THAT(problems(), IsEmpty()) << head;
  }
  find_contents("1234z" + rest);
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("the sector at 0")));
  // So many that not all combinations are kept.
  for (std::uint64_t at = 0; at < 12; ++at) write_bytes(at, "*");
  find_contents(std::string("*2*y*") + rest);
  EXPECT_THAT(problems(), IsEmpty());
  find_contents(std::string("*2*y?") + rest);
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("the sector at 0")));
}

TEST_F(ModelCheck, AllowsTheSizesThereWereAndZerosWhereItGrew) {
  resize(a_, 3);
  write(a_, 2, "x");
  EXPECT_THAT(problems_with("aa"), IsEmpty());
  EXPECT_THAT(problems_with("aax"), IsEmpty());
  EXPECT_THAT(problems_with("aa" + std::string(1, '\0')), IsEmpty());
  EXPECT_THAT(problems_with("aay"), ElementsAre(HasSubstr("the sector at 1024")));
  EXPECT_THAT(problems_with("a" + std::string(1, '\0') + "x"), ElementsAre(HasSubstr("the sector at 512")));
  EXPECT_THAT(problems_with("a"), ElementsAre(HasSubstr("no size was ever 512")));
  model_.sync(a_);
  found_.edit(a_).modified = kNew;
  EXPECT_THAT(problems_with("aa"), ElementsAre(HasSubstr("no size was ever 1024")));
}

TEST_F(ModelCheck, AllowsZerosBehindASmallerSizeThatGrewAgain) {
  resize(a_, 1);
  resize(a_, 2);
  EXPECT_THAT(problems_with("a"), IsEmpty());
  EXPECT_THAT(problems_with("aa"), IsEmpty());
  EXPECT_THAT(problems_with("a" + std::string(1, '\0')), IsEmpty());
  EXPECT_THAT(problems_with(std::string(2, '\0')), ElementsAre(HasSubstr("the sector at 0")));
}

TEST_F(ModelCheck, AllowsZerosInAHole) {
  model_.make({.kind = Change::Kind::punch, .node = a_, .offset = 512, .length = 512, .modified = kNew});
  EXPECT_THAT(problems_with("aa"), IsEmpty());
  EXPECT_THAT(problems_with("a" + std::string(1, '\0')), IsEmpty());
  EXPECT_THAT(problems_with(std::string(1, '\0') + "a"), ElementsAre(HasSubstr("the sector at 0")));
}

TEST_F(ModelCheck, AllowsOwnersModesAndTimesThatWereGiven) {
  model_.make({.kind = Change::Kind::owner, .node = a_, .owner = 5, .group = 6});
  model_.make({.kind = Change::Kind::mode, .node = a_, .mode = 0600});
  model_.make({.kind = Change::Kind::times, .node = a_, .modified = kNew});
  found_.edit(a_).owner = 5;
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("belongs to 5:0"))) << "both come together";
  found_.edit(a_).group = 6;
  found_.edit(a_).mode = 0600;
  found_.edit(a_).modified = kNew;
  EXPECT_THAT(problems(), IsEmpty());
  found_.edit(a_).mode = 0640;
  found_.edit(a_).modified.nanoseconds = 6;
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("has mode"), HasSubstr("was changed at 2000.6")));
  found_ = model_.durable();
  EXPECT_THAT(problems(), IsEmpty());
  model_.sync(a_);
  EXPECT_EQ(problems().size(), 3U) << "a synced change is not missing";
}

TEST_F(ModelCheck, AllowsTimesOfTheClockThatAreNearEachOther) {
  write(a_, 0, "x");
  found_.edit(a_).modified = {.seconds = 2'001, .nanoseconds = 0};
  EXPECT_EQ(problems().size(), 1U);
  EXPECT_THAT(not_allowed(model_, found_, {.clock_from = {.seconds = 1'999, .nanoseconds = 0}}), IsEmpty());
  found_.edit(a_).modified.seconds = 2'010;
  EXPECT_EQ(not_allowed(model_, found_, {.clock_from = {.seconds = 1'999, .nanoseconds = 0}}).size(), 1U);
}

TEST_F(ModelCheck, AllowsAttributesThatWereGivenOrTaken) {
  model_.make({.kind = Change::Kind::attribute, .node = a_, .attribute = "user.x", .attribute_value = "2"});
  model_.make({.kind = Change::Kind::attribute, .node = a_, .attribute = "user.y", .attribute_value = "3"});
  found_.edit(a_).attributes = {{"user.x", "2"}, {"user.y", "3"}};
  EXPECT_THAT(problems(), IsEmpty());
  found_.edit(a_).attributes = {{"user.x", "3"}};
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("user.x has a value")));
  found_.edit(a_).attributes = {};
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("user.x is gone")));
  model_.make({.kind = Change::Kind::attribute, .node = a_, .attribute = "user.x"});
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(ModelCheck, AllowsNamesOldAndNew) {
  const NodeNumber c = add("c", {.mode = 0600}, "c");
  EXPECT_THAT(problems(), IsEmpty()) << "not synced, so it may be missing";
  found_.put(c, model_.durable().at(c));
  found_.edit(kRootNode).entries["c"] = c;
  EXPECT_THAT(problems(), IsEmpty());
  found_.edit(kRootNode).entries["e"] = c;
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("./e: there was never such a name")));
  found_.edit(kRootNode).entries.erase("e");
  model_.sync(kRootNode);
  EXPECT_THAT(problems(), IsEmpty());
  found_.edit(kRootNode).entries.erase("c");
  EXPECT_THAT(problems(), ElementsAre("./c: is gone"));
}

TEST_F(ModelCheck, AllowsARemovalUntilItIsDurable) {
  name_it({{kRootNode, "b", 0}});
  EXPECT_THAT(problems(), IsEmpty());
  model_.sync(kRootNode);
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("./b: there was never such a name, or it is back")));
  found_.edit(kRootNode).entries.erase("b");
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(ModelCheck, AllowsARenamedFileUnderBothNamesButNotUnderNone) {
  name_it({{d_, "moved", b_}, {kRootNode, "b", 0}});
  EXPECT_THAT(problems(), IsEmpty());
  found_.edit(d_).entries["moved"] = b_;
  EXPECT_THAT(problems(), IsEmpty());
  found_.edit(kRootNode).entries.erase("b");
  EXPECT_THAT(problems(), IsEmpty());
  found_.edit(d_).entries.clear();
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("only half of it")));
}

TEST_F(ModelCheck, AllowsARenameOverAnotherFileToShowOneOfTheTwo) {
  name_it({{kRootNode, "a", b_}, {kRootNode, "b", 0}});
  found_.edit(kRootNode).entries["a"] = b_;
  EXPECT_THAT(problems(), IsEmpty());
  found_.edit(b_).contents = PagedBytes(io::as_bytes(sectors("ab")));
  EXPECT_THAT(problems(), testing::Contains(HasSubstr("./a: "))) << "neither the one nor the other";
}

TEST_F(ModelCheck, AllowsAnExchangeWholeOnly) {
  name_it({{kRootNode, "a", b_}, {kRootNode, "b", a_}}, true);
  EXPECT_THAT(problems(), IsEmpty());
  found_.edit(kRootNode).entries["a"] = b_;
  EXPECT_THAT(problems(), testing::Not(IsEmpty()));
  found_.edit(kRootNode).entries["b"] = a_;
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(ModelCheck, AllowsLinksThatLeadToTheSameFile) {
  name_it({{d_, "link", b_}});
  model_.sync_all();
  found_.edit(d_).entries["link"] = b_;
  EXPECT_THAT(problems(), IsEmpty());
  const NodeNumber copy = found_.next_number();
  found_.put(copy, found_.at(b_));
  found_.edit(d_).entries["link"] = copy;
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("are not one file any more")));
}

TEST_F(ModelCheck, AllowsOnlyTheSameTypeTargetAndDevice) {
  const NodeNumber link = add("l", {.type = io::EntryType::symlink, .mode = 0777, .target = "there"}, "");
  const NodeNumber node = add("n", {.type = io::EntryType::character_device, .node_device = 259}, "");
  model_.sync_all();
  found_ = model_.durable();
  EXPECT_THAT(problems(), IsEmpty());
  found_.edit(link).target = "elsewhere";
  found_.edit(node).node_device = 260;
  found_.edit(d_).type = io::EntryType::fifo;
  EXPECT_THAT(problems(), testing::UnorderedElementsAre(HasSubstr("leads to elsewhere"), HasSubstr("another device"),
                                                        HasSubstr("./d: is of another type")));
}

TEST_F(ModelCheck, AllowsEachSectorOfADeviceForItself) {
  write(b_, 0, "x");
  const auto found = [&](const std::string& letters) {
    return contents_not_allowed(model_, b_, PagedBytes(io::as_bytes(sectors(letters))), "disk");
  };
  EXPECT_THAT(found("b"), IsEmpty());
  EXPECT_THAT(found("x"), IsEmpty());
  EXPECT_THAT(found("y"), ElementsAre(HasSubstr("disk: the sector at 0")));
}

/// The trace that is compared: a real folder, and a log that grows when the test says so.
class ModelTraceTest : public testing::Test {
 protected:
  ModelTraceTest() {
    put_file(folder_ / "kept", "old");
    shadow_.emplace(*real_, root_, std::vector<ShadowStorage::Device>{}, [this] { return ++log_length_; });
  }
  [[nodiscard]] Problems problems(std::uint64_t position) {
    return shadow_->trace().not_allowed(position, read_tree(root_), {});
  }

  TemporaryDirectory folder_;
  std::string root_ = folder_ / ".";
  std::unique_ptr<io::Storage> real_ = io::make_posix_storage();
  std::uint64_t log_length_ = 0;
  std::optional<ShadowStorage> shadow_;
};

TEST_F(ModelTraceTest, AChangeIsAllowedFromItsCallOnAndRequiredFromTheEndOfItsSync) {
  const auto directory = ok(shadow_->open_directory(root_));
  const auto file = ok(directory->open_file("kept", io::OpenMode::read_write()));
  const std::uint64_t before = log_length_;
  ok(file->write_at(0, io::as_bytes("new")));
  const std::uint64_t written = log_length_;
  EXPECT_THAT(problems(before), testing::Not(IsEmpty())) << "nobody has written yet";
  EXPECT_THAT(problems(written - 1), testing::Not(IsEmpty())) << "the call begins behind this record";
  EXPECT_THAT(problems(written), IsEmpty());
  ok(file->sync());
  const std::uint64_t synced = log_length_;
  EXPECT_THAT(problems(synced), IsEmpty());
  put_file(folder_ / "kept", "old");
  EXPECT_THAT(problems(written), IsEmpty());
  EXPECT_THAT(problems(synced - 1), IsEmpty()) << "the sync has not returned";
  EXPECT_THAT(problems(synced), ElementsAre(HasSubstr("the sector at 0")));
  EXPECT_THAT(shadow_->refusals(), IsEmpty());
}

TEST_F(ModelTraceTest, TheModelFollowsEverythingThatAProgramDoes) {
  const auto directory = ok(shadow_->open_directory(root_));
  ok(directory->create_directory("folder", 0750));
  const auto file = ok(directory->open_file("folder/new", io::OpenMode::create_new(0640)));
  ok(file->write_at(0, io::as_bytes(sectors("new"))));
  ok(file->set_extended_attribute({.name = "trusted.x", .value = "1"}));
  ok(file->allocate(0, 9000));
  ok(file->resize(5000));
  ok(file->zero(100, 1000));
  ok(file->close());
  ok(directory->create_symlink("there", "folder/symlink"));
  ok(directory->create_hard_link("folder/new", "linked"));
  ok(directory->create_node("fifo", io::EntryType::fifo, 0600, 0));
  ok(directory->rename("kept", "folder/kept", io::RenameKind::replace));
  ok(directory->rename("linked", "folder/kept", io::RenameKind::exchange));
  ok(directory->set_attributes_of("fifo", {.mode = 0640, .owner = 3, .group = 4, .accessed = kNew, .modified = kNew}));
  ok(directory->remove_file("linked"));
  ok(directory->sync_filesystem());
  EXPECT_THAT(shadow_->refusals(), IsEmpty());
  EXPECT_THAT(shadow_->trace().differs_from(read_tree(root_)), IsEmpty());
  EXPECT_THAT(problems(log_length_), IsEmpty());
  ASSERT_EQ(::unlink((folder_ / "fifo").c_str()), 0);
  EXPECT_THAT(shadow_->trace().differs_from(read_tree(root_)), testing::Contains("./fifo: is gone"));
}

}  // namespace
}  // namespace slotkeeper::test

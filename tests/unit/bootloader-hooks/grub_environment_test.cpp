// The block in memory: read as GRUB reads it, and changed in steps of one sector that all mean the old state or the new
// one. The real tool's view of the same bytes is grub_tools_test.cpp.
#include "bootloader-hooks/grub_environment.hpp"

#include <random>

#include <gtest/gtest.h>

#include "tests/support/grub_bytes.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::boot {
namespace {

using test::error_of;
using test::grub_block;
using test::grub_block_of;
using test::ok;

constexpr std::uint32_t kAttempts = 3;
const std::string kTransaction = "0123456789abcdef";
const std::vector<std::string> kFactory{"ORDER=A B", "A_OK=1", "A_TRY=0", "B_OK=1", "B_TRY=0"};

std::string text_of(const GrubBlock& block) { return std::string(io::as_text(block)); }

std::size_t sectors_changed(const GrubBlock& one, const GrubBlock& another) {
  return (text_of(one).substr(0, 512) != text_of(another).substr(0, 512) ? 1U : 0U) +
         (text_of(one).substr(512) != text_of(another).substr(512) ? 1U : 0U);
}

Variables ours_in(Variables variables) {
  std::erase_if(variables, [](const auto& entry) { return !is_grub_ours(entry.first); });
  return variables;
}
Variables of_others(Variables variables) {
  std::erase_if(variables, [](const auto& entry) { return is_grub_ours(entry.first); });
  return variables;
}

Variables changed(Variables variables, const VariableChanges& changes) {
  for (const auto& [name, value] : changes) {
    variables.erase(name);
    if (value) variables[name] = *value;
  }
  return variables;
}

/// What plan_grub_steps promises for a block without damage.
void expect_sound_steps(const GrubBlock& block, const VariableChanges& changes, const std::vector<GrubBlock>& steps) {
  const Variables before = read_grub_variables(block);
  const Variables after = changed(before, changes);
  GrubBlock now = block;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    SCOPED_TRACE("step " + std::to_string(i + 1) + " of " + std::to_string(steps.size()) + ": " + text_of(steps[i]));
    EXPECT_EQ(sectors_changed(now, steps[i]), 1U);
    EXPECT_TRUE(is_whole_grub_block(steps[i]));
    const Variables variables = read_grub_variables(steps[i]);
    EXPECT_EQ(of_others(variables), of_others(before));
    const bool is_last = i + 1 == steps.size();
    EXPECT_EQ(ours_in(variables), ours_in(is_last ? after : before));
    now = steps[i];
  }
  EXPECT_FALSE(is_scattered(now));
  EXPECT_EQ(ours_in(read_grub_variables(now)), ours_in(after));
}

TEST(GrubEnvironment, ReadsLinesCommentsAndEscapes) {
  const GrubBlock block =
      grub_block({"ORDER=A B", "# a comment=1", R"(path=C:\\boot)", "two=first\\\nsecond", "empty=", "equal=a=b"});
  EXPECT_TRUE(is_whole_grub_block(block));
  EXPECT_EQ(
      read_grub_variables(block),
      (Variables{{"ORDER", "A B"}, {"path", "C:\\boot"}, {"two", "first\nsecond"}, {"empty", ""}, {"equal", "a=b"}}));
}

TEST(GrubEnvironment, TheLastOfTwoWithOneNameCounts) {
  EXPECT_EQ(read_grub_variables(grub_block({"x=1", "x=2"})), (Variables{{"x", "2"}}));
}

TEST(GrubEnvironment, ABlockWithoutItsFirstLineSaysNothing) {
  for (const std::string text :
       {"", "# GRUB Environment Block", "ORDER=A B\n", "# GRUB environment block\nORDER=A B\n"}) {
    const GrubBlock block = grub_block_of(text);
    EXPECT_FALSE(is_grub_block(block));
    EXPECT_FALSE(is_whole_grub_block(block));
    EXPECT_TRUE(read_grub_variables(block).empty());
    EXPECT_EQ(error_of(plan_grub_steps(block, {})).code, Errc::boot_environment);
    EXPECT_EQ(error_of(plan_grub_steps(block, {{"ORDER", "A"}})).code, Errc::boot_environment);
  }
  EXPECT_TRUE(is_whole_grub_block(empty_grub_block()));
  EXPECT_EQ(text_of(empty_grub_block()), text_of(grub_block({})));
}

TEST(GrubEnvironment, RecognisesDamage) {
  const std::string zero("zero=\0x", 7);
  for (const std::string& line : {std::string("no equals sign"), std::string("=value"), std::string(""), zero,
                                  std::string("torn###=x"), std::string("sp ace=x"), std::string("back\\slash=x")}) {
    EXPECT_FALSE(is_whole_grub_block(grub_block({"ORDER=A B", line, "later=1"}))) << line;
  }
  std::string unended = text_of(grub_block(kFactory));
  unended.replace(1000, 4, "x=12");  // in the padding, without a newline behind it
  EXPECT_FALSE(is_whole_grub_block(grub_block_of(unended)));
  std::string zeros = text_of(grub_block(kFactory));
  zeros.replace(512, 512, std::string(512, '\0'));
  EXPECT_FALSE(is_whole_grub_block(grub_block_of(zeros)));
  std::string full = text_of(empty_grub_block()).substr(0, 25) + "x=" + std::string(1024 - 25 - 3, 'v') + "\n";
  EXPECT_TRUE(is_whole_grub_block(grub_block_of(full)));
  full.back() = 'v';
  EXPECT_FALSE(is_whole_grub_block(grub_block_of(full)));
}

TEST(GrubEnvironment, ASmallBlockOfOthersIsChangedInOneStep) {
  const GrubBlock block = grub_block({"saved_entry=0", "# made by the factory", "A_TRY=1", "B_OK=1", "ORDER=B A",
                                      "A_OK=1", "B_TRY=0", R"(path=C:\\boot)"});
  const VariableChanges changes{{"ORDER", "A"}, {"A_TRY", "0"}, {"SLOTKEEPER_TX", kTransaction + ":trial"}};
  const auto steps = ok(plan_grub_steps(block, changes));
  ASSERT_EQ(steps.size(), 1U);
  expect_sound_steps(block, changes, steps);
  EXPECT_NE(text_of(steps[0]).find("# made by the factory\n"), std::string::npos);
}

TEST(GrubEnvironment, NothingToDoIsNoStep) {
  EXPECT_TRUE(ok(plan_grub_steps(grub_block(kFactory), {})).empty());
  EXPECT_TRUE(ok(plan_grub_steps(empty_grub_block(), {})).empty());
}

TEST(GrubEnvironment, OurRegionNeverChangesItsLengthSoThatEveryStoreIsOneSector) {
  // Others reach far into the second sector.
  GrubBlock block =
      ok(plan_grub_steps(empty_grub_block(),
                         {{"ORDER", "A B"}, {"A_OK", "1"}, {"A_TRY", "0"}, {"B_OK", "1"}, {"B_TRY", "0"}}))
          .back();
  std::string text = text_of(block);
  text.resize(text.find_last_not_of('#') + 1);
  for (int i = 0; i < 65; ++i) text += "variable" + std::to_string(i) + "=x\n";
  ASSERT_GT(text.size(), 900U);
  block = grub_block_of(text);
  Variables variables = read_grub_variables(block);
  for (const SlotId slot : {SlotId::a, SlotId::b, SlotId::a}) {
    const BootState state = grub_state_of(variables, kAttempts);
    for (const BootState& wanted :
         {only_slot(state, slot, kAttempts), armed(state, other(slot), kAttempts, kTransaction),
          confirmed(state, slot, kAttempts, kTransaction), rolled_back(state, slot, kAttempts)}) {
      const VariableChanges changes = grub_changes_to(variables, wanted, kAttempts);
      const auto steps = ok(plan_grub_steps(block, changes));
      ASSERT_EQ(steps.size(), 1U);
      expect_sound_steps(block, changes, steps);
      block = steps.back();
      variables = read_grub_variables(block);
      EXPECT_EQ(grub_state_of(variables, kAttempts), wanted);
    }
  }
}

TEST(GrubEnvironment, IsScatteredWhenOursAreTwiceOrBeyondTheFirstSector) {
  EXPECT_FALSE(is_scattered(grub_block(kFactory)));
  EXPECT_FALSE(is_scattered(empty_grub_block()));
  EXPECT_TRUE(is_scattered(grub_block({"A_TRY=0", "x=1", "A_TRY=1"})));
  EXPECT_FALSE(is_scattered(grub_block({"x=1", "x=2"})));
  const std::string filler = "blob=" + std::string(480, 'x');
  EXPECT_TRUE(is_scattered(grub_block({filler, "A_TRY=0"})));
  EXPECT_FALSE(is_scattered(grub_block({"A_TRY=0", filler})));
}

TEST(GrubEnvironment, AScatteredBlockIsMovedInStepsThatAllMeanTheOldState) {
  const std::vector<std::vector<std::string>> blocks{
      // all of ours beyond the border
      {"a=" + std::string(200, 'a'), "b=" + std::string(200, 'b'), "c=" + std::string(90, 'c'), "ORDER=A B", "A_OK=1",
       "A_TRY=2", "B_OK=1", "B_TRY=0"},
      // ours on both sides, one across the border
      {"ORDER=A B", "A_OK=1", "A_TRY=2", "blob=" + std::string(439, 'x'), "B_OK=1",
       "SLOTKEEPER_TX=" + kTransaction + ":good", "B_TRY=0", "z=1"},
      // a line of others across the border
      {"a=" + std::string(200, 'a'), "x=1", "ORDER=A B", "A_OK=1", "long=" + std::string(260, 'v'), "A_TRY=2",
       "B_OK=1"},
      // the border between a backslash and what it escapes: a backslash, a newline
      {"a=" + std::string(200, 'a'), "x=1", "ORDER=A B", "A_OK=1", "long=" + std::string(257, 'v') + "\\\\www",
       "A_TRY=2"},
      {"a=" + std::string(200, 'a'), "x=1", "ORDER=A B", "A_OK=1", "long=" + std::string(257, 'v') + "\\\nA_OK=5",
       "A_TRY=2"},
      // twice, on either side
      {"A_TRY=1", "a=" + std::string(200, 'a'), "b=" + std::string(190, 'b'), "c=" + std::string(90, 'c'), "A_TRY=2",
       "ORDER=B A"},
      // nothing of ours, the first sector nearly full
      {"blob=" + std::string(470, 'x')},
      {"a=" + std::string(200, 'a'), "b=" + std::string(200, 'b'), "c=" + std::string(72, 'c')},
      // exactly full up to the border, with and without something behind it
      {"blob=" + std::string(512 - 25 - 6, 'x')},
      {"blob=" + std::string(512 - 25 - 6, 'x'), "A_TRY=1"},
      // the padding begins one byte in front of the border
      {"blob=" + std::string(512 - 25 - 7, 'x')},
      // shadowed variables of others
      {"x=1", "x=2", "blob=" + std::string(470, 'x'), "x=3", "A_TRY=1", "y=1"},
  };
  const VariableChanges changes{
      {"ORDER", "B"}, {"B_TRY", "0"}, {"SLOTKEEPER_TX", kTransaction + ":trial"}, {"A_TRY", "0"}};
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    SCOPED_TRACE("block " + std::to_string(i));
    const GrubBlock block = grub_block(blocks[i]);
    ASSERT_TRUE(is_whole_grub_block(block));
    const auto planned = plan_grub_steps(block, changes);
    ASSERT_TRUE(planned.has_value()) << planned.error().message;
    const auto& steps = planned.value();
    EXPECT_GE(steps.size(), 2U);
    expect_sound_steps(block, changes, steps);
    expect_sound_steps(block, {}, ok(plan_grub_steps(block, {})));
    const VariableChanges back{{"SLOTKEEPER_TX", std::nullopt}};
    EXPECT_EQ(ok(plan_grub_steps(steps.back(), back)).size(), 1U) << "afterwards a store is one sector";
  }
}

TEST(GrubEnvironment, WithoutRoomItIsLeftAlone) {
  // A line that fills the first sector could only be moved together with what lies behind it.
  const GrubBlock blocked = grub_block({"blob=" + std::string(485, 'x'), "ORDER=A B", "A_OK=1", "A_TRY=2"});
  EXPECT_EQ(error_of(plan_grub_steps(blocked, {})).code, Errc::boot_environment);
  std::vector<std::string> lines;
  for (int i = 0; i < 60; ++i) lines.push_back("variable" + std::to_string(i + 10) + "=12345");
  lines.resize(58);
  const Error error = error_of(plan_grub_steps(grub_block(lines), {{"ORDER", "A B"}}));
  EXPECT_EQ(error.code, Errc::boot_environment);
  EXPECT_NE(error.message.find("no room"), std::string::npos) << error.message;
}

TEST(GrubEnvironment, ADamagedBlockIsRewrittenFromWhatIsReadable) {
  std::string zeros = text_of(grub_block({"x=1", "ORDER=A B", "A_OK=1", "A_TRY=0", "B_OK=0", "B_TRY=3"}));
  zeros.replace(512, 512, std::string(512, '\0'));
  GrubBlock block = grub_block_of(zeros);
  const Variables before = read_grub_variables(block);
  auto steps = ok(plan_grub_steps(block, {}));
  ASSERT_FALSE(steps.empty());
  EXPECT_TRUE(is_whole_grub_block(steps.back()));
  EXPECT_EQ(read_grub_variables(steps.back()), before);
  EXPECT_TRUE(ok(plan_grub_steps(steps.back(), {})).empty());

  // GRUB takes "rubbish\nORDER" for one name: there is no order any more, and the engine has to give one.
  block = grub_block({"A_OK=1", "A_TRY=0", "rubbish", "ORDER=A B", "x=1"});
  EXPECT_FALSE(read_grub_variables(block).contains("ORDER"));
  steps = ok(plan_grub_steps(block, {{"ORDER", "A"}}));
  EXPECT_TRUE(is_whole_grub_block(steps.back()));
  EXPECT_EQ(read_grub_variables(steps.back()), (Variables{{"A_OK", "1"}, {"A_TRY", "0"}, {"ORDER", "A"}, {"x", "1"}}));
}

/// Random lines, ours among them, of every length up to the last byte of the block.
std::vector<std::string> random_lines(std::mt19937_64& random) {
  std::vector<std::string> lines;
  std::size_t room = random() % (kGrubBlockBytes - 24);
  while (true) {
    std::string line;
    switch (random() % 6) {
      case 0:
        line = std::string(kGrubOurs[random() % kGrubOurs.size()]) + "=" + std::to_string(random() % 10);
        break;
      case 1:
        line = "#" + std::string(random() % 30, random() % 2 == 0 ? '#' : 'c');
        break;
      default:
        line = "v" + std::to_string(random() % 12) + "=";
        for (std::size_t i = random() % (random() % 8 == 0 ? 400 : 30); i > 0; --i) {
          const auto kind = random() % 12;
          line += kind == 0 ? "\\\\" : kind == 1 ? "\\\n" : kind == 2 ? "#" : kind == 3 ? "=" : "x";
        }
    }
    if (line.size() + 1 > room) return lines;
    room -= line.size() + 1;
    lines.push_back(std::move(line));
  }
}

TEST(GrubEnvironment, RandomBlocksAreChangedInSoundSteps) {
  const std::uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::size_t moved = 0;
  std::size_t without_room = 0;
  for (int round = 0; round < 2000 && !testing::Test::HasFailure(); ++round) {
    const GrubBlock block = grub_block(random_lines(random));
    ASSERT_TRUE(is_whole_grub_block(block)) << text_of(block);
    const BootState state = grub_state_of(read_grub_variables(block), kAttempts);
    const BootState wanted =
        random() % 2 == 0 ? armed(state, SlotId::b, kAttempts, kTransaction) : only_slot(state, SlotId::a, kAttempts);
    const VariableChanges changes = grub_changes_to(read_grub_variables(block), wanted, kAttempts);
    const auto steps = plan_grub_steps(block, changes);
    if (!steps.has_value()) {
      EXPECT_EQ(steps.error().code, Errc::boot_environment);
      EXPECT_GT(text_of(block).find_last_not_of('#'), 350U) << text_of(block);
      ++without_room;
      continue;
    }
    SCOPED_TRACE(text_of(block));
    expect_sound_steps(block, changes, steps.value());
    if (steps.value().size() > 1) ++moved;
    const auto again = plan_grub_steps(steps.value().empty() ? block : steps.value().back(), {});
    EXPECT_TRUE(again.has_value() && again.value().empty());
  }
  EXPECT_GT(moved, 200U);
  EXPECT_LT(without_room, 800U);
}

TEST(GrubEnvironment, RandomDamageIsMendedOrRefused) {
  const std::uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 2000 && !testing::Test::HasFailure(); ++round) {
    GrubBlock block = grub_block(random_lines(random));
    for (std::size_t hits = 1 + random() % 4; hits > 0; --hits) {
      block[25 + random() % (kGrubBlockBytes - 25)] = static_cast<std::byte>(random());
    }
    SCOPED_TRACE(text_of(block));
    const auto steps = plan_grub_steps(block, {{"ORDER", "A"}});
    if (!steps.has_value()) continue;
    GrubBlock now = block;
    for (const GrubBlock& step : steps.value()) {
      EXPECT_EQ(sectors_changed(now, step), 1U);
      now = step;
    }
    EXPECT_TRUE(is_whole_grub_block(now));
    EXPECT_EQ(read_grub_variables(now)["ORDER"], "A");
  }
}

}  // namespace
}  // namespace slotkeeper::boot

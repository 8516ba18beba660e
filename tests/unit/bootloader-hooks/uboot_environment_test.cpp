#include "bootloader-hooks/uboot_environment.hpp"

#include <gtest/gtest.h>

#include "tests/support/environment_bytes.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::boot {
namespace {

using test::environment_copy;
using test::error_of;
using test::ok;

constexpr std::size_t kSize = 1024;

EnvironmentCopy damaged(EnvironmentCopy copy) {
  copy[100] ^= std::byte{1};
  return copy;
}

TEST(UbootEnvironment, ACopyIsValidWithItsCrcAndItsEnd) {
  const EnvironmentCopy copy = environment_copy({"a=1"}, 1, kSize);
  EXPECT_TRUE(is_valid_copy(copy));
  EXPECT_TRUE(is_valid_copy(empty_copy(kSize)));
  for (const std::size_t at : {std::size_t{0}, std::size_t{3}, std::size_t{5}, std::size_t{6}, kSize - 1}) {
    EnvironmentCopy changed = copy;
    changed[at] ^= std::byte{0x80};
    EXPECT_FALSE(is_valid_copy(changed)) << at;
  }
  EXPECT_FALSE(is_valid_copy(EnvironmentCopy(kSize)));
  EXPECT_FALSE(is_valid_copy(EnvironmentCopy(kSize, std::byte{0xff})));
  EXPECT_FALSE(is_valid_copy(EnvironmentCopy(8)));
}

TEST(UbootEnvironment, ACopyWithoutItsEndIsDamagedThoughItsCrcMatches) {
  // The library would read on behind the buffer.
  EnvironmentCopy copy = environment_copy({"a=" + std::string(kSize - 5 - 4, 'x')}, 1, kSize);
  ASSERT_TRUE(is_valid_copy(copy));
  copy[kSize - 2] = std::byte{'y'};
  copy[kSize - 1] = std::byte{'y'};
  const std::uint32_t crc = crc32(io::ConstBytes(copy).subspan(5));
  for (std::size_t i = 0; i < 4; ++i) copy[i] = static_cast<std::byte>(crc >> (8 * i));
  EXPECT_FALSE(is_valid_copy(copy));
  EXPECT_EQ(error_of(read_variables({copy, copy})).code, Errc::boot_environment);
}

TEST(UbootEnvironment, TheNewerValidCopyIsCurrent) {
  const auto current = [](std::uint8_t first, std::uint8_t second) {
    return current_copy({environment_copy({"a=1"}, first, kSize), environment_copy({"a=2"}, second, kSize)});
  };
  EXPECT_EQ(current(1, 1), 0U);
  EXPECT_EQ(current(1, 2), 1U);
  EXPECT_EQ(current(2, 1), 0U);
  EXPECT_EQ(current(255, 0), 1U);
  EXPECT_EQ(current(0, 255), 0U);
  EXPECT_EQ(current(254, 255), 1U);
  const EnvironmentCopy good = environment_copy({"a=1"}, 1, kSize);
  const EnvironmentCopy bad = damaged(environment_copy({"a=2"}, 9, kSize));
  EXPECT_EQ(current_copy({good, bad}), 0U);
  EXPECT_EQ(current_copy({bad, good}), 1U);
  EXPECT_FALSE(current_copy({bad, bad}).has_value());
}

TEST(UbootEnvironment, TheLibraryReadsTheSameCopy) {
  for (const int first : {0, 1, 2, 127, 128, 254, 255}) {
    for (const int second : {0, 1, 2, 127, 128, 254, 255}) {
      const EnvironmentCopies copies{environment_copy({"a=0"}, static_cast<std::uint8_t>(first), kSize),
                                     environment_copy({"a=1"}, static_cast<std::uint8_t>(second), kSize)};
      EXPECT_EQ(ok(read_variables(copies)).at("a"), std::to_string(*current_copy(copies))) << first << " " << second;
    }
  }
}

TEST(UbootEnvironment, BlankAndDamagedAreToldApart) {
  const EnvironmentCopy zeros(kSize);
  const EnvironmentCopy ones(kSize, std::byte{0xff});
  const Error blank = error_of(read_variables({zeros, ones}));
  EXPECT_EQ(blank.code, Errc::boot_environment);
  EXPECT_NE(blank.message.find("never initialised"), std::string::npos) << blank.message;
  const Error broken = error_of(read_variables({zeros, damaged(environment_copy({"a=1"}, 1, kSize))}));
  EXPECT_EQ(broken.code, Errc::boot_environment);
  EXPECT_NE(broken.message.find("damaged"), std::string::npos) << broken.message;
  EXPECT_EQ(error_of(compose_next({zeros, ones}, {})).code, Errc::boot_environment);
}

TEST(UbootEnvironment, ComposesTheNextCopyAndKeepsAllOtherVariables) {
  const EnvironmentCopies copies{
      environment_copy({"zeta=last", "bootcmd=run x; if test a = b; then y; fi", "empty=", "blob=\xff\xfe=\x01", "a=1"},
                       255, kSize, std::byte{0xff}),
      environment_copy({"a=0"}, 254, kSize)};
  const EnvironmentCopy next = ok(compose_next(copies, {{"a", "2"}, {"new", "word"}, {"zeta", std::nullopt}}));
  EXPECT_EQ(next.size(), kSize);
  EXPECT_EQ(next[4], std::byte{0});  // 0 follows 255
  const EnvironmentCopies after{copies[0], next};
  EXPECT_EQ(current_copy(after), 1U);
  EXPECT_EQ(ok(read_variables(after)), (Variables{{"bootcmd", "run x; if test a = b; then y; fi"},
                                                  {"empty", ""},
                                                  {"blob", "\xff\xfe=\x01"},
                                                  {"a", "2"},
                                                  {"new", "word"}}));
}

TEST(UbootEnvironment, PutsZerosBehindTheVariables) {
  const EnvironmentCopies copies{environment_copy({"a=1"}, 1, kSize, std::byte{0xff}), EnvironmentCopy(kSize)};
  EXPECT_EQ(ok(compose_next(copies, {{"b", "2"}})), environment_copy({"a=1", "b=2"}, 2, kSize));
}

TEST(UbootEnvironment, KeepsAttributesAndWritesVariablesThatHaveSome) {
  const EnvironmentCopies copies{environment_copy({"a=1", ".flags=a:d,absent:sr", "b=2"}, 1, kSize),
                                 EnvironmentCopy(kSize)};
  const EnvironmentCopy next = ok(compose_next(copies, {{"a", "2"}}));
  const std::string_view text = io::as_text(next);
  EXPECT_NE(text.find(std::string_view("\0.flags=a:d,absent:sr\0", 22)), std::string_view::npos);
  EXPECT_EQ(ok(read_variables({next, next})), (Variables{{"a", "2"}, {"b", "2"}}));
}

TEST(UbootEnvironment, RefusesWhatHasNoRoom) {
  const std::string filling(kSize - 5 - 20, 'x');
  const EnvironmentCopies copies{environment_copy({"a=" + filling}, 1, kSize), EnvironmentCopy(kSize)};
  EXPECT_TRUE(compose_next(copies, {{"b", "2"}}).has_value());
  for (std::size_t length = 8; length < 32; ++length) {
    const auto composed = compose_next(copies, {{"b", std::string(length, 'y')}});
    // "a=" filling 0 "b=" value 0 0
    const bool has_room = 5 + 2 + filling.size() + 1 + 2 + length + 1 + 1 <= kSize;
    ASSERT_EQ(composed.has_value(), has_room) << length;
    if (has_room) {
      EXPECT_TRUE(is_valid_copy(composed.value()));
    } else {
      EXPECT_EQ(composed.error().code, Errc::boot_environment);
    }
  }
}

TEST(UbootEnvironment, LinesThatAreNoVariablesDoNotStopIt) {
  const EnvironmentCopies copies{environment_copy({"junk", "a=1", "a=2", ".flags=:,::,"}, 1, kSize),
                                 EnvironmentCopy(kSize)};
  EXPECT_EQ(ok(read_variables(copies)).at("a"), "2");
  const EnvironmentCopy next = ok(compose_next(copies, {{"b", "3"}}));
  EXPECT_EQ(ok(read_variables({next, next})), (Variables{{"a", "2"}, {"b", "3"}}));
}

TEST(UbootEnvironment, AVariableThatIsThereTwiceIsThereOnceAfterAChange) {
  const EnvironmentCopies copies{environment_copy({"a=1", "b=1", "a=2", "z=9"}, 1, kSize), EnvironmentCopy(kSize)};
  EXPECT_EQ(ok(compose_next(copies, {{"a", "3"}})), environment_copy({"a=3", "b=1", "z=9"}, 2, kSize));
  EXPECT_EQ(ok(compose_next(copies, {{"a", std::nullopt}})), environment_copy({"b=1", "z=9"}, 2, kSize));
  EXPECT_EQ(ok(compose_next(copies, {{"b", "2"}})), environment_copy({"a=1", "b=2", "a=2", "z=9"}, 2, kSize));
}

TEST(UbootEnvironment, RenumberingChangesTheFlagsOnly) {
  const EnvironmentCopy copy = environment_copy({"a=1"}, 255, kSize);
  const EnvironmentCopy after = numbered_after(copy);
  EXPECT_EQ(after, environment_copy({"a=1"}, 0, kSize));
}

}  // namespace
}  // namespace slotkeeper::boot

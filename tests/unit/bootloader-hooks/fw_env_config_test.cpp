#include "bootloader-hooks/fw_env_config.hpp"

#include <gtest/gtest.h>

#include "tests/support/unwrap.hpp"

namespace slotkeeper::boot {
namespace {

using test::error_of;
using test::ok;

TEST(FwEnvConfig, ReadsTwoCopiesBetweenCommentsAndBlankLines) {
  const auto places =
      ok(parse_fw_env_config("# device  offset size sector\n\n  \t\n/dev/mmcblk0\t0x100000 0x4000 0x200 8\r\n# "
                             "second\n/dev/mmcblk0 1064960 4000",
                             "fw_env.config"));
  EXPECT_EQ(places[0], (EnvironmentPlace{"/dev/mmcblk0", 0x100000, 0x4000}));
  EXPECT_EQ(places[1], (EnvironmentPlace{"/dev/mmcblk0", 0x104000, 0x4000}));
}

TEST(FwEnvConfig, ReadsNumbersAsTheToolsDo) {
  // Offsets like strtoll with base 0, sizes in hexadecimal whether they say so or not.
  const auto places = ok(parse_fw_env_config("/dev/a 0 1000\n/dev/b 010 0X1000\n", "f"));
  EXPECT_EQ(places[0].size_bytes, 4096U);
  EXPECT_EQ(places[1].offset, 8U);
}

TEST(FwEnvConfig, CopiesMayLieOnTwoDevicesAtTheSameOffset) {
  EXPECT_TRUE(parse_fw_env_config("/dev/a 0 1000\n/dev/b 0 1000\n", "f").has_value());
  EXPECT_TRUE(parse_fw_env_config("/dev/a 0x1000 1000\n/dev/a 0 1000\n", "f").has_value());
}

struct Refusal {
  std::string name;
  std::string text;
  std::string where;
  std::string gist;
};
void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }

class FwEnvConfigRefuses : public testing::TestWithParam<Refusal> {};

TEST_P(FwEnvConfigRefuses, WithFileLineAndReason) {
  const Error error = error_of(parse_fw_env_config(GetParam().text, "/etc/fw_env.config"));
  EXPECT_EQ(error.code, Errc::config);
  EXPECT_TRUE(error.message.starts_with(GetParam().where + ": ")) << error.message;
  EXPECT_NE(error.message.find(GetParam().gist), std::string::npos) << error.message;
}

const std::string kFile = "/etc/fw_env.config";
const std::string kGood = "/dev/a 0 1000\n";
INSTANTIATE_TEST_SUITE_P(
    All, FwEnvConfigRefuses,
    testing::Values(
        Refusal{"Nothing", "", kFile, "names 0 copies"}, Refusal{"OnlyComments", "# a\n\n", kFile, "names 0 copies"},
        Refusal{"OneCopy", kGood, kFile, "names 1 copies"},
        Refusal{"ThreeCopies", kGood + "/dev/b 0 1000\n/dev/c 0 1000\n", kFile + ", line 3", "third copy"},
        Refusal{"TooFewFields", kGood + "/dev/b 0\n", kFile + ", line 2", "is described by"},
        Refusal{"TooManyFields", kGood + "/dev/b 0 1000 200 8 1\n", kFile + ", line 2", "is described by"},
        Refusal{"RelativePath", "a 0 1000\n/dev/b 0 1000\n", kFile + ", line 1", "absolute path"},
        Refusal{"NegativeOffset", "/dev/a -0x2000 1000\n" + kGood, kFile + ", line 1", "from the end"},
        Refusal{"OffsetNoNumber", "/dev/a 0x 1000\n" + kGood, kFile + ", line 1", "not an offset"},
        Refusal{"OffsetWithTail", "/dev/a 12k 1000\n" + kGood, kFile + ", line 1", "not an offset"},
        Refusal{"OffsetTooLarge", "/dev/a 0x7fffffffffffffff 1000\n" + kGood, kFile + ", line 1", "not an offset"},
        Refusal{"OffsetOverflows", "/dev/a 99999999999999999999 1000\n" + kGood, kFile + ", line 1", "not an offset"},
        Refusal{"SizeZero", "/dev/a 0 0\n" + kGood, kFile + ", line 1", "not a size"},
        Refusal{"SizeHuge", "/dev/a 0 0x10000000\n" + kGood, kFile + ", line 1", "not a size"},
        Refusal{"SizeNoNumber", "/dev/a 0 16K\n" + kGood, kFile + ", line 1", "not a size"},
        Refusal{"SectorNoNumber", "/dev/a 0 1000 x\n" + kGood, kFile + ", line 1", "not a hexadecimal number"},
        Refusal{"ZeroByte", std::string("/dev/a\0x 0 1000\n", 16) + kGood, kFile + ", line 1", "zero byte"},
        Refusal{"OtherSize", kGood + "# c\n/dev/b 0 2000\n", kFile + ", line 3", "of the same size"},
        Refusal{"SamePlace", kGood + kGood, kFile + ", line 2", "overlap"},
        Refusal{"Overlap", kGood + "/dev/a 0xfff 1000\n", kFile + ", line 2", "overlap"}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace slotkeeper::boot

// Names and texts of boot loader entries: what is ours, what is whole, what the integrator may write.
#include "bootloader-hooks/efi_entry.hpp"

#include <gtest/gtest.h>

#include "tests/support/played_systemd_boot.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::boot {
namespace {

using test::error_of;
using test::ok;

const std::string kBody = "title Firmware\nlinux /a/vmlinuz\noptions root=PARTLABEL=rootfs-a slotkeeper.slot=A\n";

EntryText text(bool is_visible, std::uint32_t key) { return {.is_visible = is_visible, .key = key, .body = kBody}; }

TEST(EfiEntryName, OursAreReadAndWrittenTheSame) {
  for (const std::string name :
       {"slotkeeper-a.conf", "slotkeeper-b.conf", "slotkeeper-a-trial.conf", "slotkeeper-b-trial+3.conf",
        "slotkeeper-b-trial+2-1.conf", "slotkeeper-a-trial+0-9.conf"}) {
    const auto parsed = parse_entry_name(name);
    ASSERT_TRUE(parsed) << name;
    EXPECT_EQ(print_entry_name(*parsed), name);
  }
  const auto counted = parse_entry_name("Slotkeeper-B-Trial+2-1.CONF");
  ASSERT_TRUE(counted);
  EXPECT_EQ(counted->slot, SlotId::b);
  EXPECT_EQ(counted->kind, EntryKind::trial);
  EXPECT_EQ(counted->counter, (EntryCounter{.left = 2, .done = 1}));
}

TEST(EfiEntryName, OthersAreNotOurs) {
  for (const std::string name :
       {"", "debian.conf", "slotkeeper-.conf", "slotkeeper-c.conf", "slotkeeper-a.conf.off", "slotkeeper-a+3.conf",
        "slotkeeper-a-trial+.conf", "slotkeeper-a-trial+3-.conf", "slotkeeper-a-trial+x.conf", "slotkeeper-rescue.conf",
        "slotkeeper-a-trial+3-1.spare1", "slotkeeper-a-trial+9999999999.conf", "slotkeeper-a-trial+3.conf~"}) {
    EXPECT_FALSE(parse_entry_name(name)) << name;
  }
}

TEST(EfiEntryText, IsOneSectorAndReadsBack) {
  for (const std::uint32_t key : {1U, 9U, 10U, 50U, 99U}) {
    for (const bool is_visible : {false, true}) {
      const std::string printed = print_entry(text(is_visible, key));
      EXPECT_EQ(printed.size(), kEntryBytes);
      EXPECT_EQ(parse_entry(printed), text(is_visible, key));
      EXPECT_EQ(test::taken_entry({{"slotkeeper-a.conf", printed}}).has_value(), is_visible);
      EXPECT_EQ(test::slot_started_by(printed), "A");
    }
  }
}

TEST(EfiEntryText, AFullBodyFits) {
  EntryText full = text(true, 50);
  full.body += "#" + std::string(kEntryBodyBytesMax - full.body.size() - 2, 'x') + "\n";
  ASSERT_EQ(full.body.size(), kEntryBodyBytesMax);
  EXPECT_EQ(parse_entry(print_entry(full)), full);
}

TEST(EfiEntryText, AnyFlippedBitIsDamage) {
  const std::string printed = print_entry(text(true, 50));
  for (std::size_t bit = 0; bit < printed.size() * 8; ++bit) {
    std::string damaged = printed;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    ASSERT_FALSE(parse_entry(damaged)) << "bit " << bit;
  }
  EXPECT_FALSE(parse_entry(""));
  EXPECT_FALSE(parse_entry(kBody));
  EXPECT_FALSE(parse_entry(printed.substr(1)));
  EXPECT_FALSE(parse_entry(printed + "\n"));
  EXPECT_FALSE(parse_entry(std::string(kEntryBytes, '\0')));
}

TEST(EfiEntryBody, KeepsTheLinesOfTheIntegrator) {
  const std::string lines = "# ours\n\ntitle X\n  efi /a.efi\ninitrd /i\n\noptions quiet\noptions splash";
  EXPECT_EQ(ok(check_entry_body(lines, SlotId::a, "a.conf")),
            "# ours\ntitle X\n  efi /a.efi\ninitrd /i\noptions quiet\noptions splash\n");
  EXPECT_EQ(ok(check_entry_body(kBody, SlotId::a, "a.conf")), kBody);
}

TEST(EfiEntryBody, RefusesWhatCannotBeAnEntry) {
  struct Case {
    std::string text;
    std::string reason;
  };
  const std::string long_line = "options " + std::string(kEntryBodyBytesMax, 'x') + "\n";
  for (const Case& refused : {
           Case{"", "neither a line 'linux' nor a line 'efi'"},
           Case{"title X\noptions slotkeeper.slot=A\n", "neither a line 'linux' nor a line 'efi'"},
           Case{kBody + "sort-key x\n", "'sort-key' is Slotkeeper's own"},
           Case{"linux /k\noptions quiet\n", "must pass slotkeeper.slot=A"},
           Case{"linux /k\n# options slotkeeper.slot=A\n", "must pass slotkeeper.slot=A"},
           Case{"linux /k\noptions slotkeeper.slot=B\n", "names another slot than A"},
           Case{"linux /k\noptions slotkeeper.slot=A slotkeeper.slot=B\n", "names another slot than A"},
           Case{"efi /k\noptions slotkeeper.slot=B\n", "names another slot than A"},
           Case{"linux /k\r\noptions slotkeeper.slot=A\r\n", "no text"},
           Case{std::string("linux /k\0\n", 10), "no text"},
           Case{kBody + long_line, "at most 453"},
       }) {
    const Error error = error_of(check_entry_body(refused.text, SlotId::a, "a.conf"));
    EXPECT_EQ(error.code, Errc::config);
    EXPECT_NE(error.message.find(refused.reason), std::string::npos) << error.message;
    EXPECT_TRUE(error.message.starts_with("a.conf: ")) << error.message;
  }
}

}  // namespace
}  // namespace slotkeeper::boot

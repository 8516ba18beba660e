#include "partitions/io/posix_mounts.hpp"

#include <sys/sysmacros.h>

#include <gtest/gtest.h>

#include "tests/support/unwrap.hpp"

namespace slotkeeper::io {
namespace {

using test::error_of;
using test::ok;

TEST(MountTable, ReadsEveryField) {
  const auto entries =
      ok(parse_mounts("27 1 254:3 / / rw,relatime - ext4 /dev/vda rw,discard\n"
                      "36 35 98:0 /mnt1 /mnt/with\\040blank\\134 rw,noatime master:1 shared:2 - ext3 /dev/r\\040oot "
                      "ro,errors=continue\n"
                      "40 27 0:31 / /ro ro - tmpfs none rw\n"));
  ASSERT_EQ(entries.size(), 3U);
  EXPECT_EQ(entries[0].mount.mount_point, "/");
  EXPECT_EQ(entries[0].mount.filesystem, "ext4");
  EXPECT_EQ(entries[0].mount.source, "/dev/vda");
  EXPECT_EQ(entries[0].mount.device, makedev(254, 3));
  EXPECT_FALSE(entries[0].mount.read_only);
  EXPECT_EQ(entries[1].mount.mount_point, "/mnt/with blank\\");
  EXPECT_EQ(entries[1].mount.source, "/dev/r oot");
  EXPECT_TRUE(entries[1].mount.read_only) << "the filesystem is read-only, whatever the mount says";
  EXPECT_TRUE(entries[2].mount.read_only);
}

TEST(MountTable, RefusesAnOddLine) {
  for (const char* line : {"27 1 254:3 / /", "27 1 254 / / rw - ext4 /dev/vda rw", "27 1 254:3 / / rw ext4 /dev/vda rw",
                           "27 1 254:3 / / rw - ext4", "27 1 x:y / / rw - ext4 /dev/vda rw"}) {
    EXPECT_EQ(error_of(parse_mounts(line)).code, Errc::io_error) << line;
  }
}

TEST(MountTable, UnescapesOnlyWholeOctalNumbers) {
  EXPECT_EQ(unescape_octal("a\\040b\\011\\012\\134"), "a b\t\n\\");
  EXPECT_EQ(unescape_octal("\\04"), "\\04");
  EXPECT_EQ(unescape_octal("\\0x9"), "\\0x9");
  EXPECT_EQ(unescape_octal("\\"), "\\");
}

TEST(OverlayLayers, AreListedFromTheTop) {
  const OverlayLayers layers = overlay_layers("rw,lowerdir=/top\\134:1:/middle::/data,upperdir=/u\\054p,workdir=/work");
  EXPECT_EQ(layers.upper, "/u,p");
  EXPECT_EQ(layers.lower, (std::vector<std::string>{"/top:1", "/middle", "/data"}));
  const OverlayLayers listed = overlay_layers("ro,lowerdir+=/a,lowerdir+=/b");
  EXPECT_EQ(listed.lower, (std::vector<std::string>{"/a", "/b"}));
  EXPECT_TRUE(listed.upper.empty());
}

}  // namespace
}  // namespace slotkeeper::io

// The checksum of a volume, with and without helpers.
#include "partitions/slot_hash.hpp"

#include <fstream>
#include <random>

#include <gtest/gtest.h>

#include "tests/support/memory_storage.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper {
namespace {

using test::error_of;
using test::ok;

constexpr std::uint64_t kMiB = 1 << 20;

std::vector<std::byte> make_image(std::uint64_t length) {
  std::mt19937_64 random(20261127);
  std::vector<std::byte> image(length);
  for (std::byte& byte : image) byte = static_cast<std::byte>(random());
  std::fill_n(image.begin() + kMiB, kMiB, std::byte{0});
  return image;
}

Sha256 by_pieces(io::ConstBytes bytes) {
  PiecesStream stream;
  stream.update(bytes);
  return stream.finish();
}

class StoppedProgress final : public ProgressSink {
 public:
  void progress(Phase, std::uint64_t, std::uint64_t) override {}
  void notice(std::string_view) override {}
  [[nodiscard]] bool cancel_requested() const override { return true; }
};

class SlotHash : public testing::Test {
 protected:
  SlotHash() {
    memory.add_device(volume.device_path, image.size());
    memory.node(volume.device_path).contents = image;
  }
  std::vector<std::byte> image = make_image(3 * kMiB + 512);
  Volume volume{.name = "rootfs", .device_path = "/dev/slot"};
  test::MemoryStorage memory;
  SilentProgress silent;
};

TEST_F(SlotHash, IsThatOfTheFirstBytes) {
  for (const std::uint64_t length : {std::uint64_t{0}, std::uint64_t{1}, kMiB, 3 * kMiB + 100, 3 * kMiB + 512}) {
    const VolumeHash hash = ok(hash_volume(memory, volume, length, silent, Phase::verify, 0));
    EXPECT_EQ(hash.digest, by_pieces(io::ConstBytes(image).first(length)));
    EXPECT_TRUE(ok(reads_the_same(memory, volume, length, hash.fast_hashes, silent, Phase::check, 0)));
  }
  EXPECT_EQ(error_of(hash_volume(memory, volume, image.size() + 1, silent, Phase::verify, 0)).code, Errc::io_error);
}

TEST_F(SlotHash, ShowsTheBlocksInOrderWhoeverReadsThem) {
  const test::TemporaryDirectory folder;
  const std::string path = folder / "slot.img";
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(image.data()), static_cast<std::streamsize>(image.size()));
  const auto storage = io::make_posix_storage();
  for (const Helpers helpers : {0u, 3u}) {
    std::vector<BlockHash> shown;
    const BlockLook look = [&](std::span<const BlockHash> blocks) {
      shown.insert(shown.end(), blocks.begin(), blocks.end());
    };
    ok(look_at_blocks(*storage, {.name = "rootfs", .device_path = path}, image.size(), silent, Phase::stage, helpers,
                      look));
    ASSERT_EQ(shown.size(), image.size() / kHashBlockBytes + 1);
    for (std::size_t i = 0; i < shown.size(); ++i) {
      const auto rest = io::ConstBytes(image).subspan(i * kHashBlockBytes);
      const auto block = rest.first(std::min<std::size_t>(rest.size(), kHashBlockBytes));
      ASSERT_EQ(shown[i].hash, fast_hash(block)) << i;
      ASSERT_EQ(shown[i].is_zero, i >= 256 && i < 512) << i;
    }
  }
}

TEST_F(SlotHash, StopsWhenAskedBeforeTheSwitch) {
  StoppedProgress stopped;
  EXPECT_EQ(error_of(hash_volume(memory, volume, kMiB, stopped, Phase::check, 0)).code, Errc::cancelled);
  ok(hash_volume(memory, volume, kMiB, stopped, Phase::restore, 0));
}

TEST_F(SlotHash, OneOtherByteIsSeenLater) {
  const VolumeHash hash = ok(hash_volume(memory, volume, image.size(), silent, Phase::verify, 0));
  for (const std::uint64_t at : {std::uint64_t{0}, kMiB, 2 * kMiB - 1, 3 * kMiB + 511}) {
    std::byte& byte = memory.node(volume.device_path).contents[at];
    byte ^= std::byte{1};
    EXPECT_FALSE(ok(reads_the_same(memory, volume, image.size(), hash.fast_hashes, silent, Phase::check, 0))) << at;
    byte ^= std::byte{1};
  }
}

/// What helpers do must not depend on who is first.
TEST_F(SlotHash, HelpersFindTheSameOnARealFile) {
  const test::TemporaryDirectory folder;
  const auto storage = io::make_posix_storage();
  const Volume file{.name = "rootfs", .device_path = folder / "slot"};
  {
    const auto opened = ok(storage->open_file(file.device_path, io::OpenMode::create_new(0600)));
    ok(opened->write_at(0, image));
    ok(opened->sync());
    ok(opened->close());
  }
  for (const Helpers helpers : {0U, 1U, 3U, 9U}) {
    const VolumeHash hash = ok(hash_volume(*storage, file, image.size(), silent, Phase::verify, helpers));
    EXPECT_EQ(hash.digest, by_pieces(image)) << helpers;
    EXPECT_TRUE(ok(reads_the_same(*storage, file, image.size(), hash.fast_hashes, silent, Phase::check, helpers)));
    StoppedProgress stopped;
    EXPECT_EQ(error_of(hash_volume(*storage, file, image.size(), stopped, Phase::check, helpers)).code,
              Errc::cancelled);
  }
}

}  // namespace
}  // namespace slotkeeper

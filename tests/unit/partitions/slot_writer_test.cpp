#include "partitions/slot_writer.hpp"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <random>
#include <span>
#include <unistd.h>

#include <gtest/gtest.h>

#include "tests/support/fault_storage.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/memory_storage.hpp"
#include "tests/support/temporary_directory.hpp"

namespace slotkeeper {
namespace {

using test::MemoryFaults;
using test::MemoryStorage;

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kWindow = 512 * 1024;  ///< what is read back at once
constexpr std::uint64_t kSeed = 20260117;
const Volume kVolume{.name = "rootfs", .device_path = "/dev/slot"};

/// Random bytes, so that every head range and every window differs from zeros, with one long run of zeros.
std::vector<std::byte> make_image(std::uint64_t length, std::uint64_t zeros_from = 0, std::uint64_t zeros_to = 0) {
  std::mt19937_64 random(kSeed);
  std::vector<std::byte> image(length);
  for (std::byte& byte : image) byte = static_cast<std::byte>(random() | 1U);
  std::fill(image.begin() + static_cast<std::ptrdiff_t>(zeros_from),
            image.begin() + static_cast<std::ptrdiff_t>(zeros_to), std::byte{0});
  return image;
}

bool is_zero(io::ConstBytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

/// Writes an image in pieces of odd lengths; zero runs of at least 1 MiB are handed over as such.
Result<void> write_body(VolumeWriter& writer, io::ConstBytes image) {
  std::mt19937_64 random(kSeed);
  for (std::uint64_t offset = 0; offset < image.size();) {
    std::uint64_t zeros = 0;
    while (offset + zeros < image.size() && image[offset + zeros] == std::byte{0}) ++zeros;
    if (zeros >= kMiB) {
      SK_TRY(writer.write_zeros(offset, zeros));
      offset += zeros;
      continue;
    }
    std::uint64_t length = std::min<std::uint64_t>(1 + random() % (2 * kMiB), image.size() - offset);
    if (zeros == 0) {
      for (std::uint64_t i = 0; i < length; ++i) {
        if (image[offset + i] == std::byte{0}) length = std::max<std::uint64_t>(i, 1);
      }
    }
    SK_TRY(writer.write_chunk(offset, image.subspan(offset, length)));
    offset += length;
  }
  return success();
}

SilentProgress silent;

Result<void> write_volume(io::Storage& storage, const Volume& volume, io::ConstBytes image, Helpers helpers = 0) {
  SK_TRY_ASSIGN(const auto writer, VolumeWriter::open(storage, volume, image.size(), helpers));
  SK_TRY(writer->withhold_heads());
  SK_TRY(write_body(*writer, image));
  SK_TRY(writer->check_body(silent));
  SK_TRY(writer->finish());
  return writer->close();
}

std::string message_of(const Result<void>& result) { return result.has_value() ? "" : result.error().message; }

class WriteVolume : public testing::TestWithParam<std::uint64_t> {};

TEST_P(WriteVolume, OfAnyLengthToAMemoryDeviceThatEndsThere) {
  const std::uint64_t length = GetParam();
  const std::vector<std::byte> image = make_image(length);
  MemoryStorage storage;
  storage.add_device(kVolume.device_path, length);
  const auto result = write_volume(storage, kVolume, image);
  ASSERT_TRUE(result.has_value()) << message_of(result);
  EXPECT_EQ(storage.node(kVolume.device_path).durable, image);
}

TEST_P(WriteVolume, OfAnyLengthToALargerDeviceWhoseOldHeadsVanish) {
  const std::uint64_t length = GetParam();
  const std::vector<std::byte> image = make_image(length);
  MemoryStorage storage;
  auto& node = storage.add_device(kVolume.device_path, length + kMiB);
  std::fill(node.contents.begin(), node.contents.end(), std::byte{0x77});
  const auto result = write_volume(storage, kVolume, image);
  ASSERT_TRUE(result.has_value()) << message_of(result);
  EXPECT_TRUE(std::equal(image.begin(), image.end(), node.durable.begin()));
  for (const HeadRange& range : kHeadRanges) {
    if (range.offset < length) continue;
    EXPECT_TRUE(is_zero(io::ConstBytes(node.durable).subspan(range.offset, range.length))) << range.offset;
  }
}

INSTANTIATE_TEST_SUITE_P(Lengths, WriteVolume,
                         testing::Values(512, 4096, 4096 + 512, 32768, 32768 + 512, 65536 + 1024, 4 * kMiB - 512,
                                         4 * kMiB, 4 * kMiB + 512, 9 * kMiB + 1536));

TEST(SlotWriter, ZeroRunsAreWrittenAsZerosOverWhatWasThere) {
  const std::vector<std::byte> image = make_image(20 * kMiB + 512, 3 * kMiB + 100, 17 * kMiB + 300);
  MemoryStorage storage;
  auto& node = storage.add_device(kVolume.device_path, 20 * kMiB + 512);
  std::fill(node.contents.begin(), node.contents.end(), std::byte{0x77});
  const auto result = write_volume(storage, kVolume, image);
  ASSERT_TRUE(result.has_value()) << message_of(result);
  EXPECT_EQ(node.durable, image);
}

TEST(SlotWriter, AnImageThatIsAllZerosIsWrittenToo) {
  const std::vector<std::byte> image(13 * kMiB);
  MemoryStorage storage;
  auto& node = storage.add_device(kVolume.device_path, image.size());
  std::fill(node.contents.begin(), node.contents.end(), std::byte{0x77});
  ASSERT_TRUE(write_volume(storage, kVolume, image).has_value());
  EXPECT_EQ(node.durable, image);
}

/// What is written to a device that holds `old`, where equal blocks are left alone.
struct SparingRun {
  std::uint64_t written_bytes = 0;
  std::vector<std::byte> durable;
};
SparingRun write_sparingly(const std::vector<std::byte>& old, const std::vector<std::byte>& image,
                           const MemoryFaults& faults = {}) {
  MemoryStorage storage;
  auto& node = storage.add_device(kVolume.device_path, old.size());
  node.contents = node.durable = old;
  storage.plan_faults(faults);
  const auto writer = VolumeWriter::open(storage, kVolume, image.size()).value();
  EXPECT_TRUE(writer->withhold_heads().has_value());
  writer->leave_what_is_equal();
  EXPECT_TRUE(write_body(*writer, image).has_value());
  EXPECT_TRUE(writer->check_body(silent).has_value());
  EXPECT_TRUE(writer->finish().has_value());
  SparingRun run{.written_bytes = writer->written_bytes(), .durable = {}};
  EXPECT_TRUE(writer->close().has_value());
  run.durable = node.durable;
  return run;
}

TEST(SlotWriter, BlocksThatAreEqualAreLeftAlone) {
  const std::vector<std::byte> image = make_image(20 * kMiB + 512, 3 * kMiB + 100, 17 * kMiB + 300);
  SparingRun run = write_sparingly(image, image);
  EXPECT_EQ(run.written_bytes, 0u);
  EXPECT_EQ(run.durable, image);

  std::vector<std::byte> old = image;
  for (const std::uint64_t at : {std::uint64_t{1}, 200 * 4096ul, 2 * kMiB - 1, 2 * kMiB, 10 * kMiB, 20 * kMiB + 511}) {
    old[at] ^= std::byte{1};
  }
  run = write_sparingly(old, image);
  // Of the blocks that differ, the first is a head, one lies in a window of zeros, which is zeroed as a whole, and the
  // last one is not a whole one.
  EXPECT_EQ(run.written_bytes, 3 * 4096u + kWindow + 512);
  EXPECT_EQ(run.durable, image);

  run = write_sparingly(std::vector<std::byte>(image.size() + 4096, std::byte{0x77}), image);
  EXPECT_TRUE(std::equal(image.begin(), image.end(), run.durable.begin()));
}

TEST(SlotWriter, BlocksThatAreKnownToBeThereAreNotReadAgain) {
  const std::vector<std::byte> image = make_image(3 * kMiB + 512);
  MemoryStorage storage;
  auto& node = storage.add_device(kVolume.device_path, image.size());
  node.contents = node.durable = image;
  const auto writer = VolumeWriter::open(storage, kVolume, image.size()).value();
  ASSERT_TRUE(writer->withhold_heads().has_value());
  writer->leave_what_is_equal();
  ASSERT_TRUE(writer->write_chunk(0, io::ConstBytes(image).first(kMiB)).has_value());
  node.contents[kMiB + 5000] ^= std::byte{1};  // shows who reads
  ASSERT_TRUE(writer->write_chunk(kMiB, io::ConstBytes(image).subspan(kMiB), VolumeWriter::Present::yes).has_value());
  ASSERT_TRUE(writer->check_body(silent).has_value());
  ASSERT_TRUE(writer->finish().has_value());
  EXPECT_EQ(writer->written_bytes(), 0u);
  ASSERT_TRUE(writer->close().has_value());
}

TEST(SlotWriter, WorksWhereThereIsNoDirectIo) {
  const std::vector<std::byte> image = make_image(5 * kMiB + 512);
  MemoryStorage storage;
  storage.add_device(kVolume.device_path, image.size());
  storage.plan_faults({.without_direct_io = true});
  ASSERT_TRUE(write_volume(storage, kVolume, image).has_value());
  EXPECT_EQ(storage.node(kVolume.device_path).durable, image);
}

TEST(SlotWriter, HeadsStayZeroUntilFinish) {
  const std::vector<std::byte> image = make_image(5 * kMiB);
  MemoryStorage storage;
  auto& node = storage.add_device(kVolume.device_path, 6 * kMiB);
  std::fill(node.contents.begin(), node.contents.end(), std::byte{0x77});
  const auto heads_are_zero = [&](const std::vector<std::byte>& bytes) {
    return std::all_of(std::begin(kHeadRanges), std::end(kHeadRanges), [&](const HeadRange& range) {
      return is_zero(io::ConstBytes(bytes).subspan(range.offset, range.length));
    });
  };
  const auto writer = VolumeWriter::open(storage, kVolume, image.size()).value()->capacity_bytes();
  EXPECT_EQ(writer, 6 * kMiB);
  auto opened = VolumeWriter::open(storage, kVolume, image.size());
  ASSERT_TRUE(opened.has_value());
  ASSERT_TRUE(opened.value()->withhold_heads().has_value());
  EXPECT_TRUE(heads_are_zero(node.durable)) << "durable before the first byte of the image";
  ASSERT_TRUE(write_body(*opened.value(), image).has_value());
  EXPECT_TRUE(heads_are_zero(node.contents));
  ASSERT_TRUE(opened.value()->check_body(silent).has_value());
  EXPECT_TRUE(heads_are_zero(node.contents));
  EXPECT_TRUE(std::equal(image.begin() + 69632, image.end(), node.durable.begin() + 69632));
  ASSERT_TRUE(opened.value()->finish().has_value());
  EXPECT_TRUE(std::equal(image.begin(), image.end(), node.durable.begin()));
}

TEST(SlotWriter, ACutAtAnyChangeBeforeFinishLeavesNoHead) {
  const std::vector<std::byte> image = make_image(5 * kMiB + 512);
  std::uint64_t changes_before_finish = 0;
  {
    MemoryStorage storage;
    storage.add_device(kVolume.device_path, image.size());
    auto opened = VolumeWriter::open(storage, kVolume, image.size());
    storage.plan_faults({});
    ASSERT_TRUE(opened.value()->withhold_heads().has_value());
    ASSERT_TRUE(write_body(*opened.value(), image).has_value());
    ASSERT_TRUE(opened.value()->check_body(silent).has_value());
    changes_before_finish = storage.changes();
  }
  for (std::uint64_t cut = 3; cut <= changes_before_finish; ++cut) {  // the first head is zeroed and synced by itself
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      SCOPED_TRACE("cut before change " + std::to_string(cut) + ", seed " + std::to_string(seed));
      MemoryStorage storage;
      auto& node = storage.add_device(kVolume.device_path, image.size());
      std::fill(node.contents.begin(), node.contents.end(), std::byte{0x77});
      node.durable = node.contents;
      storage.plan_faults({.cut_at_change = cut});
      ASSERT_FALSE(write_volume(storage, kVolume, image).has_value());
      storage.crash(seed);
      for (const HeadRange& range : kHeadRanges) {
        if (range.offset > 0 && cut <= 5) continue;  // two changes zero the others, one syncs them
        ASSERT_TRUE(is_zero(io::ConstBytes(node.durable).subspan(range.offset, range.length))) << range.offset;
      }
    }
  }
}

TEST(SlotWriter, EveryFlippedBitIsFoundAndItsOffsetNamed) {
  const std::vector<std::byte> image = make_image(3 * kMiB + 4608, kMiB, 2 * kMiB);
  std::uint64_t writes = 0;
  {
    MemoryStorage storage;
    storage.add_device(kVolume.device_path, image.size());
    ASSERT_TRUE(write_volume(storage, kVolume, image).has_value());
    writes = storage.writes();
  }
  ASSERT_EQ(writes, 3U + 7U + 3U) << "heads, windows with a last part, heads";
  const std::uint64_t offsets[] = {0,        32768,    65536, 0,     kWindow, kMiB, 2 * kMiB, 2 * kMiB + kWindow,
                                   3 * kMiB, 3 * kMiB, 65536, 32768, 0};
  for (std::uint64_t flipped = 1; flipped <= writes; ++flipped) {
    MemoryStorage storage;
    storage.add_device(kVolume.device_path, image.size());
    storage.plan_faults({.flip_in_write = flipped});
    const auto result = write_volume(storage, kVolume, image);
    ASSERT_FALSE(result.has_value()) << "write " << flipped;
    EXPECT_EQ(result.error().code, Errc::readback_mismatch) << message_of(result);
    const std::string offset = "at offset " + std::to_string(offsets[flipped - 1]) + " ";
    EXPECT_NE(message_of(result).find(offset), std::string::npos) << flipped << ": " << message_of(result);
  }
}

TEST(SlotWriter, EveryFailedSyncAndWriteEndsItAndIsNotForgotten) {
  const std::vector<std::byte> image = make_image(5 * kMiB + 512);
  std::uint64_t syncs = 0;
  std::uint64_t writes = 0;
  {
    MemoryStorage storage;
    storage.add_device(kVolume.device_path, image.size());
    ASSERT_TRUE(write_volume(storage, kVolume, image).has_value());
    syncs = storage.syncs();
    writes = storage.writes();
  }
  ASSERT_EQ(syncs, 2U + 2U + 4U) << "heads, body, heads; from the body on the last part has a sync of its own";
  for (std::uint64_t failing = 1; failing <= syncs; ++failing) {
    MemoryStorage storage;
    storage.add_device(kVolume.device_path, image.size());
    storage.plan_faults({.fail_sync = failing});
    const auto result = write_volume(storage, kVolume, image);
    ASSERT_FALSE(result.has_value()) << "sync " << failing;
    EXPECT_EQ(result.error().code, Errc::sync_failed) << message_of(result);
  }
  for (std::uint64_t failing = 1; failing <= writes; ++failing) {
    MemoryStorage storage;
    storage.add_device(kVolume.device_path, image.size());
    storage.plan_faults({.fail_write = failing});
    const auto result = write_volume(storage, kVolume, image);
    ASSERT_FALSE(result.has_value()) << "write " << failing;
    EXPECT_EQ(result.error().code, Errc::io_error) << message_of(result);
  }
}

TEST(SlotWriter, WhatIsSettledWithAFlushIsDurable) {
  const std::vector<std::byte> image = make_image(3 * kMiB);
  MemoryStorage storage;
  auto& node = storage.add_device(kVolume.device_path, image.size());
  const auto writer = VolumeWriter::open(storage, kVolume, image.size()).value();
  ASSERT_TRUE(writer->withhold_heads().has_value());
  const auto syncs = storage.syncs();
  ASSERT_TRUE(writer->write_chunk(0, std::span(image).first(kMiB + kWindow)).has_value());
  ASSERT_TRUE(writer->settle(VolumeWriter::Flush::no).has_value());
  EXPECT_EQ(storage.syncs(), syncs);
  EXPECT_FALSE(node.unflushed.empty());
  ASSERT_TRUE(writer->settle(VolumeWriter::Flush::yes).has_value());
  EXPECT_TRUE(node.unflushed.empty());
  const auto behind_heads = static_cast<std::ptrdiff_t>(kHeadRanges[2].offset + kHeadRanges[2].length);
  EXPECT_TRUE(std::equal(image.begin() + behind_heads, image.begin() + static_cast<std::ptrdiff_t>(kMiB + kWindow),
                         node.durable.begin() + behind_heads));
  ASSERT_TRUE(writer->write_chunk(kMiB + kWindow, std::span(image).subspan(kMiB + kWindow)).has_value());
  ASSERT_TRUE(writer->check_body(silent).has_value());
  ASSERT_TRUE(writer->finish().has_value());
  ASSERT_TRUE(writer->close().has_value());
  EXPECT_EQ(node.durable, image);
}

TEST(SlotWriter, AFlushThatFailsInBetweenEndsIt) {
  const std::vector<std::byte> image = make_image(3 * kMiB);
  MemoryStorage storage;
  storage.add_device(kVolume.device_path, image.size());
  const auto writer = VolumeWriter::open(storage, kVolume, image.size()).value();
  ASSERT_TRUE(writer->withhold_heads().has_value());
  storage.plan_faults({.fail_sync = 1});
  ASSERT_TRUE(writer->write_chunk(0, std::span(image).first(kMiB)).has_value());
  const auto settled = writer->settle(VolumeWriter::Flush::yes);
  ASSERT_FALSE(settled.has_value());
  EXPECT_EQ(settled.error().code, Errc::sync_failed);
  EXPECT_FALSE(writer->write_chunk(kMiB, std::span(image).subspan(kMiB)).has_value());
}

TEST(SlotWriter, ARepeatedCheckDoesNotHealAFailedSync) {
  const std::vector<std::byte> image = make_image(kMiB);
  MemoryStorage storage;
  storage.add_device(kVolume.device_path, image.size());
  auto opened = VolumeWriter::open(storage, kVolume, image.size());
  VolumeWriter& writer = *opened.value();
  ASSERT_TRUE(writer.withhold_heads().has_value());
  ASSERT_TRUE(write_body(writer, image).has_value());
  storage.plan_faults({.fail_sync = 1});
  EXPECT_EQ(writer.check_body(silent).error().code, Errc::sync_failed);
  EXPECT_EQ(writer.check_body(silent).error().code, Errc::io_error);
  EXPECT_EQ(writer.finish().error().code, Errc::io_error);
}

TEST(SlotWriter, RefusesToWorkInAnotherOrder) {
  const std::vector<std::byte> image = make_image(kMiB);
  MemoryStorage storage;
  storage.add_device(kVolume.device_path, image.size());
  const auto open = [&] { return VolumeWriter::open(storage, kVolume, image.size()).value(); };
  EXPECT_EQ(open()->write_chunk(0, image).error().code, Errc::internal) << "heads not withheld";
  EXPECT_EQ(open()->finish().error().code, Errc::internal) << "body not checked";
  {
    const auto writer = open();
    ASSERT_TRUE(writer->withhold_heads().has_value());
    EXPECT_EQ(writer->write_chunk(512, image).error().code, Errc::internal) << "a gap";
  }
  {
    const auto writer = open();
    ASSERT_TRUE(writer->withhold_heads().has_value());
    ASSERT_TRUE(writer->write_chunk(0, io::ConstBytes(image).first(1000)).has_value());
    EXPECT_EQ(writer->check_body(silent).error().code, Errc::internal) << "image not complete";
  }
  {
    const auto writer = open();
    ASSERT_TRUE(writer->withhold_heads().has_value());
    EXPECT_EQ(writer->write_zeros(0, kMiB + 1).error().code, Errc::internal) << "beyond the image";
  }
  EXPECT_TRUE(is_zero(io::ConstBytes(storage.node(kVolume.device_path).contents).first(4096)));
}

TEST(SlotWriter, RefusesAHeldVolumeAndImagesThatDoNotFit) {
  MemoryStorage storage;
  storage.add_device(kVolume.device_path, kMiB);
  EXPECT_EQ(VolumeWriter::open(storage, kVolume, kMiB + 1).error().code, Errc::incompatible);
  EXPECT_EQ(VolumeWriter::open(storage, kVolume, 0).error().code, Errc::corrupt);
  storage.holders[kVolume.device_path] = "mounted at /mnt";
  EXPECT_EQ(VolumeWriter::open(storage, kVolume, kMiB).error().code, Errc::wrong_state);
  EXPECT_EQ(make_unbootable(storage, kVolume).error().code, Errc::wrong_state);
  EXPECT_EQ(VolumeWriter::open(storage, {.name = "x", .device_path = "/missing"}, kMiB).error().code, Errc::io_error);
}

TEST(SlotWriter, RefusesWhatIsNoLongerWhatWasChecked) {
  MemoryStorage storage;
  storage.add_device("/dev/target", kMiB);
  storage.add_device("/dev/booted", kMiB);
  const Volume volume{.name = "rootfs", .device_path = "/dev/by-label"};
  storage.add_symlink(volume.device_path, "/dev/target");
  const io::DeviceIdentity checked = storage.identify(volume.device_path).value();
  ASSERT_TRUE(VolumeWriter::open(storage, volume, kMiB, 0, &checked).has_value());
  storage.add_symlink(volume.device_path, "/dev/booted");
  const auto opened = VolumeWriter::open(storage, volume, kMiB, 0, &checked);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, Errc::wrong_state);
  EXPECT_NE(opened.error().message.find("another device than a moment ago"), std::string::npos);
}

TEST(SlotWriterOnRealFile, RefusesWhatIsNoLongerWhatWasChecked) {
  const test::TemporaryDirectory folder;
  for (const char* name : {"target", "booted"}) {
    ASSERT_TRUE(std::ofstream(folder / name).put('x').flush());
    ASSERT_EQ(::truncate((folder / name).c_str(), kMiB), 0);
  }
  ASSERT_EQ(::symlink((folder / "target").c_str(), (folder / "link").c_str()), 0);
  const Volume volume{.name = "rootfs", .device_path = folder / "link"};
  const auto storage = io::make_posix_storage();
  const io::DeviceIdentity checked = storage->identify(volume.device_path).value();
  ASSERT_TRUE(VolumeWriter::open(*storage, volume, kMiB, 0, &checked).has_value());
  ASSERT_EQ(::unlink((folder / "link").c_str()), 0);
  ASSERT_EQ(::symlink((folder / "booted").c_str(), (folder / "link").c_str()), 0);
  const auto opened = VolumeWriter::open(*storage, volume, kMiB, 0, &checked);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, Errc::wrong_state);
}

TEST(SlotWriter, MakeUnbootableZeroesTheHeadsOnly) {
  MemoryStorage storage;
  auto& node = storage.add_device(kVolume.device_path, 65536 + 1024);
  std::fill(node.contents.begin(), node.contents.end(), std::byte{0x77});
  ASSERT_TRUE(make_unbootable(storage, kVolume).has_value());
  std::vector<std::byte> expected(65536 + 1024, std::byte{0x77});
  for (const HeadRange& range : kHeadRanges) {
    const auto start = static_cast<std::ptrdiff_t>(range.offset);
    const auto end = static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(range.offset + range.length, expected.size()));
    std::fill(expected.begin() + start, expected.begin() + end, std::byte{0});
  }
  EXPECT_EQ(node.durable, expected);
}

void expect_written_to_real(const Volume& volume, io::ConstBytes image) {
  const auto storage = io::make_posix_storage();
  for (const Helpers helpers : {0U, 2U}) {
    const auto result = write_volume(*storage, volume, image, helpers);
    ASSERT_TRUE(result.has_value()) << message_of(result);
    std::ifstream device(volume.device_path, std::ios::binary);
    std::vector<char> found(image.size());
    device.read(found.data(), static_cast<std::streamsize>(found.size()));
    EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(found)), image)) << helpers;
  }
}

/// More than two groups of windows, on a real file, with the read-back beside the writing.
TEST(SlotWriterOnRealFile, AFlippedBitIsFoundInEveryGroup) {
  const test::TemporaryDirectory folder;
  const std::vector<std::byte> image = make_image(70 * kMiB + 512, 40 * kMiB, 60 * kMiB);
  test::make_file(folder / "slot", image.size());
  const Volume volume{.name = "rootfs", .device_path = folder / "slot"};
  const auto real = io::make_posix_storage();
  constexpr std::uint64_t kHeadReads = 3;
  for (const std::uint64_t window : {std::uint64_t{1}, std::uint64_t{64}, std::uint64_t{65}, std::uint64_t{141}}) {
    test::FaultStorage storage(*real);
    storage.flip_bit_in_read(kHeadReads + window, 4242);
    const auto result = write_volume(storage, volume, image, 2);
    ASSERT_FALSE(result.has_value()) << window;
    EXPECT_EQ(result.error().code, Errc::readback_mismatch) << message_of(result);
    EXPECT_NE(message_of(result).find("at offset " + std::to_string((window - 1) * kWindow) + " "), std::string::npos)
        << message_of(result);
  }
}

TEST(SlotWriterOnRealFile, AFailedFlushBesideTheWritingEndsIt) {
  const test::TemporaryDirectory folder;
  const std::vector<std::byte> image = make_image(70 * kMiB);
  test::make_file(folder / "slot", image.size());
  const Volume volume{.name = "rootfs", .device_path = folder / "slot"};
  const auto real = io::make_posix_storage();
  for (const std::uint64_t nth : {1U, 2U, 3U}) {
    test::FaultStorage storage(*real);
    storage.set({.file = "volume_device.cpp",
                 .line = 0,
                 .operation = "sync",
                 .nth = 2 + nth,
                 .os_errno = EIO,
                 .persistent = false});
    const auto result = write_volume(storage, volume, image, 2);
    ASSERT_FALSE(result.has_value()) << nth;
    EXPECT_EQ(result.error().code, Errc::sync_failed) << message_of(result);
    EXPECT_EQ(storage.faults_met(), 1U);
  }
}

TEST(SlotWriterOnRealFile, WritesAnImageThroughALink) {
  const test::TemporaryDirectory folder;
  const std::vector<std::byte> image = make_image(14 * kMiB + 512, 5 * kMiB, 13 * kMiB);
  test::make_file(folder / "slot", 14 * kMiB + 512);
  ASSERT_EQ(::symlink((folder / "slot").c_str(), (folder / "link").c_str()), 0);
  expect_written_to_real({.name = "rootfs", .device_path = folder / "link"}, image);
  std::ifstream file(folder / "slot", std::ios::binary);
  std::vector<char> found(image.size() + 1);
  file.read(found.data(), static_cast<std::streamsize>(found.size()));
  ASSERT_EQ(file.gcount(), static_cast<std::streamsize>(image.size()));
  EXPECT_TRUE(std::equal(image.begin(), image.end(), std::as_bytes(std::span(found)).begin()));
}

TEST(SlotWriterOnLoopDevice, WritesToItsVeryEndAndHoldsItExclusively) {
  if (!test::may_mount()) GTEST_SKIP() << "needs root for loop devices";
  const test::TemporaryDirectory folder;
  const std::vector<std::byte> image = make_image(9 * kMiB + 1536, 4 * kMiB, 8 * kMiB);
  test::make_file(folder / "disk", image.size());
  const test::LoopDevice device(folder / "disk");
  const Volume volume{.name = "rootfs", .device_path = device.path()};
  expect_written_to_real(volume, image);
  const auto storage = io::make_posix_storage();
  const auto writer = VolumeWriter::open(*storage, volume, image.size());
  ASSERT_TRUE(writer.has_value());
  EXPECT_EQ(VolumeWriter::open(*storage, volume, image.size()).error().code, Errc::wrong_state);
}

TEST(SlotWriterOnLoopDevice, RefusesAMountedFilesystemAndMakesAnUnmountedOneUnmountable) {
  if (!test::may_mount()) GTEST_SKIP() << "needs root for loop devices";
  const test::TemporaryDirectory folder;
  test::make_ext4(folder / "disk", 4 * kMiB);
  const test::LoopDevice device(folder / "disk");
  const Volume volume{.name = "rootfs", .device_path = device.path()};
  const auto storage = io::make_posix_storage();
  {
    const test::MountedFilesystem mounted(device.path(), folder / "mnt");
    EXPECT_EQ(VolumeWriter::open(*storage, volume, kMiB).error().code, Errc::wrong_state);
    EXPECT_EQ(make_unbootable(*storage, volume).error().code, Errc::wrong_state);
  }
  ASSERT_TRUE(make_unbootable(*storage, volume).has_value());
  EXPECT_ANY_THROW(test::MountedFilesystem(device.path(), folder / "mnt"));
}

}  // namespace
}  // namespace slotkeeper

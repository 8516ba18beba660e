// Delta bundles from end to end: made from an old bundle, unpacked against what lies on the slots.
#include <algorithm>
#include <cstdlib>
#include <random>

#include <gtest/gtest.h>

#include "engine/bundle/delta_frame.hpp"
#include "engine/bundle/image_file.hpp"
#include "tests/unit/engine/bundle/bundle_workshop.hpp"

namespace slotkeeper::bundle {
namespace {

using test::expect_failure;
using test::MemorySource;
using test::policy_with;
using test::TwoStrings;

constexpr std::size_t kMiB = 1 << 20;

/// What a rebuild does: contents move by blocks and by bytes, some change, some come, some go.
std::string rebuilt(std::string image, std::mt19937& random) {
  const auto below = [&](std::size_t limit) { return static_cast<std::size_t>(random()) % limit; };
  const std::size_t size = image.size();
  for (int edit = 0; edit < 12; ++edit) {
    const std::size_t at = below(image.size());
    const std::size_t length = 1 + below(200 * 1024);
    switch (below(5)) {
      case 0:
        image.insert(at, test::image_bytes(length, static_cast<std::uint32_t>(random())));
        break;
      case 1:
        image.erase(at, length);
        break;
      case 2:
        image.insert(at, image.substr(below(image.size()), length));
        break;
      case 3:
        image.insert(at, std::string(1 + below(64), 'x'));
        break;
      default:
        for (std::size_t i = at; i < std::min(at + length, image.size()); i += 1 + below(2000)) image[i] ^= 1;
    }
  }
  image.resize(size, 'z');
  return image;
}

class Delta : public testing::TestWithParam<Helpers> {
 protected:
  /// The bundle of the new image, made from one of the old image.
  void pack(const std::string& before, const std::string& after, const std::string& full = "") {
    slots.old = before;
    wanted = after;
    auto old_request = test::request_for(folder, "old.skb", {{"rootfs", before}});
    old_request.description.version = "3.5.0";
    ASSERT_TRUE(test::create(old_request).has_value());
    auto request = test::request_for(folder, "new.skb", {{"rootfs", after}});
    request.delta = DeltaRequest{.old_path = folder / "old.skb", .trust = policy_with(), .full = full};
    const auto created = test::create(request);
    ASSERT_TRUE(created.has_value()) << created.error().message;
    open(std::make_unique<MemorySource>(test::read_file(folder / "new.skb")));
  }

  void open(std::unique_ptr<MemorySource> opened) {
    source = opened.get();
    auto verified = verify_bundle(open_bundle(std::move(opened)).value(), policy_with());
    ASSERT_TRUE(verified.has_value()) << verified.error().message;
    manifest.emplace(std::move(verified).value());
  }

  /// Until the end or the first error.
  Result<std::string> read_whole(const ReusePlan* plan = nullptr) {
    ImageReader reader(*manifest, 0, {.helpers = GetParam(), .plan = plan, .on_slots = &slots});
    std::string bytes;
    made_from_old = 0;
    while (true) {
      SK_TRY_ASSIGN(const auto chunk, reader.next());
      if (!chunk) return bytes;
      EXPECT_EQ(chunk->offset, bytes.size());
      if (chunk->zeros) {
        bytes.append(chunk->plain_bytes, '\0');
      } else {
        bytes.append(io::as_text(chunk->data));
      }
      made_from_old += chunk->made_from_old_bytes;
    }
  }

  [[nodiscard]] std::uint64_t stored_bytes() const { return manifest->manifest().images[0].stored_bytes; }
  /// Of the first row that needs the old image.
  [[nodiscard]] std::uint64_t first_delta_frame() const {
    std::uint64_t offset = manifest->frames_offset(0);
    for (const auto& row : manifest->index(0).rows) {
      if ((row.flags & chunk_flag::kOldImage) != 0) return offset;
      offset += row.stored_bytes;
    }
    ADD_FAILURE() << "no chunk is made from the old image";
    return offset;
  }

  test::TemporaryDirectory folder;
  std::string wanted;
  TwoStrings slots;
  std::optional<VerifiedManifest> manifest;
  MemorySource* source = nullptr;
  std::uint64_t made_from_old = 0;
};

TEST_P(Delta, ARebuildComesOutAsItWentIn) {
  const char* given = std::getenv("SLOTKEEPER_SEED");
  const auto seed = given == nullptr ? std::random_device{}() : static_cast<std::uint32_t>(std::stoul(given));
  SCOPED_TRACE("seed " + std::to_string(seed) + " (replay with SLOTKEEPER_SEED)");
  std::mt19937 random(seed);
  const std::string before = test::image_bytes(6 * kMiB + 512, seed);
  pack(before, rebuilt(before, random));
  const auto bytes = read_whole();
  ASSERT_TRUE(bytes.has_value()) << bytes.error().message;
  EXPECT_TRUE(bytes.value() == wanted);
}

TEST_P(Delta, WhatMovedCostsNextToNothing) {
  std::string before = test::image_bytes(4 * kMiB, 1);
  std::string after = before;
  std::rotate(after.begin(), after.begin() + kMiB + 4711, after.end());
  pack(before, after);
  EXPECT_LT(stored_bytes(), 4096u);
  const auto bytes = read_whole();
  ASSERT_TRUE(bytes.has_value()) << bytes.error().message;
  EXPECT_TRUE(bytes.value() == after);
  EXPECT_GT(made_from_old, 4 * kMiB / 8 * 5 - 65536);  // of each eight pieces three are zeros
}

TEST_P(Delta, TheManifestNamesTheOldImageAndTheFullBundle) {
  const std::string before = test::image_bytes(kMiB, 1);
  pack(before, before.substr(4096) + before.substr(0, 4096), "full-3.5.1.skb");
  const auto& described = manifest->manifest();
  ASSERT_TRUE(described.is_delta());
  EXPECT_EQ(described.full, "full-3.5.1.skb");
  const OldImage& old = *described.images[0].old_image;
  EXPECT_EQ(old.version, "3.5.0");
  EXPECT_EQ(old.plain_bytes, before.size());
  EXPECT_EQ(old.plain_digest, sha256(io::as_bytes(before)));
  EXPECT_EQ(described.images[0].plain_digest, sha256(io::as_bytes(wanted)));
}

TEST_P(Delta, ADamagedOldImageNeverMakesAWrongChunk) {
  const std::string before = test::image_bytes(2 * kMiB, 1);
  pack(before, before.substr(4096) + before.substr(0, 4096));
  for (std::size_t at = 100; at < slots.old.size(); at += 4096) slots.old[at] ^= 1;
  expect_failure(read_whole(), Errc::readback_mismatch, "no longer read as the delta needs them");
  slots.fails = true;
  expect_failure(read_whole(), Errc::io_error, "the old image cannot be read");
}

TEST_P(Delta, ADamagedFrameIsTheBundlesFault) {
  const std::string before = test::image_bytes(2 * kMiB, 1);
  pack(before, before.substr(4096) + before.substr(0, 4096));
  source->bytes()[first_delta_frame() + 9] ^= 1;
  expect_failure(read_whole(), Errc::corrupt, "do not match the signed index");
  source->bytes().resize(first_delta_frame() + 9);
  EXPECT_FALSE(read_whole().has_value());
}

TEST_P(Delta, WhatTheTargetHoldsAtItsPlaceIsNotMadeAgain) {
  const std::string before = test::image_bytes(3 * kMiB, 1);
  pack(before, before.substr(4096) + before.substr(0, 4096));
  slots.target = wanted;
  ReusePlan plan(manifest->index(0).rows.size());
  InPlace in_place(manifest->index(0).rows, plan);
  std::vector<BlockHash> blocks;
  for (std::size_t at = 0; at < wanted.size(); at += kHashBlockBytes) {
    blocks.push_back(hash_block(io::as_bytes(std::string_view(wanted).substr(at, kHashBlockBytes))));
  }
  in_place.add(blocks);
  EXPECT_EQ(plan.origin(0).from, ReusePlan::From::target);
  EXPECT_TRUE(read_whole(&plan).value() == wanted);
  EXPECT_EQ(made_from_old, 0u);
  // Read after the look: one chunk is another one now, and made from the old image after all.
  slots.target[kMiB + 5] ^= 1;
  EXPECT_TRUE(read_whole(&plan).value() == wanted);
  EXPECT_GT(made_from_old, 0u);
}

TEST_P(Delta, GoesThroughAStreamThatPassesOnce) {
  const std::string before = test::image_bytes(2 * kMiB, 1);
  pack(before, before.substr(4096) + before.substr(0, 4096));
  open(std::make_unique<MemorySource>(test::read_file(folder / "new.skb"), false));
  EXPECT_TRUE(read_whole().value() == wanted);
}

INSTANTIATE_TEST_SUITE_P(Helpers, Delta, testing::Values(0u, 1u, 4u));

/// Bundles that cannot be made a delta from.
class DeltaRefusal : public testing::Test {
 protected:
  Result<CreatedBundle> create_from(const std::string& old_name, const std::string& full = "",
                                    const std::string& anchor = "ca") {
    auto request = test::request_for(folder, "new.skb", {{"rootfs", test::image_bytes(kMiB, 2)}});
    request.delta = DeltaRequest{.old_path = folder / old_name, .trust = policy_with(anchor), .full = full};
    return test::create(request);
  }
  void make_old(const std::string& volume) {
    ASSERT_TRUE(test::create(test::request_for(folder, "old.skb", {{volume, test::image_bytes(kMiB, 1)}})).has_value());
  }

  test::TemporaryDirectory folder;
};

TEST_F(DeltaRefusal, OfAnOldBundleThatIsADelta) {
  make_old("rootfs");
  ASSERT_TRUE(create_from("old.skb").has_value());
  test::run_tool({"mv", folder / "new.skb", folder / "delta.skb"});
  expect_failure(create_from("delta.skb"), Errc::config, "is a delta itself");
}

TEST_F(DeltaRefusal, OfAnOldBundleWithOtherVolumes) {
  make_old("boot-fs");
  expect_failure(create_from("old.skb"), Errc::config, "none of the volumes");
}

TEST_F(DeltaRefusal, OfAnOldBundleThatNobodyVouchesFor) {
  make_old("rootfs");
  expect_failure(create_from("old.skb", "", "other-ca"), Errc::untrusted);
}

TEST_F(DeltaRefusal, OfAnOldBundleThatIsDamaged) {
  make_old("rootfs");
  std::string bytes = test::read_file(folder / "old.skb");
  bytes[bytes.size() / 2] ^= 1;
  test::write_file(folder / "old.skb", bytes);
  expect_failure(create_from("old.skb"), Errc::corrupt);
  EXPECT_FALSE(test::exists(folder / "new.skb"));
  EXPECT_FALSE(test::exists(folder / ".new.skb.old.tmp"));
}

TEST_F(DeltaRefusal, OfAFullBundleSomewhereElse) {
  make_old("rootfs");
  expect_failure(create_from("old.skb", "../full.skb"), Errc::config, "without a folder");
}

TEST(DeltaOfNewContents, NeedsNoOldImageForThem) {
  const test::TemporaryDirectory folder;
  ASSERT_TRUE(test::create(test::request_for(folder, "old.skb", {{"rootfs", test::image_bytes(kMiB, 1)}})).has_value());
  // Nothing is alike, and the second volume is new.
  const std::string noise = test::image_bytes(kMiB, 77);
  auto request = test::request_for(folder, "new.skb", {{"rootfs", noise}, {"boot-fs", noise}});
  request.delta = DeltaRequest{.old_path = folder / "old.skb", .trust = policy_with(), .full = ""};
  ASSERT_TRUE(test::create(request).has_value());
  const auto manifest = test::verify_bytes(test::read_file(folder / "new.skb"), policy_with()).value();
  EXPECT_TRUE(manifest.manifest().images[0].old_image.has_value());
  EXPECT_FALSE(manifest.manifest().images[1].old_image.has_value());
  EXPECT_TRUE(test::read_image(manifest, 1).value() == noise);
}

TEST(DeltaIndex, IsTheSameWhoeverMakesIt) {
  const test::TemporaryDirectory folder;
  const std::string before = test::image_bytes(3 * kMiB, 1);
  ASSERT_TRUE(test::create(test::request_for(folder, "old.skb", {{"rootfs", before}})).has_value());
  std::string images[2];
  for (int i = 0; i < 2; ++i) {
    auto request =
        test::request_for(folder, "new" + std::to_string(i), {{"rootfs", before.substr(512) + before.substr(0, 512)}});
    request.delta = DeltaRequest{.old_path = folder / "old.skb", .trust = policy_with(), .full = ""};
    ASSERT_TRUE(test::create(request).has_value());
    const auto members = test::take_apart(test::read_file(request.output_path));
    images[i] = members[0].data + members[2].data + members[3].data;
  }
  EXPECT_TRUE(images[0] == images[1]);
}

}  // namespace
}  // namespace slotkeeper::bundle

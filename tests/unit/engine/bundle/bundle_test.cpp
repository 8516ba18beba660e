#include "engine/bundle/bundle.hpp"

#include <cstring>
#include <fstream>
#include <sched.h>
#include <stdexcept>

#include <gtest/gtest.h>

#include "tests/unit/engine/bundle/bundle_workshop.hpp"

namespace slotkeeper::bundle {
namespace {

using test::expect_failure;
using test::MemorySource;
using test::policy_with;
using test::put_together;
using test::RawMember;
using test::read_image;
using test::sign_again;
using test::take_apart;
using test::verify_bytes;

/// One bundle of two images, made once for all tests of this process.
struct Made {
  std::vector<test::TestImage> images = test::two_images();
  std::string bytes;
  std::vector<Member> members;

  Made() {
    const test::TemporaryDirectory folder;
    const auto created = test::create(test::request_for(folder, "one.skb", images));
    if (!created.has_value()) throw std::runtime_error(created.error().message);
    bytes = test::read_file(folder / "one.skb");
    auto bundle = open_bundle(std::make_unique<MemorySource>(bytes)).value();
    members = inspect_bundle_contents(bundle).value().members;
  }
};
const Made& made() {
  static const Made instance;
  return instance;
}

Result<Inspection> inspect(std::string bytes) {
  SK_TRY_ASSIGN(auto opened, open_bundle(std::make_unique<MemorySource>(std::move(bytes))));
  return inspect_bundle_contents(opened);
}

Result<VerifiedManifest> verify(std::string bytes) { return verify_bytes(std::move(bytes), policy_with()); }

TEST(Bundle, ImagesComeOutAsTheyWentIn) {
  const auto verified = verify(made().bytes);
  ASSERT_TRUE(verified.has_value()) << verified.error().message;
  EXPECT_EQ(verified.value().manifest().version, "3.5.1");
  EXPECT_EQ(verified.value().signers().at(0).subject, "CN=Slotkeeper test p256");
  for (std::size_t i = 0; i < made().images.size(); ++i) {
    EXPECT_EQ(verified.value().manifest().images[i].volume, made().images[i].volume);
    const auto bytes = read_image(verified.value(), i);
    ASSERT_TRUE(bytes.has_value()) << bytes.error().message;
    EXPECT_TRUE(bytes.value() == made().images[i].bytes);
    EXPECT_EQ(verified.value().manifest().images[i].plain_digest, sha256(io::as_bytes(bytes.value())));
  }
}

TEST(Bundle, ReaderStartsAtAnyChunkAndOutlivesAMove) {
  auto verified = verify(made().bytes).value();
  const auto& rows = verified.index(0).rows;
  std::uint64_t offset = 0;
  for (std::size_t first = 0; first <= rows.size(); ++first) {
    for (const Helpers helpers : {0U, 1U, 3U}) {
      EXPECT_TRUE(read_image(verified, 0, first, helpers).value() == made().images[0].bytes.substr(offset))
          << first << " with " << helpers << " helpers";
    }
    if (first < rows.size()) offset += rows[first].plain_bytes;
  }
  ImageReader reader(verified, 0);
  const VerifiedManifest moved = std::move(verified);
  const auto chunk = reader.next();
  ASSERT_TRUE(chunk.has_value());
  EXPECT_EQ(chunk.value()->plain_bytes, moved.index(0).rows[0].plain_bytes);
}

TEST(Bundle, ZeroRunsAreOneRowAndNoFrame) {
  const auto verified = verify(made().bytes).value();
  std::size_t runs = 0;
  const ChunkRow* before = nullptr;
  for (const auto& row : verified.index(0).rows) {
    const bool zeros = (row.flags & chunk_flag::kZeroRun) != 0;
    if (zeros) {
      ++runs;
      EXPECT_TRUE(before == nullptr || (before->flags & chunk_flag::kZeroRun) == 0) << "two runs side by side";
      EXPECT_EQ(row.stored_bytes, 0u);
    }
    before = &row;
  }
  EXPECT_GT(runs, 5u);
}

TEST(Bundle, VerifyingReadsNoFrame) {
  auto source = std::make_unique<MemorySource>(made().bytes);
  const MemorySource& looked_at = *source;
  const auto verified = verify_bundle(open_bundle(std::move(source)).value(), policy_with());
  ASSERT_TRUE(verified.has_value());
  // Each of the first two headers is looked at through a block of 4 KiB.
  EXPECT_LT(looked_at.bytes_read(), 2 * 4096 + take_apart(made().bytes)[0].data.size() + 16 * 1024);
  EXPECT_LT(looked_at.bytes_read() * 10, made().bytes.size());
}

TEST(Bundle, StreamOfUnknownSizeIsVerifiedWithoutItsEnd) {
  auto source = std::make_unique<MemorySource>(made().bytes, false);
  const auto verified = verify_bundle(open_bundle(std::move(source)).value(), policy_with());
  ASSERT_TRUE(verified.has_value()) << verified.error().message;
  EXPECT_TRUE(read_image(verified.value(), 1).value() == made().images[1].bytes);
  const auto& frames = made().members.back();
  auto cut = std::make_unique<MemorySource>(made().bytes.substr(0, frames.offset + 10), false);
  const auto short_one = verify_bundle(open_bundle(std::move(cut)).value(), policy_with());
  ASSERT_TRUE(short_one.has_value());
  expect_failure(read_image(short_one.value(), 1), Errc::source_truncated);
}

/// A stream that keeps its first `kept` bytes and can otherwise only be read front to back.
class ForwardSource final : public Source {
 public:
  ForwardSource(std::string bytes, std::uint64_t kept) : bytes_(std::move(bytes)), kept_(kept) {}
  [[nodiscard]] const std::string& name() const override { return bytes_.name(); }
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override { return std::nullopt; }
  [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, io::Bytes into) override {
    if (offset >= kept_ && offset < position_) return make_error(Errc::source_unreachable, "it went back");
    SK_TRY_ASSIGN(const auto count, bytes_.read_at(offset, into));
    if (offset + count > kept_) position_ = std::max(position_, offset + count);
    return count;
  }
  void expect(std::vector<ByteRange> ranges) override { expected.push_back(std::move(ranges)); }

  std::vector<std::vector<ByteRange>> expected;

 private:
  MemorySource bytes_;
  std::uint64_t kept_;
  std::uint64_t position_ = 0;
};

/// Everything up to the first index: its header is looked at through a block of 4 KiB.
std::uint64_t beginning_bytes() { return made().members[1].padded_end() + 4096; }

TEST(Bundle, StreamIsReadFrontToBack) {
  const auto verified = verify_bundle(
      open_bundle(std::make_unique<ForwardSource>(made().bytes, beginning_bytes())).value(), policy_with());
  ASSERT_TRUE(verified.has_value()) << verified.error().message;
  for (std::size_t i = 0; i < made().images.size(); ++i) {
    const auto image = read_image(verified.value(), i);
    ASSERT_TRUE(image.has_value()) << image.error().message;
    EXPECT_TRUE(image.value() == made().images[i].bytes);
  }
}

TEST(Bundle, OfAStreamWhatSurroundsTheFramesIsCheckedOnTheWay) {
  const auto& frames = made().members;
  const auto read_all = [&](std::string bytes) -> Result<void> {
    auto source = std::make_unique<ForwardSource>(std::move(bytes), beginning_bytes());
    SK_TRY_ASSIGN(const auto verified, verify_bundle(open_bundle(std::move(source)).value(), policy_with()));
    for (std::size_t i = 0; i < made().images.size(); ++i) SK_TRY(read_image(verified, i));
    return success();
  };
  std::string header = made().bytes;
  header[frames.back().offset - 512] ^= 1;
  expect_failure(read_all(header), Errc::corrupt, "header");
  std::string end = made().bytes;
  end.back() ^= 1;
  expect_failure(read_all(end), Errc::corrupt, "its end");
  expect_failure(read_all(made().bytes.substr(0, made().bytes.size() - 1)), Errc::source_truncated);
}

TEST(Bundle, TheReaderTellsTheSourceWhatItWillRead) {
  auto source = std::make_unique<ForwardSource>(made().bytes, made().bytes.size());
  const auto& told = source->expected;
  const auto verified = verify_bundle(open_bundle(std::move(source)).value(), policy_with()).value();
  ImageReader unused(verified, 0);
  EXPECT_TRUE(told.empty()) << "nothing is read yet";
  ASSERT_TRUE(read_image(verified, 0).has_value());
  const auto& rows = verified.index(0).rows;
  std::uint64_t stored = 0;
  for (const auto& row : rows) stored += row.stored_bytes;
  const std::uint64_t begin = verified.frames_offset(0);
  // Zero runs have no frame, so the frames lie side by side.
  EXPECT_EQ(told.at(0), (std::vector<ByteRange>{{begin, begin + stored}}));
  ASSERT_TRUE(read_image(verified, 0, 1).has_value());
  EXPECT_EQ(told.at(1), (std::vector<ByteRange>{{begin + rows[0].stored_bytes, begin + stored}}));
}

// ---- damage ---------------------------------------------------------------------------------------------------------

TEST(BundleDamage, CutAtEveryMemberBoundaryAndInsideEveryMemberIsCorrupt) {
  std::vector<std::uint64_t> lengths = {0, 1, 511, 512};
  for (const auto& member : made().members) {
    const std::uint64_t end = member.offset + member.size_bytes;
    for (const std::uint64_t length :
         {member.offset - 512, member.offset - 511, member.offset - 1, member.offset, member.offset + 1,
          member.offset + member.size_bytes / 2, end - 1, end, member.padded_end() - 1, member.padded_end()}) {
      lengths.push_back(length);
    }
  }
  for (std::uint64_t missing = 1; missing <= 1024; missing += 33) lengths.push_back(made().bytes.size() - missing);
  for (const std::uint64_t length : lengths) {
    const auto verified = verify(made().bytes.substr(0, length));
    ASSERT_FALSE(verified.has_value()) << length << " of " << made().bytes.size();
    EXPECT_EQ(verified.error().code, Errc::corrupt) << length << ": " << verified.error().message;
  }
}

TEST(BundleDamage, EveryTurnedByteOfHeadersPaddingAndEndIsCorrupt) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  for (const auto& member : made().members) {
    ranges.emplace_back(member.offset - 512, member.offset);
    ranges.emplace_back(member.offset + member.size_bytes, member.padded_end());
  }
  ranges.emplace_back(made().bytes.size() - 1024, made().bytes.size());
  auto bytes = made().bytes;
  for (const auto& [begin, end] : ranges) {
    for (std::uint64_t at = begin; at < end; ++at) {
      bytes[at] = static_cast<char>(bytes[at] ^ 0x04);
      // Inspection looks at the container as verifying does, and spares us thousands of signatures.
      const auto looked_through = inspect(bytes);
      ASSERT_FALSE(looked_through.has_value()) << "byte " << at;
      ASSERT_EQ(looked_through.error().code, Errc::corrupt) << "byte " << at << ": " << looked_through.error().message;
      if (at % 97 == 0) {
        expect_failure(verify(bytes), Errc::corrupt);
      }
      bytes[at] = made().bytes[at];
    }
  }
}

TEST(BundleDamage, TurnedByteInsideAMemberIsFoundBeforeItIsUsed) {
  for (const auto& member : made().members) {
    for (const std::uint64_t at :
         {member.offset, member.offset + member.size_bytes / 2, member.offset + member.size_bytes - 1}) {
      auto bytes = made().bytes;
      bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
      const auto verified = verify(std::move(bytes));
      if (member.name.starts_with("image/")) {
        ASSERT_TRUE(verified.has_value()) << verified.error().message;
        expect_failure(read_image(verified.value(), member.name == "image/rootfs.zst" ? 0 : 1), Errc::corrupt,
                       "do not match the signed index");
      } else if (member.name.starts_with("index/")) {
        expect_failure(verified, Errc::corrupt, "does not match the manifest");
      } else if (member.name == "manifest.cms" && at == member.offset + member.size_bytes / 2) {
        // Inside a certificate: that may look like a stranger's.
        ASSERT_FALSE(verified.has_value());
        EXPECT_TRUE(verified.error().code == Errc::signature || verified.error().code == Errc::untrusted);
      } else {
        expect_failure(verified, Errc::signature);
      }
    }
  }
}

TEST(BundleDamage, ErrorOfAChunkNamesItAndItsPlace) {
  auto bytes = made().bytes;
  const auto verified = verify(bytes).value();
  bytes[verified.frames_offset(0) + verified.index(0).rows[0].stored_bytes] ^= 1;
  expect_failure(read_image(verify(bytes).value(), 0), Errc::corrupt, "chunk 1 at offset 65536");
}

TEST(BundleDamage, BytesBehindTheEndAreCorrupt) {
  for (const std::string& more :
       {std::string(1, '\0'), std::string(512, '\0'), std::string(10240, '\0'), std::string("x"), made().bytes}) {
    expect_failure(verify(made().bytes + more), Errc::corrupt, "bytes behind its end");
  }
}

TEST(BundleDamage, MembersOutOfOrderAreCorrupt) {
  const auto members = take_apart(made().bytes);
  ASSERT_EQ(put_together(members), made().bytes);
  for (std::size_t i = 0; i < members.size(); ++i) {
    for (std::size_t j = i + 1; j < members.size(); ++j) {
      auto swapped = members;
      std::swap(swapped[i], swapped[j]);
      expect_failure(verify(put_together(swapped)), Errc::corrupt);
    }
  }
}

TEST(BundleDamage, MissingDoubledAndForeignMembersAreCorrupt) {
  const auto members = take_apart(made().bytes);
  for (std::size_t i = 0; i < members.size(); ++i) {
    const auto at = static_cast<std::ptrdiff_t>(i);
    auto fewer = members;
    fewer.erase(fewer.begin() + at);
    expect_failure(verify(put_together(fewer)), Errc::corrupt);
    auto doubled = members;
    doubled.insert(doubled.begin() + at, members[i]);
    expect_failure(verify(put_together(doubled)), Errc::corrupt);
  }
  for (std::size_t i = 0; i <= members.size(); ++i) {
    auto more = members;
    more.insert(more.begin() + static_cast<std::ptrdiff_t>(i), RawMember{"install.sh", "#!/bin/sh\n"});
    expect_failure(verify(put_together(more)), Errc::corrupt);
  }
}

TEST(BundleDamage, NamesThatLeadElsewhereAreCorrupt) {
  for (const std::string name : {"./manifest.json", "/manifest.json", "manifest.json/", "../manifest.json"}) {
    auto members = take_apart(made().bytes);
    members[0].name = name;
    expect_failure(verify(put_together(members)), Errc::corrupt);
  }
}

TEST(BundleDamage, WhatIsNoArchiveIsCorrupt) {
  for (const std::string& bytes : {std::string(), std::string("hello"), std::string(4096, '\0'),
                                   std::string(100000, 'x'), std::string("\x1f\x8b\x08\x00", 4)}) {
    expect_failure(verify(bytes), Errc::corrupt);
  }
}

TEST(BundleDamage, FirstMembersLongerThanTheirLimitsAreCorruptAndNotRead) {
  for (std::size_t i = 0; i < 2; ++i) {
    auto members = take_apart(made().bytes);
    members[i].data.resize(i == 0 ? kManifestMaxBytes + 1 : kSignatureMaxBytes + 1, ' ');
    expect_failure(verify(put_together(members)), Errc::corrupt, "impossible size");
  }
  // Eight exabytes, and none of them there.
  const std::string header = member_header(std::string("manifest.json"), 1ull << 62);
  expect_failure(verify(header), Errc::corrupt);
}

TEST(BundleDamage, IndexLargerThanTheLimitIsCorrupt) {
  auto members = take_apart(made().bytes);
  auto manifest = parse_manifest(members[0].data).value();
  manifest.images[0].index_bytes = kIndexMaxBytes + 1;
  members[2].data.resize(kIndexMaxBytes + 1);
  manifest.images[0].index_digest = sha256(io::as_bytes(members[2].data));
  expect_failure(verify(put_together(sign_again(members, manifest))), Errc::corrupt, "index-bytes");
}

/// Signed by somebody trusted and still wrong: what the signature covers is checked for itself.
TEST(BundleDamage, SignedIndexThatDoesNotFitIsCorrupt) {
  const auto members = take_apart(made().bytes);
  const auto manifest = parse_manifest(members[0].data).value();
  auto index =
      parse_chunk_index(io::as_bytes(members[2].data), manifest.images[0].plain_bytes, manifest.images[0].stored_bytes)
          .value();
  const auto with_index = [&](const ChunkIndex& changed) {
    auto others = members;
    auto described = manifest;
    const auto bytes = print_chunk_index(changed);
    others[2].data = io::as_text(bytes);
    described.images[0].index_bytes = bytes.size();
    described.images[0].index_digest = sha256(bytes);
    return put_together(sign_again(others, described));
  };
  EXPECT_TRUE(verify(with_index(index)).has_value());
  auto longer = index;
  longer.rows[0].plain_bytes += 4096;
  expect_failure(verify(with_index(longer)), Errc::corrupt, "more bytes than the image has");
  auto delta = index;
  delta.rows[0].flags = chunk_flag::kOldImage;
  expect_failure(verify(with_index(delta)), Errc::corrupt, "needs an old image that the manifest does not name");

  // Two rows exchanged: the sums are the same, so only the frames tell.
  auto exchanged = index;
  std::swap(exchanged.rows[0], exchanged.rows[1]);
  expect_failure(read_image(verify(with_index(exchanged)).value(), 0), Errc::corrupt, "do not match the signed index");

  // The hash of the frame is right, that of what is in it is not.
  auto other_plain = index;
  other_plain.rows[0].plain_digest = Sha256{};
  expect_failure(read_image(verify(with_index(other_plain)).value(), 0), Errc::corrupt,
                 "decompressed bytes do not match");

  // A chunk that unpacks to more than its row says: a bomb never gets more room.
  auto bomb = index;
  ASSERT_EQ(bomb.rows[1].flags, 0u);
  bomb.rows[0].plain_bytes -= 4096;
  bomb.rows[1].plain_bytes += 4096;
  expect_failure(read_image(verify(with_index(bomb)).value(), 0), Errc::corrupt, "chunk 0");
}

TEST(BundleDamage, SignedManifestThatDoesNotFitIsRefused) {
  const auto members = take_apart(made().bytes);
  const auto manifest = parse_manifest(members[0].data).value();
  auto changed = manifest;
  changed.images[0].stored_bytes += 1;
  expect_failure(verify(put_together(sign_again(members, changed))), Errc::corrupt);
  changed = manifest;
  changed.images[1].volume = "other";
  expect_failure(verify(put_together(sign_again(members, changed))), Errc::corrupt, "index/other");
  changed = manifest;
  changed.images[0].encrypted = true;
  expect_failure(verify(put_together(sign_again(members, changed))), Errc::corrupt, "content-key");
  changed = manifest;
  changed.firmware_group = FirmwareGroup{.version = 7, .admits = {manifest.version}};
  EXPECT_TRUE(verify(put_together(sign_again(members, changed))).has_value())
      << "what may follow is the engine's business";
  changed.firmware_group->admits = {"another version"};
  expect_failure(verify(put_together(sign_again(members, changed))), Errc::corrupt, "does not admit");
}

TEST(BundleDamage, SourceThatShrinksOrChangesAfterVerifyingIsCorrupt) {
  auto source = std::make_unique<MemorySource>(made().bytes);
  MemorySource& held = *source;
  const auto verified = verify_bundle(open_bundle(std::move(source)).value(), policy_with()).value();
  held.bytes()[verified.frames_offset(1) + 100] ^= 1;
  expect_failure(read_image(verified, 1), Errc::corrupt, "chunk 0");
  held.bytes() = made().bytes;
  EXPECT_TRUE(read_image(verified, 1).has_value());
  held.bytes().resize(verified.frames_offset(1) + 100);
  expect_failure(read_image(verified, 1), Errc::corrupt, "ends at");
}

TEST(Bundle, InspectionTrustsNobodyAndShowsEveryMember) {
  auto members = take_apart(made().bytes);
  members[1].data = "not a signature";
  auto bundle = open_bundle(std::make_unique<MemorySource>(put_together(members))).value();
  const auto inspection = inspect_bundle_contents(bundle);
  ASSERT_TRUE(inspection.has_value()) << inspection.error().message;
  EXPECT_EQ(inspection.value().members.size(), 6u);
  EXPECT_EQ(inspection.value().members[0].name, "manifest.json");
  EXPECT_EQ(inspection.value().size_bytes, bundle.source().size_bytes());
  expect_failure(verify_bundle(std::move(bundle), policy_with()), Errc::signature);
}

/// Peak memory of this process, in bytes, since it was last reset.
std::uint64_t peak_memory_bytes(bool reset) {
  if (reset) std::ofstream("/proc/self/clear_refs") << "5";
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) * 1024;
  }
  return 0;
}

TEST(Bundle, HelpersStopAtTheFirstErrorAndWhenNobodyReadsOn) {
  const auto verified = verify(made().bytes).value();
  const auto& rows = verified.index(0).rows;
  std::uint64_t frame = verified.frames_offset(0);
  for (std::size_t damaged = 0; damaged < rows.size(); frame += rows[damaged++].stored_bytes) {
    if (rows[damaged].stored_bytes == 0) continue;
    std::string bytes = made().bytes;
    bytes[frame + rows[damaged].stored_bytes / 2] ^= 1;
    const auto again = verify(bytes).value();
    ImageReader reader(again, 0, {.helpers = 3});
    for (std::size_t row = 0; row < damaged; ++row) ASSERT_TRUE(reader.next().has_value()) << row;
    const auto failed = reader.next();
    ASSERT_FALSE(failed.has_value()) << damaged;
    EXPECT_EQ(failed.error().code, Errc::corrupt);
    EXPECT_NE(failed.error().message.find("chunk " + std::to_string(damaged) + " "), std::string::npos)
        << failed.error().message;
  }
  ImageReader unread(verified, 0, {.helpers = 3});
  ImageReader begun(verified, 0, {.helpers = 3});
  EXPECT_TRUE(begun.next().has_value());
}

/// While it lives, this thread and those it starts share one processor: a new one waits until this one does.
class OneProcessor {
 public:
  OneProcessor() {
    if (sched_getaffinity(0, sizeof before_, &before_) != 0) throw std::runtime_error("sched_getaffinity failed");
    cpu_set_t one;
    CPU_ZERO(&one);
    for (std::size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++i) {
      if (CPU_ISSET(i, &before_)) CPU_SET(i, &one);
    }
    if (sched_setaffinity(0, sizeof one, &one) != 0) throw std::runtime_error("sched_setaffinity failed");
  }
  OneProcessor(const OneProcessor&) = delete;
  OneProcessor& operator=(const OneProcessor&) = delete;
  ~OneProcessor() { EXPECT_EQ(sched_setaffinity(0, sizeof before_, &before_), 0); }

 private:
  cpu_set_t before_{};
};

TEST(Bundle, HelpersLeaveAZeroRunThatWasGivenOutBeforeTheyCameToIt) {
  const test::TemporaryDirectory folder;
  // Zeros, data, data and so on: nobody waits for a helper before the place of the first run is used again, for data.
  constexpr std::size_t kChunk = 4096;
  std::string image = test::image_bytes(64 * kChunk, 9);
  for (std::size_t i = 0; i < image.size(); ++i) image[i] = i / kChunk % 3 == 0 ? '\0' : static_cast<char>(i / kChunk);
  auto request = test::request_for(folder, "zeros.skb", {{"rootfs", image}});
  request.chunk_bytes = kChunk;
  ASSERT_TRUE(test::create(request).has_value());
  const auto verified = verify(test::read_file(request.output_path)).value();
  ASSERT_EQ(verified.index(0).rows.size(), 64u);
  const OneProcessor until_the_end;
  for (int repetition = 0; repetition < 50; ++repetition) {
    const auto read = test::read_image(verified, 0, 0, 1);
    ASSERT_TRUE(read.has_value()) << repetition << ": " << read.error().message;
    ASSERT_EQ(read.value(), image) << repetition;
  }
}

TEST(Bundle, ReadingAnImageNeedsMemoryForOneChunkOnly) {
  const test::TemporaryDirectory folder;
  auto request = test::request_for(folder, "large.skb", {{"rootfs", test::image_bytes(96 << 20, 3)}});
  request.compression_level = 1;
  request.chunk_bytes = 0;
  ASSERT_TRUE(test::create(request).has_value());
  const auto storage = io::make_posix_storage();
  const std::uint64_t before = peak_memory_bytes(true);
  ASSERT_GT(before, 0u);
  auto source = open_file_source(*storage, request.output_path).value();
  const auto verified = verify_bundle(open_bundle(std::move(source)).value(), policy_with()).value();
  ImageReader reader(verified, 0, {.helpers = 4});
  std::uint64_t sum = 0;
  while (true) {
    const auto chunk = reader.next();
    ASSERT_TRUE(chunk.has_value());
    if (!chunk.value()) break;
    sum += chunk.value()->plain_bytes;
  }
  EXPECT_EQ(sum, 96u << 20);
  EXPECT_LT(peak_memory_bytes(false) - before, 24u << 20);
}

}  // namespace
}  // namespace slotkeeper::bundle

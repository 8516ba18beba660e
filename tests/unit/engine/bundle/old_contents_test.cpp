#include "engine/bundle/old_contents.hpp"

#include <algorithm>
#include <random>

#include <gtest/gtest.h>

#include "tests/unit/engine/bundle/bundle_workshop.hpp"

namespace slotkeeper::bundle {
namespace {

constexpr std::size_t kBlock = kOldBlockBytes;

std::string noise(std::size_t size, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  std::ranges::generate(bytes, [&] { return static_cast<char>(random()); });
  return bytes;
}

class OldContentsOf {
 public:
  explicit OldContentsOf(const std::string& image) {
    test::write_file(folder_ / "old.img", image);
    file_ = storage_->open_file(folder_ / "old.img", io::OpenMode::read_only()).value();
    SilentProgress progress;
    contents_.emplace(OldContents::look_at(*file_, progress).value());
  }
  [[nodiscard]] std::vector<OldPart> find(std::string_view piece) const { return contents_->find(io::as_bytes(piece)); }
  [[nodiscard]] const OldContents& contents() const { return *contents_; }

 private:
  test::TemporaryDirectory folder_;
  std::unique_ptr<io::Storage> storage_ = io::make_posix_storage();
  std::unique_ptr<io::File> file_;
  std::optional<OldContents> contents_;
};

bool covers(const std::vector<OldPart>& parts, std::size_t begin, std::size_t end) {
  return std::ranges::any_of(parts, [&](const OldPart& part) {
    return part.first_block * kBlock <= begin && (part.first_block + part.blocks) * kBlock >= end;
  });
}

std::uint32_t blocks_of(const std::vector<OldPart>& parts) {
  std::uint32_t blocks = 0;
  for (const auto& part : parts) blocks += part.blocks;
  return blocks;
}

TEST(OldContents, FindsWhatMovedByAnyNumberOfBytes) {
  const std::string image = noise(1 << 20, 1);
  const OldContentsOf old(image);
  for (const std::size_t begin : {40 * kBlock, 40 * kBlock + 1, 40 * kBlock + 4095}) {
    EXPECT_TRUE(covers(old.find(image.substr(begin, 20 * kBlock)), begin, begin + 20 * kBlock)) << begin;
  }
}

TEST(OldContents, FindsPartsFromSeveralPlacesAndWhatStandsAroundAChange) {
  const std::string image = noise(4 << 20, 1);
  const OldContentsOf old(image);
  std::string piece = image.substr(700 * kBlock + 9, 10 * kBlock) + image.substr(3 * kBlock, 10 * kBlock);
  piece.replace(4 * kBlock, 2 * kBlock, noise(2 * kBlock, 9));
  const auto parts = old.find(piece);
  EXPECT_TRUE(covers(parts, 700 * kBlock + 9, 710 * kBlock + 9));
  EXPECT_TRUE(covers(parts, 3 * kBlock, 13 * kBlock));
  EXPECT_LT(blocks_of(parts), 60u);
  EXPECT_TRUE(std::ranges::is_sorted(parts, {}, &OldPart::first_block));
}

TEST(OldContents, FindsNothingOfWhatIsNew) {
  const OldContentsOf old(noise(1 << 20, 1));
  EXPECT_TRUE(old.find(noise(1 << 19, 2)).empty());
  EXPECT_TRUE(old.find("").empty());
}

TEST(OldContents, TakesNoMoreThanAFrameMayReferTo) {
  const std::string image = noise(8 << 20, 1);
  const OldContentsOf old(image);
  std::string piece;
  for (std::size_t at = 0; at < image.size(); at += 4 * kBlock) piece += image.substr(at, kBlock);
  EXPECT_EQ(blocks_of(old.find(piece)), kOldPartsMaxBlocks);
}

TEST(OldContents, ContentsThatRepeatThemselvesAreFewLandmarks) {
  std::vector<Landmark> found;
  LandmarkFinder finder(8);
  std::string repeating(1 << 20, '\0');
  for (std::size_t i = 0; i < repeating.size() / 2; ++i) repeating[i] = static_cast<char>(i % 7);
  finder.add(io::as_bytes(repeating), found);
  EXPECT_LE(found.size(), repeating.size() / 64);
}

TEST(OldContents, LandmarksAreTheSameHoweverTheBytesCome) {
  const std::string bytes = noise(1 << 16, 3);
  std::vector<Landmark> whole;
  LandmarkFinder(8).add(io::as_bytes(bytes), whole);
  std::vector<Landmark> in_parts;
  LandmarkFinder finder(8);
  finder.add(io::as_bytes(std::string_view(bytes).substr(0, 777)), in_parts);
  finder.add(io::as_bytes(std::string_view(bytes).substr(777)), in_parts);
  EXPECT_EQ(whole, in_parts);
  EXPECT_GT(whole.size(), bytes.size() / 256 / 2);
}

TEST(OldContents, LeavesALastBlockThatIsNotWholeAlone) {
  const std::string image = noise(10 * kBlock + 512, 1);
  const OldContentsOf old(image);
  const auto parts = old.find(image.substr(5 * kBlock));
  ASSERT_FALSE(parts.empty());
  EXPECT_LE(parts.back().first_block + parts.back().blocks, 10u);
  EXPECT_EQ(io::as_text(old.contents().read(parts).value()).substr(0, kBlock),
            image.substr(parts[0].first_block * kBlock, kBlock));
}

}  // namespace
}  // namespace slotkeeper::bundle

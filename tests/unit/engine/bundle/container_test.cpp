#include "engine/bundle/container.hpp"

#include <gtest/gtest.h>

#include "tests/unit/engine/bundle/bundle_workshop.hpp"

namespace slotkeeper::bundle {
namespace {

using test::expect_failure;
using test::MemorySource;

constexpr std::uint64_t kGiB = 1ull << 30;

std::string written_header(const std::string& name, std::uint64_t size_bytes) {
  std::string bytes;
  ContainerWriter writer([&](io::ConstBytes data) -> Result<void> {
    bytes += io::as_text(data);
    return success();
  });
  EXPECT_TRUE(writer.begin_member(name, size_bytes).has_value());
  return bytes;
}

TEST(Container, HeaderIsTheOneThatLibarchiveWrites) {
  for (const std::uint64_t size : {std::uint64_t{1}, std::uint64_t{511}, std::uint64_t{512}, 8 * kGiB - 1, 8 * kGiB,
                                   std::uint64_t{9'000'000'000}, 64 * kGiB - 1, 64 * kGiB, 1024 * kGiB, 2048 * kGiB}) {
    for (const std::string name : {"manifest.json", "index/rootfs", "image/a-volume_with.a.long-name.zst"}) {
      EXPECT_EQ(member_header(name, size), written_header(name, size)) << name << " " << size;
    }
  }
}

/// Bundles outlive versions of libraries: these bytes never change.
TEST(Container, HeaderBytesAreThoseOfTheFormat) {
  EXPECT_EQ(sha256(io::as_bytes(member_header("manifest.json", 567))).hex(),
            "fcb402685f16c88fb249b5d60e0b18bb0f47b699aa40ef08214ac77f0a62afd8");
  EXPECT_EQ(sha256(io::as_bytes(member_header("image/rootfs.zst", 9'000'000'000))).hex(),
            "733adf6d74f1bf48917c6dde3a136b4b89e1d64138e90166b87aeae4331a86bf");
}

TEST(Container, MemberBeyond8GiBIsFoundAgain) {
  const std::uint64_t size = 9 * kGiB;
  MemorySource source(member_header("image/rootfs.zst", size) + "data", false);
  const auto member = read_member(source, 0, "image/rootfs.zst", 10 * kGiB);
  ASSERT_TRUE(member.has_value()) << member.error().message;
  EXPECT_EQ(member.value().offset, 1536u);
  EXPECT_EQ(member.value().size_bytes, size);
}

TEST(Container, RefusesAMemberOfAnotherNameOrSize) {
  MemorySource source(member_header("manifest.json", 100) + std::string(1024, ' '));
  EXPECT_TRUE(read_member(source, 0, "manifest.json", 100).has_value());
  expect_failure(read_member(source, 0, "manifest.cms", 100), Errc::corrupt, "manifest.cms");
  expect_failure(read_member(source, 0, "manifest.json", 99), Errc::corrupt, "impossible size");
  expect_failure(expect_member(source, 0, "manifest.json", 99), Errc::corrupt, "manifest.json");
  MemorySource empty(member_header("manifest.json", 0) + std::string(1024, '\0'));
  expect_failure(read_member(empty, 0, "manifest.json", 100), Errc::corrupt, "impossible size");
}

/// Puts a type and a right checksum into a header.
std::string with_type(std::string header, char type) {
  header[156] = type;
  header.replace(148, 8, "        ");
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  char text[9];
  std::snprintf(text, sizeof text, "%06o", sum);
  header.replace(148, 8, std::string(text, 7) + " ");
  return header;
}

TEST(Container, RefusesEverythingButAPlainFile) {
  const std::string plain = member_header("manifest.json", 100);
  ASSERT_EQ(with_type(plain, '0'), plain);
  for (const char type : {'1', '2', '3', '4', '5', '6', '7', 'x', 'g', 'L', 'K', 'S', 'V', '\0'}) {
    MemorySource source(with_type(plain, type) + std::string(4096, '\0'));
    expect_failure(read_member(source, 0, "manifest.json", 100), Errc::corrupt);
  }
}

TEST(Container, RefusesOwnersModesAndTimes) {
  const std::string plain = member_header("manifest.json", 100);
  for (const std::size_t field : {100u, 108u, 116u, 136u, 265u, 297u, 345u}) {
    std::string header = plain;
    header[field + 5] = '1';
    MemorySource source(with_type(header, '0') + std::string(4096, '\0'));
    expect_failure(read_member(source, 0, "manifest.json", 100), Errc::corrupt);
  }
}

TEST(Container, KeepsTheErrorOfItsSink) {
  ContainerWriter writer([](io::ConstBytes) -> Result<void> { return make_error(Errc::storage_full, "full"); });
  expect_failure(writer.begin_member("manifest.json", 1), Errc::storage_full, "full");
}

TEST(Container, RefusesMoreDataThanAnnounced) {
  const auto sink = [](io::ConstBytes) -> Result<void> { return success(); };
  ContainerWriter writer(sink);
  ASSERT_TRUE(writer.begin_member("manifest.json", 3).has_value());
  ASSERT_TRUE(writer.write(io::as_bytes("abc")).has_value());
  EXPECT_FALSE(writer.write(io::as_bytes("d")).has_value());
}

TEST(Container, AShortSourceIsCorruptWhenItsSizeIsKnownAndTruncatedWhenNot) {
  std::vector<std::byte> into(10);
  MemorySource file("12345");
  expect_failure(read_exactly(file, 0, into), Errc::corrupt, "ends at 5");
  MemorySource stream("12345", false);
  expect_failure(read_exactly(stream, 0, into), Errc::source_truncated, "ends at 5");
}

}  // namespace
}  // namespace slotkeeper::bundle

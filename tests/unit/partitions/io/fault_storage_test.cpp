#include "tests/support/fault_storage.hpp"

#include <bit>
#include <cerrno>

#include <gtest/gtest.h>

#include "tests/support/temporary_directory.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::test {
namespace {

class FaultStorageTest : public ::testing::Test {
 protected:
  /// Five calls: open, two writes, sync, close.
  Result<void> save(const std::string& name) {
    SK_TRY_ASSIGN(const auto file, storage_.open_file(folder_ / name, io::OpenMode::create_new(0600)));
    SK_TRY(file->write_at(0, io::as_bytes("first")));
    SK_TRY(file->write_at(5, io::as_bytes("second")));
    SK_TRY(file->sync());
    return file->close();
  }
  std::string content(const std::string& name) { return ok(real_->read_text(folder_ / name, 100)); }

  TemporaryDirectory folder_;
  std::unique_ptr<io::Storage> real_ = io::make_posix_storage();
  FaultStorage storage_{*real_};
};

TEST_F(FaultStorageTest, CountsEveryCallOfEverySite) {
  ok(save("one"));
  ok(save("two"));
  EXPECT_EQ(storage_.calls(), 10U);
  EXPECT_EQ(storage_.faults_met(), 0U);
  const auto sites = storage_.calls_by_site();
  EXPECT_EQ(sites.size(), 5U);
  for (const auto& [site, count] : sites) {
    EXPECT_EQ(count, 2U) << site.operation;
    EXPECT_TRUE(site.file.ends_with("fault_storage_test.cpp")) << site.file;
  }
}

TEST_F(FaultStorageTest, FailsEveryCallInTurnOnceAndWithoutCarryingItOut) {
  const std::array<std::string, 5> contents = {"", "", "first", "firstsecond", "firstsecond"};
  for (std::uint64_t call = 1; call <= 5; ++call) {
    const std::string name = "file" + std::to_string(call);
    storage_.reset();
    storage_.set({.file = {}, .operation = {}, .nth = call, .os_errno = EROFS});
    const Error error = error_of(save(name));
    EXPECT_EQ(error.code, call == 4 ? Errc::sync_failed : Errc::read_only) << call;
    EXPECT_EQ(error.os_errno, EROFS);
    EXPECT_EQ(storage_.faults_met(), 1U);
    EXPECT_EQ(storage_.calls(), call) << "the caller went on after an error";
    if (call == 1) {
      EXPECT_EQ(error_of(real_->status_of(folder_ / name)).os_errno, ENOENT);
    } else {
      EXPECT_EQ(content(name), contents[call - 1]);
    }
    ok(save(name + " again"));
  }
}

TEST_F(FaultStorageTest, FailsOneOperationOrOneSiteOnceOrForEver) {
  storage_.set({.file = {}, .operation = "write_at", .nth = 2, .os_errno = ENOSPC});
  EXPECT_EQ(error_of(save("one")).code, Errc::storage_full);
  ok(save("two"));
  storage_.set({.file = {}, .operation = "write_at", .nth = 3, .os_errno = EIO, .persistent = true});
  ok(save("three"));
  EXPECT_FALSE(save("four").has_value());
  EXPECT_FALSE(save("five").has_value());

  const auto sites = storage_.calls_by_site();
  for (const auto& [site, count] : sites) {
    storage_.reset();
    storage_.set({.file = site.file, .line = site.line, .operation = site.operation, .nth = 1});
    EXPECT_FALSE(save("site of " + site.operation + std::to_string(site.line)).has_value()) << site.operation;
    EXPECT_EQ(storage_.faults_met(), 1U);
  }
  storage_.reset();
  storage_.set({.file = "elsewhere.cpp", .operation = {}, .nth = 1});
  ok(save("six"));
  EXPECT_EQ(storage_.faults_met(), 0U);
}

TEST_F(FaultStorageTest, CutsThePowerForGood) {
  for (std::uint64_t last = 0; last < 5; ++last) {
    storage_.reset();
    storage_.cut_power_after(last);
    const Error error = error_of(save("file" + std::to_string(last)));
    EXPECT_EQ(error.code, Errc::internal);
    EXPECT_NE(error.message.find("power cut"), std::string::npos);
    EXPECT_FALSE(storage_.open_directory(folder_.path()).has_value());
    EXPECT_FALSE(storage_.mounts().has_value());
  }
  storage_.reset();
  storage_.cut_power_after(5);
  ok(save("whole"));
  EXPECT_FALSE(storage_.read_text(folder_ / "whole", 100).has_value());
}

TEST_F(FaultStorageTest, TurnsOverOneBitOfOneRead) {
  ok(save("file"));
  storage_.flip_bit_in_read(2, 11);
  const auto file = ok(storage_.open_file(folder_ / "file", io::OpenMode::read_only()));
  std::array<std::byte, 11> buffer{};
  const auto differing_bits = [&] {
    ok(file->read_exactly_at(0, buffer));
    int bits = 0;
    const io::ConstBytes expected = io::as_bytes("firstsecond");
    for (std::size_t i = 0; i < buffer.size(); ++i) {
      bits += std::popcount(std::to_integer<unsigned char>(buffer[i] ^ expected[i]));
    }
    return bits;
  };
  EXPECT_EQ(differing_bits(), 0);
  EXPECT_EQ(differing_bits(), 1);
  EXPECT_EQ(buffer[1], std::byte{'i'} ^ std::byte{8});
  EXPECT_EQ(differing_bits(), 0);
  EXPECT_EQ(storage_.faults_met(), 1U);
  EXPECT_EQ(content("file"), "firstsecond") << "only what was read is falsified";
}

TEST_F(FaultStorageTest, WrapsWhatDirectoriesOpen) {
  const auto root = ok(storage_.open_directory(folder_.path()));
  ok(root->create_directory("inner", 0700));
  const auto inner = ok(root->open_directory("inner"));
  const auto file = ok(inner->open_file("file", io::OpenMode::create_new(0600)));
  storage_.set({.file = {}, .operation = "sync", .nth = 2, .os_errno = EIO});
  ok(file->sync());
  EXPECT_EQ(error_of(inner->sync()).code, Errc::sync_failed);
  storage_.set({.file = {}, .operation = "rename", .nth = 1, .os_errno = ENOSPC});
  EXPECT_EQ(error_of(root->rename("inner/file", "file", io::RenameKind::replace)).code, Errc::storage_full);
  ok(real_->status_of(folder_ / "inner/file"));
}

TEST_F(FaultStorageTest, FailsSingleWritesOfABatchInTheirCompletions) {
  const auto file = ok(storage_.open_file(folder_ / "batch", io::OpenMode::create_new(0600)));
  storage_.set({.file = {}, .operation = "submit", .nth = 2, .os_errno = EIO});
  const std::array<io::WriteRequest, 3> batch = {{{.offset = 0, .data = io::as_bytes("a"), .tag = 1},
                                                  {.offset = 1, .data = io::as_bytes("b"), .tag = 2},
                                                  {.offset = 2, .data = io::as_bytes("c"), .tag = 3}}};
  ok(file->submit(batch));
  const auto completions = ok(file->reap(3));
  ASSERT_EQ(completions.size(), 3U);
  for (const auto& completion : completions) EXPECT_EQ(completion.result.has_value(), completion.tag != 2);
  EXPECT_EQ(content("batch"), std::string("a\0c", 3));
}

}  // namespace
}  // namespace slotkeeper::test

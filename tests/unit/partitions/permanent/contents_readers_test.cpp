#include "partitions/permanent/contents_readers.hpp"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <map>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "partitions/io/storage.hpp"
#include "partitions/permanent/inventory.hpp"
#include "tests/support/fault_storage.hpp"
#include "tests/support/permanent_partition.hpp"
#include "tests/support/temporary_directory.hpp"

namespace slotkeeper::permanent {
namespace {

namespace fs = std::filesystem;
using namespace slotkeeper::test;  // NOLINT: the words of the tests
using std::chrono::milliseconds;

/// Plain folders: this is about threads, not about filesystems.
class ContentsReadersTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = storage_->open_directory(folder_.path());
    ASSERT_TRUE(opened.has_value());
    root_ = std::move(opened).assume_value();
  }
  void put(const std::string& path, const std::string& contents) {
    fs::create_directories(fs::path(folder_ / path).parent_path());
    put_file(folder_ / path, contents);
  }
  static Entry file_at(const std::string& path, ClassKind kind = ClassKind::config) {
    Entry entry;
    entry.path = path;
    entry.kind = kind;
    return entry;
  }
  static std::map<std::string, ContentsReaders::Done> take_all(ContentsReaders& readers) {
    std::map<std::string, ContentsReaders::Done> all;
    while (readers.in_flight() > 0) {
      for (auto& done : readers.take_back(milliseconds(1000))) all.emplace(done.entry.path, std::move(done));
    }
    return all;
  }

  TemporaryDirectory folder_;
  std::unique_ptr<io::Storage> storage_ = io::make_posix_storage();
  std::unique_ptr<io::Directory> root_;
};

TEST_F(ContentsReadersTest, EveryFileComesBackOnceWithItsDigest) {
  for (int i = 0; i < 50; ++i) put("f" + std::to_string(i), noise(static_cast<std::size_t>(i) * 7'000, 1));
  for (const unsigned int threads : {0U, 1U, 4U}) {
    ContentsReaders readers(*root_, threads);
    for (int i = 0; i < 50; ++i) readers.hand_over(file_at("f" + std::to_string(i)));
    const auto all = take_all(readers);
    ASSERT_EQ(all.size(), 50U);
    for (int i = 0; i < 50; ++i) {
      const auto& done = all.at("f" + std::to_string(i));
      ASSERT_FALSE(done.error.has_value()) << done.error->message;
      EXPECT_FALSE(done.keeps_changing);
      EXPECT_EQ(done.entry.status.size_bytes, static_cast<std::uint64_t>(i) * 7'000);
      EXPECT_EQ(done.entry.digest, sha256(io::as_bytes(noise(static_cast<std::size_t>(i) * 7'000, 1))));
    }
  }
}

TEST_F(ContentsReadersTest, ErrorsBelongToTheirFile) {
  put("there", "x");
  fs::create_symlink("there", folder_ / "link");
  fs::create_directory(folder_ / "folder");
  ContentsReaders readers(*root_, 2);
  for (const char* path : {"there", "link", "folder", "missing"}) readers.hand_over(file_at(path));
  const auto all = take_all(readers);
  EXPECT_FALSE(all.at("there").error.has_value());
  EXPECT_EQ(all.at("missing").error->os_errno, ENOENT);
  EXPECT_EQ(all.at("link").error->os_errno, ELOOP);
  EXPECT_TRUE(all.at("folder").error.has_value());
}

TEST_F(ContentsReadersTest, MayBeGivenUpInTheMiddleOfALargeFile) {
  put("large", "");
  fs::resize_file(folder_ / "large", std::uintmax_t{1} << 40);  // would take an hour
  ContentsReaders readers(*root_, 2);
  readers.hand_over(file_at("large"));
  EXPECT_TRUE(readers.take_back(milliseconds(50)).empty());
}

TEST_F(ContentsReadersTest, AFileThatIsWrittenAllTheTimeIsReportedForConfigurationAlone) {
  // Large enough that nobody reads it between two writes, however busy the machine is; the size shows each of them.
  constexpr std::uintmax_t kBytes = 64 << 20;
  for (const char* name : {"config", "state"}) {
    put(name, "");
    fs::resize_file(folder_ / name, kBytes);
  }
  std::atomic<bool> stop = false;
  const std::jthread writer([&] {
    for (std::uintmax_t more = 1; !stop; more = more % 1000 + 1) {
      for (const char* name : {"config", "state"}) fs::resize_file(folder_ / name, kBytes + more);
    }
  });
  bool seen = false;
  for (int i = 0; i < 20 && !seen; ++i) {
    ContentsReaders readers(*root_, 2);
    readers.hand_over(file_at("config"));
    readers.hand_over(file_at("state", ClassKind::state));
    const auto all = take_all(readers);
    EXPECT_FALSE(all.at("state").keeps_changing);
    EXPECT_TRUE(all.at("state").entry.digest.has_value());
    seen = all.at("config").keeps_changing;
  }
  stop = true;
  EXPECT_TRUE(seen);
}

TEST_F(ContentsReadersTest, AnInventoryIsTheSameWithAnyNumberOfReaders) {
  for (int i = 0; i < 300; ++i) {
    put("etc/" + std::to_string(i % 7) + "/f" + std::to_string(i), noise(static_cast<std::size_t>(i % 50) * 100, 2));
  }
  put("log/a.log", "log");
  fs::create_hard_link(folder_ / "etc/0/f0", folder_ / "etc/1/linked");
  SilentProgress silent;
  const auto alone = take_inventory(*root_, usual_classes(), HashScope::everything, silent, 0);
  ASSERT_TRUE(alone.has_value());
  for (const unsigned int readers : {1U, 2U, 4U}) {
    const auto inventory = take_inventory(*root_, usual_classes(), HashScope::everything, silent, readers);
    ASSERT_TRUE(inventory.has_value());
    EXPECT_EQ(inventory.assume_value().protected_root, alone.assume_value().protected_root);
    EXPECT_EQ(inventory.assume_value().config_root, alone.assume_value().config_root);
    EXPECT_EQ(inventory.assume_value().entries.size(), alone.assume_value().entries.size());
  }
}

/// Says "stop" after so many questions, and notes who asks.
class StopsAfter final : public ProgressSink {
 public:
  explicit StopsAfter(int questions) : left_(questions) {}
  void progress(Phase, std::uint64_t, std::uint64_t) override { same_thread(); }
  void notice(std::string_view) override { same_thread(); }
  [[nodiscard]] bool cancel_requested() const override {
    same_thread();
    return left_-- <= 0;
  }
  [[nodiscard]] bool asked_elsewhere() const { return elsewhere_; }

 private:
  void same_thread() const {
    if (std::this_thread::get_id() != own_) elsewhere_ = true;
  }
  std::thread::id own_ = std::this_thread::get_id();
  mutable std::atomic<bool> elsewhere_ = false;
  mutable int left_;
};

TEST_F(ContentsReadersTest, AnInventoryIsCancelledWhileItWaitsForItsReaders) {
  put("large", "");
  fs::resize_file(folder_ / "large", std::uintmax_t{1} << 40);
  for (const unsigned int readers : {1U, 3U}) {
    StopsAfter progress(3);
    const auto inventory = take_inventory(*root_, usual_classes(), HashScope::config, progress, readers);
    ASSERT_FALSE(inventory.has_value());
    EXPECT_EQ(inventory.assume_error().code, Errc::cancelled);
    EXPECT_FALSE(progress.asked_elsewhere());
  }
}

TEST_F(ContentsReadersTest, ASimulationReadsInOneOrder) {
  FaultStorage simulation(*storage_);
  const auto root = simulation.open_directory(folder_.path());
  ASSERT_TRUE(root.has_value());
  EXPECT_EQ(readers_for(*root.assume_value()), 0U);
  EXPECT_EQ(readers_for(*root_) > 1, std::thread::hardware_concurrency() > 1);
  EXPECT_LE(readers_for(*root_), kReadersMax);
}

}  // namespace
}  // namespace slotkeeper::permanent

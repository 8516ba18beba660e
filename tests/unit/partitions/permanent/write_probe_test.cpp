#include "partitions/permanent/write_probe.hpp"

#include <filesystem>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>

#include "tests/support/manual_host.hpp"
#include "tests/support/memory_storage.hpp"
#include "tests/support/permanent_partition.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::permanent {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using test::ok;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;
const std::string kPath = "/permanent";

/// A partition in memory on which something happens while time passes.
class Probe : public testing::Test {
 protected:
  Probe() {
    storage.space[kPath] = {.block_bytes = 4096, .capacity_bytes = 100 * kMiB, .free_bytes = 60 * kMiB};
    storage.written[kPath] = 7 * kMiB;
    add(ClassKind::log, "log/system.log", 1000);
    add(ClassKind::security_log, "log/security.log", 1000);
    add(ClassKind::config, "net.conf", 1000);
    root = ok(storage.open_directory(kPath));
  }
  void add(ClassKind kind, const std::string& name, std::uint64_t size) {
    storage.add_file(kPath + "/" + name, size);
    Entry entry;
    entry.path = name;
    entry.kind = kind;
    entry.status = ok(storage.status_of(kPath + "/" + name));
    inventory.entries.push_back(std::move(entry));
  }
  void grow(const std::string& name, std::uint64_t by) {
    auto& contents = storage.node(kPath + "/" + name).contents;
    contents.resize(contents.size() + by);
  }
  WriteProbe begin(milliseconds length = milliseconds(2000)) {
    return ok(WriteProbe::begin(storage, host, *root, kPath, inventory, length));
  }

  test::MemoryStorage storage;
  test::ManualHost host;
  std::unique_ptr<io::Directory> root;
  Inventory inventory;
  SilentProgress silent;
};

TEST_F(Probe, MeasuresNothingOnAQuietPartition) {
  WriteProbe probe = begin();
  const WriteRate rate = ok(probe.finish(silent));
  EXPECT_EQ(rate.bytes_per_s(), 0U);
  EXPECT_EQ(rate.device, 0U);
  EXPECT_EQ(host.slept, milliseconds(2000));
  EXPECT_EQ(rate.measured_over, milliseconds(2000));
}

TEST_F(Probe, WaitsOnlyForWhatTheWorkMeanwhileHasLeft) {
  WriteProbe probe = begin();
  for (int i = 0; i < 15; ++i) {
    host.advance(milliseconds(100));
    ok(probe.look());
  }
  ok(probe.finish(silent));
  EXPECT_EQ(host.slept, milliseconds(500));
  WriteProbe longer = begin();
  host.slept = {};
  host.advance(milliseconds(5000));
  EXPECT_EQ(ok(longer.finish(silent)).measured_over, milliseconds(5000));
  EXPECT_EQ(host.slept, nanoseconds(0));
}

TEST_F(Probe, TheLargestOfTheThreeTermsCounts) {
  host.passes = [&](nanoseconds passed) {
    const auto ms = static_cast<std::uint64_t>(passed.count() / 1'000'000);
    storage.written[kPath] += ms * 30;  // 30,000 a second
    storage.space[kPath].free_bytes -= ms * 20;
    grow("log/system.log", ms * 6);
    grow("log/security.log", ms * 4);
    grow("net.conf", ms * 1000);  // no log
  };
  WriteProbe probe = begin();
  const WriteRate rate = ok(probe.finish(silent));
  EXPECT_EQ(rate.device, 30'000U);
  EXPECT_EQ(rate.blocks, 20'000U);
  EXPECT_EQ(rate.logs, 10'000U);
  EXPECT_EQ(rate.bytes_per_s(), 30'000U);
}

TEST_F(Probe, AFlushOfWhatWasWrittenBeforeDoesNotCount) {
  bool flushed = false;
  host.passes = [&](nanoseconds) {
    if (!flushed) storage.written[kPath] += 20 * kMiB;
    flushed = true;
  };
  WriteProbe probe = begin();
  EXPECT_EQ(ok(probe.finish(silent)).device, 0U);
  EXPECT_TRUE(flushed);
}

TEST_F(Probe, SeesRotationAsWriting) {
  WriteProbe probe = begin();
  host.advance(milliseconds(1000));
  storage.add_file(kPath + "/log/system.log", 50'000);  // another file of that name
  EXPECT_EQ(ok(probe.finish(silent)).logs, 25'000U);
}

TEST_F(Probe, RatesAreRoundedUpSoThatALittleIsNotNothing) {
  WriteProbe probe = begin();
  grow("log/system.log", 1);
  EXPECT_EQ(ok(probe.finish(silent)).logs, 1U);
}

TEST_F(Probe, MayShrinkAndMayHaveNoDevice) {
  storage.written.clear();
  WriteProbe probe = begin();
  storage.space[kPath].free_bytes += kMiB;
  const WriteRate rate = ok(probe.finish(silent));
  EXPECT_EQ(rate.device, std::nullopt);
  EXPECT_EQ(rate.bytes_per_s(), 0U);
}

TEST_F(Probe, EndsWhenAskedTo) {
  class Cancelling final : public ProgressSink {
    void progress(Phase, std::uint64_t, std::uint64_t) override {}
    void notice(std::string_view) override {}
    [[nodiscard]] bool cancel_requested() const override { return true; }
  } cancelling;
  WriteProbe probe = begin();
  EXPECT_EQ(test::error_of(probe.finish(cancelling)).code, Errc::cancelled);
  EXPECT_EQ(host.slept, nanoseconds(0));
}

/// A real writer on a real filesystem, for a second.
TEST(ProbeOnExt4, MeasuresAWriterWithinItsOrder) {
  if (!test::may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  test::PermanentPartition partition({.size_bytes = 32 * kMiB});
  std::filesystem::create_directories(partition / "log");
  test::put_file(partition / "log/system.log", "begin\n");
  const auto root = partition.open();
  SilentProgress silent;
  const Inventory inventory = ok(take_inventory(*root, test::usual_classes(), HashScope::nothing, silent));
  const auto host = io::make_posix_host();
  WriteProbe probe =
      ok(WriteProbe::begin(partition.storage(), *host, *root, partition.path(), inventory, milliseconds(1000)));
  std::jthread writer([&](const std::stop_token& stop) {
    std::ofstream log(partition / "log/system.log", std::ios::app);
    const std::string block(20'000, 'x');
    while (!stop.stop_requested()) {  // 1 MB a second at most
      log << block << std::flush;
      host->sleep(milliseconds(20));
    }
  });
  const WriteRate rate = ok(probe.finish(silent));
  writer.request_stop();
  writer.join();
  EXPECT_GT(rate.logs, 100'000U);  // a busy machine starts the writer late
  EXPECT_LT(rate.logs, 1'500'000U);
  EXPECT_GT(rate.blocks, 100'000U) << "blocks that are only promised count, too";
}

}  // namespace
}  // namespace slotkeeper::permanent

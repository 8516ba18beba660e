// Freezes of a real filesystem, and everything that can happen to those who hold them.
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "partitions/io/storage.hpp"
#include "tests/support/file_contents.hpp"
#include "tests/support/live_writer.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/temporary_directory.hpp"

namespace slotkeeper::io {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::HasSubstr;

// How much later than it could a writer may come on a machine that has other things to do.
constexpr auto kSlack = 1500ms;

[[maybe_unused]] std::string line_of(const std::string& text, const std::string& beginning) {
  const std::size_t at = text.find(beginning);
  return at == std::string::npos ? std::string() : text.substr(at, text.find('\n', at) - at);
}

/// A process that freezes and does nothing else until it is killed.
class Engine {
 public:
  Engine(Storage& storage, const std::string& path, std::chrono::milliseconds limit) {
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error("no pipe");
    process_ = ::fork();
    if (process_ == 0) {
      const auto freeze = storage.freeze(path, limit);
      freezer = freeze.has_value() ? freeze.assume_value()->freezer() : -1;
      if (::write(ends[1], &freezer, sizeof freezer) != sizeof freezer) ::_exit(1);
      for (;;) ::pause();
    }
    ::close(ends[1]);
    if (::read(ends[0], &freezer, sizeof freezer) != sizeof freezer) freezer = -1;
    ::close(ends[0]);
  }
  ~Engine() { signal(SIGKILL); }
  void signal(int number) {
    if (process_ <= 0) return;
    ::kill(process_, number);
    if (number != SIGKILL) return;
    ::waitpid(process_, nullptr, 0);
    process_ = -1;
  }
  int freezer = -1;

 private:
  pid_t process_;
};

class PosixFreeze : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    test::make_ext4(folder_ / "disk", 8 << 20);
    loop_.emplace(folder_ / "disk");
    mount_.emplace(loop_->path(), folder_ / "mnt");
    path_ = mount_->path();
  }
  void TearDown() override {
    if (mount_) static_cast<void>(storage_->thaw(path_).has_value());  // a failed test must not leave it frozen
  }

  [[nodiscard]] test::LiveWriter::Step appends(bool sync = false) const {
    return
        [file = path_ + "/log", sync](std::uint64_t number) { test::append_line(file, std::to_string(number), sync); };
  }
  std::unique_ptr<Freeze> freeze(std::chrono::milliseconds limit) {
    auto begun = storage_->freeze(path_, limit);
    if (begun.has_value()) return std::move(begun).assume_value();
    ADD_FAILURE() << begun.assume_error().message;
    return nullptr;
  }
  static void expect_end(Freeze& freeze, FreezeEnd end) {
    const auto thawed = freeze.thaw();
    ASSERT_TRUE(thawed.has_value()) << thawed.assume_error().message;
    EXPECT_EQ(thawed.assume_value().ended_by, end);
  }

  test::TemporaryDirectory folder_;
  std::optional<test::LoopDevice> loop_;
  std::optional<test::MountedFilesystem> mount_;
  std::string path_;
  std::unique_ptr<Storage> storage_ = make_posix_storage();
};

TEST_F(PosixFreeze, HoldsWritersBackUntilItIsThawed) {
  test::LiveWriter writer(appends());
  ASSERT_TRUE(writer.does(1, 10s));
  const auto held = freeze(2s);
  ASSERT_TRUE(held);
  EXPECT_TRUE(held->holds());
  EXPECT_TRUE(writer.waits(100ms, 1500ms));
  expect_end(*held, FreezeEnd::asked);
  expect_end(*held, FreezeEnd::asked);  // said again
  EXPECT_FALSE(held->holds());
  EXPECT_TRUE(writer.does(2, 5s));
}

TEST_F(PosixFreeze, EndsWithTheObject) {
  freeze(2s).reset();
  const auto left = storage_->thaw(path_);
  ASSERT_TRUE(left.has_value());
  EXPECT_FALSE(left.assume_value());
}

TEST_F(PosixFreeze, EndsWhenItsTimeIsUp) {
  test::LiveWriter writer(appends(true));
  ASSERT_TRUE(writer.does(1, 10s));
  const auto held = freeze(400ms);
  ASSERT_TRUE(held);
  ASSERT_TRUE(writer.waits(100ms, 2s));
  ASSERT_TRUE(writer.does(1, 5s));
  EXPECT_LT(writer.longest(), 400ms + kSlack);
  EXPECT_FALSE(held->holds());
  expect_end(*held, FreezeEnd::time_up);
}

TEST_F(PosixFreeze, EndsAtOnceWhenTheEngineIsKilled) {
  test::LiveWriter writer(appends());
  ASSERT_TRUE(writer.does(1, 10s));
  Engine engine(*storage_, path_, 8s);
  ASSERT_GT(engine.freezer, 0);
  ASSERT_TRUE(writer.waits(100ms, 5s));
  const auto before = std::chrono::steady_clock::now();
  engine.signal(SIGKILL);
  ASSERT_TRUE(writer.does(1, 10s));
  const auto took = std::chrono::steady_clock::now() - before;
  EXPECT_LT(took, kSlack);
  RecordProperty("thawed_after_us",
                 std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
}

TEST_F(PosixFreeze, EndsInTimeAlsoWhenTheEngineIsStopped) {
  test::LiveWriter writer(appends());
  Engine engine(*storage_, path_, 400ms);
  ASSERT_GT(engine.freezer, 0);
  engine.signal(SIGSTOP);
  EXPECT_TRUE(writer.does(5, 5s));
  EXPECT_LT(writer.longest(), 400ms + kSlack);
}

TEST_F(PosixFreeze, IsEndedByUsWhenTheFreezerIsKilled) {
  test::LiveWriter writer(appends());
  ASSERT_TRUE(writer.does(1, 10s));
  const auto held = freeze(8s);
  ASSERT_TRUE(held);
  ASSERT_EQ(::kill(held->freezer(), SIGKILL), 0);
  for (int look = 0; look < 2000 && held->holds(); ++look) ::usleep(1000);
  EXPECT_FALSE(held->holds());
  expect_end(*held, FreezeEnd::freezer_died);
  EXPECT_TRUE(writer.does(2, 5s));
}

TEST_F(PosixFreeze, IsEndedByUsWhenTheFreezerIsStopped) {
  const auto held = freeze(8s);
  ASSERT_TRUE(held);
  ASSERT_EQ(::kill(held->freezer(), SIGSTOP), 0);
  expect_end(*held, FreezeEnd::freezer_died);
  test::LiveWriter writer(appends());
  EXPECT_TRUE(writer.does(2, 5s));
}

TEST_F(PosixFreeze, DoesNotEndByASignalToEverybody) {
  const auto held = freeze(8s);
  ASSERT_TRUE(held);
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGUSR1}) ASSERT_EQ(::kill(held->freezer(), number), 0);
  ::usleep(20'000);
  EXPECT_TRUE(held->holds());
  expect_end(*held, FreezeEnd::asked);
}

TEST_F(PosixFreeze, LeftBehindByBothIsEndedByHand) {
  test::LiveWriter writer(appends());
  ASSERT_TRUE(writer.does(1, 10s));
  Engine engine(*storage_, path_, 2s);
  ASSERT_GT(engine.freezer, 0);
  engine.signal(SIGSTOP);  // so that it does not thaw
  ASSERT_EQ(::kill(engine.freezer, SIGKILL), 0);
  engine.signal(SIGKILL);
  EXPECT_TRUE(writer.waits(2500ms, 8s)) << "it was not left behind";
  const auto left = storage_->thaw(path_);
  ASSERT_TRUE(left.has_value()) << left.assume_error().message;
  EXPECT_TRUE(left.assume_value());
  EXPECT_TRUE(writer.does(2, 5s));
  EXPECT_FALSE(storage_->thaw(path_).assume_value());
}

TEST_F(PosixFreeze, SaysThatSomebodyElseThawed) {
  const auto held = freeze(8s);
  ASSERT_TRUE(held);
  ASSERT_TRUE(storage_->thaw(path_).assume_value());
  expect_end(*held, FreezeEnd::somebody_else);
}

TEST_F(PosixFreeze, RefusesWhatIsFrozenAlready) {
  const auto held = freeze(8s);
  ASSERT_TRUE(held);
  const auto second = storage_->freeze(path_, 1s);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.assume_error().os_errno, EBUSY);
  EXPECT_TRUE(held->holds()) << "the refused one ended it";
  expect_end(*held, FreezeEnd::asked);
}

TEST_F(PosixFreeze, RefusesWhatCannotBeFrozen) {
  const auto refused = storage_->freeze("/proc", 1s);  // as tmpfs and all that keep nothing
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.assume_error().os_errno, EOPNOTSUPP) << refused.assume_error().message;
  EXPECT_FALSE(storage_->thaw("/proc").assume_value());
}

TEST_F(PosixFreeze, LivesOnItsOwn) {
  const auto held = freeze(8s);
  ASSERT_TRUE(held);
  const std::string folder = "/proc/" + std::to_string(held->freezer());
  EXPECT_EQ(::getsid(held->freezer()), held->freezer());
  std::size_t open = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder + "/fd")) open += entry.exists() || true;
  EXPECT_EQ(open, 3u) << "a descriptor of the engine was kept, and with it its locks";
  EXPECT_THAT(test::contents_of(folder + "/comm"), HasSubstr("slotkeeper-frz"));
#if !defined(__SANITIZE_ADDRESS__)  // whose runtime makes mlockall a no-op
  EXPECT_EQ(line_of(test::contents_of(folder + "/status"), "VmLck:").find(" 0 kB"), std::string::npos)
      << line_of(test::contents_of(folder + "/status"), "VmLck:");
#endif
  // Where the machine lets us make control groups at all.
  const auto mounts = storage_->mounts();
  for (const Mount& mount : mounts.assume_value()) {
    if (mount.filesystem != "cgroup2" || ::access(mount.mount_point.c_str(), W_OK) != 0) continue;
    EXPECT_THAT(test::contents_of(folder + "/cgroup"), HasSubstr("/slotkeeper-freezer"));
  }
  expect_end(*held, FreezeEnd::asked);
}

// ---- what lies where ------------------------------------------------------------------------------------------------

TEST_F(PosixFreeze, KnowsWhatOfOursLiesThere) {
  std::ofstream(path_ + "/bundle") << "x";
  std::ofstream(folder_ / "elsewhere") << "x";
  const auto lying = [&](const std::vector<std::string>& paths) {
    auto found = storage_->lying_on(path_, paths);
    EXPECT_TRUE(found.has_value()) << found.assume_error().message;
    return found.has_value() ? found.assume_value() : std::vector<std::string>();
  };
  EXPECT_THAT(lying({folder_ / "elsewhere", folder_ / "absent", "/dev/null"}), testing::IsEmpty());
  EXPECT_THAT(lying({path_ + "/bundle"}), testing::ElementsAre(path_ + "/bundle"));
  EXPECT_THAT(lying({loop_->path()}), testing::ElementsAre(loop_->path()));
  {
    const std::ifstream open(path_ + "/bundle");
    EXPECT_THAT(lying({}), Contains(HasSubstr("/mnt/bundle")));
  }
  EXPECT_THAT(lying({}), testing::IsEmpty());
}

TEST_F(PosixFreeze, LooksThroughDevicesOverFilesThere) {
  test::make_ext4(path_ + "/inner", 2 << 20);
  const test::LoopDevice inner(path_ + "/inner");
  const test::MountedFilesystem mounted(inner.path(), folder_ / "inner");
  std::ofstream(mounted.path() + "/file") << "x";
  const auto found = storage_->lying_on(path_, {inner.path(), mounted.path() + "/file", loop_->path()});
  ASSERT_TRUE(found.has_value()) << found.assume_error().message;
  EXPECT_THAT(found.assume_value(),
              testing::UnorderedElementsAre(inner.path(), mounted.path() + "/file", loop_->path()));
}

TEST_F(PosixFreeze, KnowsWhereWeStand) {
  const std::string before = std::filesystem::current_path();
  ASSERT_EQ(::chdir(path_.c_str()), 0);
  const auto found = storage_->lying_on(path_, {});
  ASSERT_EQ(::chdir(before.c_str()), 0);
  ASSERT_TRUE(found.has_value());
  EXPECT_THAT(found.assume_value(), Contains("the current directory"));
}

TEST_F(PosixFreeze, KnowsAStandardStreamThatLiesThere) {
  const int file = ::open((path_ + "/output").c_str(), O_WRONLY | O_CREAT, 0644);
  const int before = ::dup(1);
  ASSERT_TRUE(file >= 0 && before >= 0);
  ASSERT_EQ(::dup2(file, 1), 1);
  ::close(file);
  const auto found = storage_->lying_on(path_, {});
  ASSERT_EQ(::dup2(before, 1), 1);
  ::close(before);
  ASSERT_TRUE(found.has_value());
  EXPECT_THAT(found.assume_value(), testing::ElementsAre("standard output"));
}

}  // namespace
}  // namespace slotkeeper::io

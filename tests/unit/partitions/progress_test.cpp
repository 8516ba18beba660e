#include "partitions/progress.hpp"

#include <gtest/gtest.h>

namespace slotkeeper {
namespace {

class StoppedProgress final : public ProgressSink {
 public:
  void progress(Phase, std::uint64_t, std::uint64_t) override {}
  void notice(std::string_view) override {}
  [[nodiscard]] bool cancel_requested() const override { return true; }
};

TEST(Progress, PhasesHaveTheNamesOfTheContract) {
  EXPECT_EQ(name_of(Phase::open), "open");
  EXPECT_EQ(name_of(Phase::stage), "stage");
  EXPECT_EQ(name_of(Phase::switch_over), "switch");
  EXPECT_EQ(name_of(Phase::restore), "restore");
}

TEST(Progress, AskedToStopIsCancelled) {
  EXPECT_TRUE(SilentProgress{}.check_cancelled().has_value());
  const auto result = StoppedProgress{}.check_cancelled();
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, Errc::cancelled);
}

}  // namespace
}  // namespace slotkeeper

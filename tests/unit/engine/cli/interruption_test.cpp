#include "engine/cli/interruption.hpp"

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "engine/cli/output.hpp"

namespace slotkeeper::cli {
namespace {

// Each runs in a process of its own, because signals and descriptors belong to the whole process.

TEST(Interruption, IsRequestedBySigintAndSigterm) {
  EXPECT_FALSE(interruption_requested());
  for (const int signal : {SIGINT, SIGTERM})
    EXPECT_EXIT(
        {
          handle_interruptions();
          const bool before = interruption_requested();
          std::raise(signal);
          std::exit(!before && interruption_requested() ? 0 : 1);
        },
        testing::ExitedWithCode(0), "");
}

TEST(Interruption, IsNotRequestedByAReaderOrTerminalThatGoesAway) {
  for (const int signal : {SIGPIPE, SIGHUP})
    EXPECT_EXIT(
        {
          handle_interruptions();
          std::raise(signal);
          std::exit(interruption_requested() ? 1 : 0);
        },
        testing::ExitedWithCode(0), "");
}

TEST(OccupyStandardStreams, LeavesTheirNumbersToNobodyElse) {
  EXPECT_EXIT(
      {
        close(STDIN_FILENO);
        close(STDOUT_FILENO);
        close(STDERR_FILENO);
        occupy_standard_streams();
        std::exit(open("/dev/null", O_RDONLY) > STDERR_FILENO ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace slotkeeper::cli

// Tests in virtual machines run with mounts of their own, so that nothing of them stays whatever happens, and keep
// their disks in memory, so that they do not wait for this machine's.
#include <cstdlib>
#include <unistd.h>

#include <gmock/gmock.h>

#include "tests/support/fault_disk/direct_loop.hpp"
#include "tests/support/loop_device.hpp"

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  if (!GTEST_FLAG_GET(list_tests)) {
    if (slotkeeper::test::may_mount()) slotkeeper::test::enter_private_mounts();
    if (::access("/dev/shm", W_OK) == 0) ::setenv("TMPDIR", "/dev/shm", 0);
  }
  return RUN_ALL_TESTS();
}

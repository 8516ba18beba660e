// The `main` of tests that keep disks in files: they run with mounts of their own, so that nothing of them stays
// whatever happens, and keep their files in memory where there is room, so that they do not wait for this machine's
// disk.
#include <cstdlib>
#include <sys/statvfs.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "tests/support/fault_disk/direct_loop.hpp"
#include "tests/support/loop_device.hpp"

namespace {

constexpr const char* kMemory = "/dev/shm";
constexpr unsigned long long kWantedBytes = 3ULL
                                            << 30U;  // what two machines at a time take at most, and half as much again

bool has_room() {
  struct statvfs facts {};
  return ::access(kMemory, W_OK) == 0 && ::statvfs(kMemory, &facts) == 0 &&
         static_cast<unsigned long long>(facts.f_bavail) * facts.f_frsize >= kWantedBytes;
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  if (!GTEST_FLAG_GET(list_tests)) {
    if (slotkeeper::test::may_mount()) slotkeeper::test::enter_private_mounts();
    if (has_room()) ::setenv("TMPDIR", kMemory, 0);
  }
  return RUN_ALL_TESTS();
}

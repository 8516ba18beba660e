#include "tests/support/fault_disk/direct_loop.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdexcept>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace slotkeeper::test {
namespace {

constexpr int kLoopMajor = 7;
constexpr int kTries = 200;

std::runtime_error failed(const std::string& what) { return std::runtime_error(what + ": " + std::strerror(errno)); }

/// A descriptor that is closed with the object.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  [[nodiscard]] int number() const { return number_; }

 private:
  int number_;
};

/// btrfs remembers by its identifier which device it has seen with which generation, and refuses an older one.
void forget_btrfs_devices() {
  const Descriptor control(::open("/dev/btrfs-control", O_RDWR | O_CLOEXEC));
  btrfs_ioctl_vol_args all{};
  if (control.number() >= 0) (void)::ioctl(control.number(), BTRFS_IOC_FORGET_DEV, &all);
}

}  // namespace

DirectLoop::DirectLoop(const std::string& file, Access access) {
  const Descriptor backing(::open(file.c_str(), O_RDWR | O_CLOEXEC));
  if (backing.number() < 0) throw failed("cannot open " + file);
  // Between finding a free number and taking it another process may be faster.
  for (int attempt = 0; !try_attach(backing.number(), access); ++attempt) {
    if (attempt == kTries) throw failed("no loop device for " + file);
  }
  loop_info64 facts{};
  const bool is_direct = ::ioctl(device_, LOOP_GET_STATUS64, &facts) == 0 && (facts.lo_flags & LO_FLAGS_DIRECT_IO) != 0;
  if (access == Access::direct && !is_direct) {
    ::close(device_);
    throw std::runtime_error(file + ": the loop device has no direct I/O");
  }
}

bool DirectLoop::try_attach(int file, Access access) {
  const Descriptor control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  const int number = ::ioctl(control.number(), LOOP_CTL_GET_FREE);
  if (number < 0) return false;
  path_ = "/dev/loop" + std::to_string(number);
  if (::access(path_.c_str(), F_OK) != 0) {
    (void)::mknod(path_.c_str(), S_IFBLK | 0660, makedev(kLoopMajor, static_cast<unsigned int>(number)));
  }
  device_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
  if (device_ < 0) return false;
  loop_config configuration{};
  configuration.fd = static_cast<unsigned int>(file);
  configuration.info.lo_flags = LO_FLAGS_AUTOCLEAR;
  if (access == Access::direct) configuration.info.lo_flags |= LO_FLAGS_DIRECT_IO;
  if (::ioctl(device_, LOOP_CONFIGURE, &configuration) == 0) return true;
  const int reason = errno;
  ::close(device_);
  device_ = -1;
  errno = reason;
  return false;
}

DirectLoop::~DirectLoop() { ::close(device_); }

PlainMount::PlainMount(const std::string& device, const std::string& mount_point, const std::string& options,
                       const std::string& type)
    : mount_point_(mount_point) {
  ::mkdir(mount_point.c_str(), 0755);
  if (type == "btrfs") forget_btrfs_devices();
  if (::mount(device.c_str(), mount_point.c_str(), type.c_str(), 0, options.c_str()) != 0) {
    throw failed("cannot mount " + device);
  }
}

PlainMount::~PlainMount() {
  for (int attempt = 0; ::umount(mount_point_.c_str()) != 0; ++attempt) {
    if (errno == EBUSY && attempt < kTries) {
      ::usleep(5000);
      continue;
    }
    std::fprintf(stderr, "%s stays mounted: %s\n", mount_point_.c_str(), std::strerror(errno));
    ::umount2(mount_point_.c_str(), MNT_DETACH);
    return;
  }
}

void enter_private_mounts() {
  if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    throw failed("no private mounts");
  }
}

}  // namespace slotkeeper::test

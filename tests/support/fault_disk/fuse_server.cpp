#include "tests/support/fault_disk/fuse_server.hpp"

#define FUSE_USE_VERSION 312
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fuse3/fuse_lowlevel.h>
#include <linux/falloc.h>
#include <sys/stat.h>

namespace slotkeeper::test {
namespace {

constexpr double kForEver = 3600;  ///< seconds for which the kernel may keep what it was told: nothing ever changes
constexpr unsigned int kWriteMaxBytes = 1u << 20;
constexpr fuse_ino_t kFirstDisk = FUSE_ROOT_ID + 1;

FaultModel& model_of(fuse_req_t request) { return *static_cast<FaultModel*>(fuse_req_userdata(request)); }

struct stat facts_of(const FaultModel& model, fuse_ino_t inode) {
  struct stat facts {};
  facts.st_ino = inode;
  facts.st_nlink = 1;
  facts.st_mode = inode == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644;
  if (inode != FUSE_ROOT_ID) {
    facts.st_size = static_cast<off_t>(model.size_of(inode - kFirstDisk));
    facts.st_blocks = facts.st_size / static_cast<off_t>(kSectorBytes);
  }
  facts.st_blksize = 4096;
  return facts;
}

bool is_known(const FaultModel& model, fuse_ino_t inode) {
  return inode == FUSE_ROOT_ID || inode - kFirstDisk < model.disk_count();
}

// Everything below is called by libfuse, one call at a time. An exception means that the rig is broken: it ends the
// process, and the test fails.

void on_init(void*, fuse_conn_info* connection) noexcept { connection->max_write = kWriteMaxBytes; }

void on_lookup(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept {
  const FaultModel& model = model_of(request);
  for (std::size_t disk = 0; parent == FUSE_ROOT_ID && disk < model.disk_count(); ++disk) {
    if (model.name_of(disk) != name) continue;
    fuse_entry_param entry{};
    entry.ino = kFirstDisk + disk;
    entry.attr = facts_of(model, entry.ino);
    entry.attr_timeout = entry.entry_timeout = kForEver;
    fuse_reply_entry(request, &entry);
    return;
  }
  fuse_reply_err(request, ENOENT);
}

void on_getattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) noexcept {
  const FaultModel& model = model_of(request);
  if (!is_known(model, inode)) {
    fuse_reply_err(request, ENOENT);
    return;
  }
  const struct stat facts = facts_of(model, inode);
  fuse_reply_attr(request, &facts, kForEver);
}

void on_setattr(fuse_req_t request, fuse_ino_t inode, struct stat*, int wanted, fuse_file_info* file) noexcept {
  if ((wanted & FUSE_SET_ATTR_SIZE) != 0) {
    fuse_reply_err(request, EPERM);  // a disk keeps its size
    return;
  }
  on_getattr(request, inode, file);
}

void on_open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) noexcept {
  if (inode < kFirstDisk) {
    fuse_reply_err(request, EISDIR);
    return;
  }
  fuse_reply_open(request, file);
}

void on_read(fuse_req_t request, fuse_ino_t inode, std::size_t size, off_t offset, fuse_file_info*) noexcept {
  std::string data(size, '\0');
  const int problem = model_of(request).read(inode - kFirstDisk, static_cast<std::uint64_t>(offset), data);
  if (problem != 0) {
    fuse_reply_err(request, problem);
  } else {
    fuse_reply_buf(request, data.data(), data.size());
  }
}

void on_write(fuse_req_t request, fuse_ino_t inode, const char* data, std::size_t size, off_t offset,
              fuse_file_info*) noexcept {
  const std::string_view bytes(data, size);
  const int problem = model_of(request).write(inode - kFirstDisk, static_cast<std::uint64_t>(offset), bytes);
  if (problem != 0) {
    fuse_reply_err(request, problem);
  } else {
    fuse_reply_write(request, size);
  }
}

void on_fsync(fuse_req_t request, fuse_ino_t inode, int, fuse_file_info*) noexcept {
  fuse_reply_err(request, model_of(request).flush(inode - kFirstDisk));
}

void on_fallocate(fuse_req_t request, fuse_ino_t inode, int mode, off_t offset, off_t length,
                  fuse_file_info*) noexcept {
  int problem = 0;  // every block exists
  if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0) {
    problem = model_of(request).discard(inode - kFirstDisk, static_cast<std::uint64_t>(offset),
                                        static_cast<std::uint64_t>(length));
  }
  fuse_reply_err(request, problem);
}

void on_readdir(fuse_req_t request, fuse_ino_t, std::size_t size, off_t offset, fuse_file_info*) noexcept {
  const FaultModel& model = model_of(request);
  std::string list(size, '\0');
  std::size_t used = 0;
  for (std::size_t disk = static_cast<std::size_t>(offset); disk < model.disk_count(); ++disk) {
    const struct stat facts = facts_of(model, kFirstDisk + disk);
    const std::size_t needed = fuse_add_direntry(request, list.data() + used, size - used, model.name_of(disk).c_str(),
                                                 &facts, static_cast<off_t>(disk + 1));
    if (needed > size - used) break;
    used += needed;
  }
  fuse_reply_buf(request, list.data(), used);
}

constexpr fuse_lowlevel_ops kOperations = [] {
  fuse_lowlevel_ops operations{};
  operations.init = on_init;
  operations.lookup = on_lookup;
  operations.getattr = on_getattr;
  operations.setattr = on_setattr;
  operations.open = on_open;
  operations.read = on_read;
  operations.write = on_write;
  operations.fsync = on_fsync;
  operations.readdir = on_readdir;
  operations.fallocate = on_fallocate;
  return operations;
}();

}  // namespace

bool serve_fuse(const std::string& mount_point, FaultModel& model, const std::function<void()>& ready) {
  std::array<std::string, 3> words = {"slotkeeper_fault_disk", "-o", "fsname=slotkeeper-fault-disk"};
  std::array<char*, 3> pointers = {words[0].data(), words[1].data(), words[2].data()};
  fuse_args arguments = FUSE_ARGS_INIT(static_cast<int>(pointers.size()), pointers.data());
  fuse_session* const session = fuse_session_new(&arguments, &kOperations, sizeof kOperations, &model);
  if (session == nullptr) return false;
  const bool mounted = fuse_set_signal_handlers(session) == 0 && fuse_session_mount(session, mount_point.c_str()) == 0;
  if (mounted) {
    ready();
    fuse_session_loop(session);
    fuse_session_unmount(session);
  }
  fuse_session_destroy(session);
  fuse_opt_free_args(&arguments);
  return mounted;
}

}  // namespace slotkeeper::test

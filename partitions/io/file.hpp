// An open regular file or block device. All of Slotkeeper's reads, writes and syncs of contents go through this class.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "partitions/io/result.hpp"
#include "partitions/io/types.hpp"

namespace slotkeeper::io {

/// Opening never waits: a fifo is refused with EINVAL, a file that somebody else leased with EAGAIN.
struct OpenMode {
  enum class Access : std::uint8_t { read, read_write } access = Access::read;
  enum class Create : std::uint8_t { never, must_create } create = Create::never;
  std::uint32_t create_mode = 0600;  ///< permission bits of a created file, whatever the umask
  /// Direct I/O: offsets and lengths of writes must be multiples of `kDirectAlignment`, else they are refused as
  /// internal; reads and buffers may lie anywhere, aligned ones are faster. Without effect where the filesystem has
  /// none.
  bool direct = false;
  bool exclusive = false;       ///< for block devices: fails with EBUSY while mounted or held
  bool follow_symlink = false;  ///< of the last component; only for paths that the configuration names

  static OpenMode read_only() { return {}; }
  static OpenMode read_write() { return {.access = Access::read_write}; }
  static OpenMode create_new(std::uint32_t mode) {
    return {.access = Access::read_write, .create = Create::must_create, .create_mode = mode};
  }
};

inline constexpr std::uint64_t kDirectAlignment = 4096;  ///< bytes; fits 512 and 4096 byte sectors

enum class LockKind : std::uint8_t { shared, exclusive };

/// What a lease shows at the moment it is granted: that nobody has the file open for writing, or that nobody has it
/// open at all.
enum class LeaseKind : std::uint8_t { no_writer, nobody };

/// One write of a batch. `tag` comes back in the completion. The data must stay valid until it was reaped.
struct WriteRequest {
  std::uint64_t offset = 0;
  ConstBytes data;
  std::uint64_t tag = 0;
};
struct WriteCompletion {
  std::uint64_t tag = 0;
  Result<void> result;
};

/// Times and ownership in one call, in the order that keeps set-id bits: owner, then mode, then times.
struct Attributes {
  std::uint32_t mode = 0;
  std::uint32_t owner = 0;
  std::uint32_t group = 0;
  TimeStamp accessed;
  TimeStamp modified;
};

/// Errors of every call: io_error, and more exactly storage_full (ENOSPC, EDQUOT), read_only (EROFS), sync_failed (a
/// failed sync of any errno). `os_errno` is set and the message names the file and the call.
///
/// On crash: what was written and not synced may be there, missing, reordered or torn between 512-byte sectors. What a
/// sync that returned covered is durable. After a failed sync nothing about the unsynced bytes is known and the sync
/// must not be repeated as if it had not happened.
class File {
 public:
  File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  virtual ~File() = default;  ///< closes without looking at the result; call close() where the result matters

  /// Fills `into` from `offset`; fewer bytes only at the end of the file. Short reads and EINTR are handled inside.
  [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, Bytes into, Caller caller = Caller::current()) {
    return do_read_at(offset, into, caller);
  }
  /// Like read_at, but fewer bytes are an io_error.
  [[nodiscard]] Result<void> read_exactly_at(std::uint64_t offset, Bytes into, Caller caller = Caller::current());
  /// Writes all of `data`. Short writes and EINTR are handled inside.
  [[nodiscard]] Result<void> write_at(std::uint64_t offset, ConstBytes data, Caller caller = Caller::current()) {
    return do_write_at(offset, data, caller);
  }
  /// Hands a batch of writes to the device; they may be carried out in any order.
  [[nodiscard]] Result<void> submit(std::span<const WriteRequest> batch, Caller caller = Caller::current()) {
    return do_submit(batch, caller);
  }
  /// Waits until at least `minimum` of the submitted writes are done and returns all that are, each once. More than are
  /// submitted is internal.
  [[nodiscard]] Result<std::vector<WriteCompletion>> reap(std::size_t minimum, Caller caller = Caller::current()) {
    return do_reap(minimum, caller);
  }
  /// fsync. Durable: contents, size and attributes of this file, and every write to a device before it; not its name.
  [[nodiscard]] Result<void> sync(Caller caller = Caller::current()) { return do_sync(caller); }

  [[nodiscard]] Result<std::uint64_t> size(Caller caller = Caller::current()) { return do_size(caller); }
  [[nodiscard]] Result<EntryStatus> status(Caller caller = Caller::current()) { return do_status(caller); }
  [[nodiscard]] Result<void> resize(std::uint64_t size_bytes, Caller caller = Caller::current()) {
    return do_resize(size_bytes, caller);
  }
  /// Makes blocks exist for the range (fallocate); does not change contents, extends the size.
  [[nodiscard]] Result<void> allocate(std::uint64_t offset, std::uint64_t length, Caller caller = Caller::current()) {
    return do_allocate(offset, length, caller);
  }
  /// Makes the range read as zeros and stay allocated, extending the size; BLKZEROOUT on devices, writes where nothing
  /// else works.
  [[nodiscard]] Result<void> zero(std::uint64_t offset, std::uint64_t length, Caller caller = Caller::current()) {
    return do_zero(offset, length, caller);
  }
  /// Gives the range back to the device or filesystem, where they can take it. What it reads as afterwards is not
  /// defined; the size stays.
  [[nodiscard]] Result<void> discard(std::uint64_t offset, std::uint64_t length, Caller caller = Caller::current()) {
    return do_discard(offset, length, caller);
  }
  /// Drops the page cache of this (synced) file and says how far a read now reaches: less than `direct` also for a file
  /// opened for direct I/O on a filesystem that has none.
  [[nodiscard]] Result<ReadBackLevel> drop_cache(Caller caller = Caller::current()) { return do_drop_cache(caller); }
  /// A hint: what lies in the page cache of this range, written out already, will not be needed again.
  [[nodiscard]] Result<void> release(std::uint64_t offset, std::uint64_t length, Caller caller = Caller::current()) {
    return do_release(offset, length, caller);
  }
  /// Where the bytes of a regular file lie, after writing out what was not allocated yet (FIEMAP). Not durable.
  [[nodiscard]] Result<FileLayout> layout(Caller caller = Caller::current()) { return do_layout(caller); }
  /// Takes an advisory lock (flock) without waiting; false when somebody else holds it. Released by close.
  [[nodiscard]] Result<bool> try_lock(LockKind kind, Caller caller = Caller::current()) {
    return do_try_lock(kind, caller);
  }
  /// Takes a lease without waiting; false when the file is open elsewhere in a way that the kind excludes, or when the
  /// filesystem has no leases (then nothing is known). Released by close. `no_writer` needs a file opened for reading
  /// only. Somebody who opens the file meanwhile waits for us, so hold it briefly.
  [[nodiscard]] Result<bool> try_lease(LeaseKind kind, Caller caller = Caller::current()) {
    return do_try_lease(kind, caller);
  }

  [[nodiscard]] Result<void> set_attributes(const Attributes& attributes, Caller caller = Caller::current()) {
    return do_set_attributes(attributes, caller);
  }
  [[nodiscard]] Result<std::vector<ExtendedAttribute>> extended_attributes(Caller caller = Caller::current()) {
    return do_extended_attributes(caller);
  }
  [[nodiscard]] Result<void> set_extended_attribute(const ExtendedAttribute& attribute,
                                                    Caller caller = Caller::current()) {
    return do_set_extended_attribute(attribute, caller);
  }
  [[nodiscard]] Result<void> remove_extended_attribute(const std::string& name, Caller caller = Caller::current()) {
    return do_remove_extended_attribute(name, caller);
  }

  /// Closes; the object answers every later call with an error. An error of close is an error of a write.
  [[nodiscard]] Result<void> close(Caller caller = Caller::current()) { return do_close(caller); }

  /// What messages call this file.
  [[nodiscard]] virtual const std::string& name() const = 0;

 protected:
  virtual Result<std::size_t> do_read_at(std::uint64_t offset, Bytes into, Caller caller) = 0;
  virtual Result<void> do_write_at(std::uint64_t offset, ConstBytes data, Caller caller) = 0;
  virtual Result<void> do_submit(std::span<const WriteRequest> batch, Caller caller) = 0;
  virtual Result<std::vector<WriteCompletion>> do_reap(std::size_t minimum, Caller caller) = 0;
  virtual Result<void> do_sync(Caller caller) = 0;
  virtual Result<std::uint64_t> do_size(Caller caller) = 0;
  virtual Result<EntryStatus> do_status(Caller caller) = 0;
  virtual Result<void> do_resize(std::uint64_t size_bytes, Caller caller) = 0;
  virtual Result<void> do_allocate(std::uint64_t offset, std::uint64_t length, Caller caller) = 0;
  virtual Result<void> do_zero(std::uint64_t offset, std::uint64_t length, Caller caller) = 0;
  virtual Result<void> do_discard(std::uint64_t offset, std::uint64_t length, Caller caller) = 0;
  virtual Result<ReadBackLevel> do_drop_cache(Caller caller) = 0;
  virtual Result<void> do_release(std::uint64_t, std::uint64_t, Caller) { return success(); }  ///< without a cache
  virtual Result<FileLayout> do_layout(Caller) { return FileLayout{}; }  ///< storage without places tells nothing
  virtual Result<bool> do_try_lock(LockKind kind, Caller caller) = 0;
  virtual Result<bool> do_try_lease(LeaseKind kind, Caller caller) = 0;
  virtual Result<void> do_set_attributes(const Attributes& attributes, Caller caller) = 0;
  virtual Result<std::vector<ExtendedAttribute>> do_extended_attributes(Caller caller) = 0;
  virtual Result<void> do_set_extended_attribute(const ExtendedAttribute& attribute, Caller caller) = 0;
  virtual Result<void> do_remove_extended_attribute(const std::string& name, Caller caller) = 0;
  virtual Result<void> do_close(Caller caller) = 0;
};

}  // namespace slotkeeper::io

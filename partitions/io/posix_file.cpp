// A regular file or block device behind a descriptor.
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "partitions/io/aligned_buffer.hpp"
#include "partitions/io/posix_call.hpp"
#include "partitions/io/posix_range.hpp"
#include "partitions/io/posix_write_queue.hpp"

namespace slotkeeper::io {
namespace {

constexpr std::size_t kBounceBytes = std::size_t{1} << 20U;

constexpr bool is_aligned(std::uint64_t value) { return value % kDirectAlignment == 0; }
bool is_aligned(const std::byte* pointer) { return is_aligned(reinterpret_cast<std::uintptr_t>(pointer)); }
std::string span_text(std::string_view call, std::uint64_t offset, std::size_t length) {
  return std::string(call) + " of " + std::to_string(length) + " bytes at offset " + std::to_string(offset);
}

class PosixFile final : public File {
 public:
  PosixFile(Descriptor descriptor, std::string name, bool direct, bool is_device)
      : descriptor_(std::move(descriptor)), name_(std::move(name)), direct_(direct), is_device_(is_device) {}

  [[nodiscard]] const std::string& name() const override { return name_; }

 protected:
  Result<std::size_t> do_read_at(std::uint64_t offset, Bytes into, Caller) override {
    std::size_t done = 0;
    while (done < into.size()) {
      const std::uint64_t position = offset + done;
      const Bytes rest = into.subspan(done);
      const ssize_t count = direct_ ? read_direct(position, rest) : read_plain(position, rest);
      if (count < 0) return call_failed(span_text("pread", position, rest.size()), name_, errno);
      if (count == 0) {
        SK_TRY(expect_end(position, rest.size()));
        break;
      }
      done += static_cast<std::size_t>(count);
    }
    return done;
  }

  Result<void> do_write_at(std::uint64_t offset, ConstBytes data, Caller) override {
    if (direct_ && !(is_aligned(offset) && is_aligned(data.size()))) {
      return make_error(Errc::internal, name_ + ": direct " + span_text("write", offset, data.size()) +
                                            " is not aligned to " + std::to_string(kDirectAlignment) + " bytes");
    }
    std::optional<AlignedBuffer> bounce;
    if (direct_ && !is_aligned(data.data()) && !data.empty()) {
      bounce.emplace(std::min(kBounceBytes, data.size()));
    }
    for (std::size_t done = 0; done < data.size();) {
      ConstBytes piece = data.subspan(done);
      if (bounce) {
        piece = piece.first(std::min(kBounceBytes, piece.size()));
        std::ranges::copy(piece, bounce->bytes().begin());
        piece = bounce->bytes().first(piece.size());
      }
      const std::uint64_t position = offset + done;
      const ssize_t count = uninterrupted(
          [&] { return ::pwrite(descriptor_.number(), piece.data(), piece.size(), static_cast<off_t>(position)); });
      if (count < 0) return call_failed(span_text("pwrite", position, piece.size()), name_, errno);
      // Nothing written, or a direct write cut inside a block: neither can be continued.
      if (count == 0 || (direct_ && !is_aligned(static_cast<std::uint64_t>(count)))) {
        return call_failed(span_text("pwrite", position, piece.size()) + " (" + std::to_string(count) + " written)",
                           name_, EIO);
      }
      done += static_cast<std::size_t>(count);
    }
    return success();
  }

  // Direct writes are queued. Others would only wait for the page cache: they are carried out at once, and the caller
  // sees a queue that happens to be fast.
  Result<void> do_submit(std::span<const WriteRequest> batch, Caller caller) override {
    for (const WriteRequest& request : batch) {
      const bool fits = is_aligned(request.offset) && is_aligned(request.data.size()) &&
                        is_aligned(request.data.data()) && !request.data.empty();
      if (!direct_ || !fits || !descriptor_.is_open()) {
        completions_.push_back({.tag = request.tag, .result = do_write_at(request.offset, request.data, caller)});
        continue;
      }
      if (!queue_) queue_ = WriteQueue::make(descriptor_.number());
      if (const int failure = queue_->submit(request); failure != 0)
        complete({.request = request, .os_errno = failure});
    }
    return success();
  }

  Result<std::vector<WriteCompletion>> do_reap(std::size_t minimum, Caller) override {
    const std::size_t submitted = completions_.size() + (queue_ ? queue_->pending() : 0);
    if (submitted < minimum) {
      return make_error(Errc::internal, name_ + ": " + std::to_string(minimum) + " completions were asked for but " +
                                            std::to_string(submitted) + " writes are submitted");
    }
    if (queue_) {
      const std::size_t missing = minimum > completions_.size() ? minimum - completions_.size() : 0;
      for (const FinishedWrite& finished : queue_->reap(missing)) complete(finished);
    }
    return std::exchange(completions_, {});
  }

  // Not repeated after EINTR: a failed sync says that nothing is known, and a second one would hide that.
  Result<void> do_sync(Caller) override {
    if (::fsync(descriptor_.number()) == 0) return success();
    return call_failed("fsync", name_, errno).with_code(Errc::sync_failed);
  }

  Result<std::uint64_t> do_size(Caller) override { return size_of(descriptor_.number(), name_, is_device_); }

  Result<EntryStatus> do_status(Caller) override {
    struct stat facts {};
    if (::fstat(descriptor_.number(), &facts) != 0) return call_failed("fstat", name_, errno);
    return entry_status(facts);
  }

  Result<void> do_resize(std::uint64_t size_bytes, Caller) override {
    if (uninterrupted([&] { return ::ftruncate(descriptor_.number(), static_cast<off_t>(size_bytes)); }) == 0) {
      return success();
    }
    return call_failed("ftruncate to " + std::to_string(size_bytes) + " bytes", name_, errno);
  }

  Result<void> do_allocate(std::uint64_t offset, std::uint64_t length, Caller) override {
    return allocate_range(range(offset, length));
  }

  Result<void> do_zero(std::uint64_t offset, std::uint64_t length, Caller caller) override {
    SK_TRY_ASSIGN(const bool done, zero_range(range(offset, length)));
    if (done) return success();
    const std::size_t piece = static_cast<std::size_t>(std::min<std::uint64_t>(kBounceBytes, length));
    if (piece == 0) return success();
    const AlignedBuffer zeros(round_up_to_block(piece));
    for (std::uint64_t written = 0; written < length;) {
      const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(piece, length - written));
      SK_TRY(do_write_at(offset + written, zeros.bytes().first(step), caller));
      written += step;
    }
    return success();
  }

  Result<void> do_discard(std::uint64_t offset, std::uint64_t length, Caller) override {
    return discard_range(range(offset, length));
  }

  Result<ReadBackLevel> do_drop_cache(Caller) override {
    if (direct_ && is_device_) return ReadBackLevel::direct;
    // Some filesystems quietly serve direct I/O from the cache (ext4 with data=journal): look there for files, too.
    SK_TRY_ASSIGN(const std::uint64_t bytes, size_of(descriptor_.number(), name_, is_device_));
    SK_TRY_ASSIGN(const ReadBackLevel level, drop_cached_pages(range(0, bytes)));
    return direct_ && level == ReadBackLevel::cache_dropped ? ReadBackLevel::direct : level;
  }

  Result<FileLayout> do_layout(Caller) override {
    if (is_device_) return FileLayout{};
    SK_TRY_ASSIGN(const std::uint64_t bytes, size_of(descriptor_.number(), name_, is_device_));
    return find_layout(range(0, bytes));
  }

  Result<bool> do_try_lock(LockKind kind, Caller) override {
    const int operation = (kind == LockKind::exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB;
    if (uninterrupted([&] { return ::flock(descriptor_.number(), operation); }) == 0) return true;
    if (errno == EWOULDBLOCK) return false;
    return call_failed("flock", name_, errno);
  }

  Result<bool> do_try_lease(LeaseKind kind, Caller) override {
    const int flags = ::fcntl(descriptor_.number(), F_GETFL);
    if (flags < 0) return call_failed("fcntl", name_, errno);
    if (kind == LeaseKind::no_writer && (flags & O_ACCMODE) != O_RDONLY) {
      return make_error(Errc::internal, name_ + ": a lease against writers needs a file opened for reading only");
    }
    // The kernel announces a break by SIGIO, which would end the process; SIGURG is ignored unless somebody handles it.
    if (::fcntl(descriptor_.number(), F_SETSIG, SIGURG) != 0) return call_failed("fcntl F_SETSIG", name_, errno);
    const int lease = kind == LeaseKind::nobody ? F_WRLCK : F_RDLCK;
    if (::fcntl(descriptor_.number(), F_SETLEASE, lease) == 0) return true;
    if (errno == EAGAIN || errno == EINVAL || errno == EOPNOTSUPP) return false;
    return call_failed("fcntl F_SETLEASE", name_, errno);
  }

  Result<void> do_set_attributes(const Attributes& attributes, Caller) override {
    const int number = descriptor_.number();
    if (::fchown(number, attributes.owner, attributes.group) != 0) return call_failed("fchown", name_, errno);
    if (::fchmod(number, attributes.mode) != 0) return call_failed("fchmod", name_, errno);
    const struct timespec times[2] = {
        {.tv_sec = attributes.accessed.seconds, .tv_nsec = attributes.accessed.nanoseconds},
        {.tv_sec = attributes.modified.seconds, .tv_nsec = attributes.modified.nanoseconds}};
    if (::futimens(number, times) != 0) return call_failed("futimens", name_, errno);
    return success();
  }

  Result<std::vector<ExtendedAttribute>> do_extended_attributes(Caller) override {
    if (!descriptor_.is_open()) return call_failed("listxattr", name_, EBADF);
    return list_attributes(attribute_target());
  }
  Result<void> do_set_extended_attribute(const ExtendedAttribute& attribute, Caller) override {
    if (!descriptor_.is_open()) return call_failed("setxattr", name_, EBADF);
    return set_attribute(attribute_target(), attribute);
  }
  Result<void> do_remove_extended_attribute(const std::string& attribute, Caller) override {
    if (!descriptor_.is_open()) return call_failed("removexattr", name_, EBADF);
    return remove_attribute(attribute_target(), attribute);
  }

  Result<void> do_release(std::uint64_t offset, std::uint64_t length, Caller) override {
    return release_cached_pages(range(offset, length));
  }

  // What nobody reaped is waited for, and a failure among it is one of the close.
  Result<void> do_close(Caller) override {
    if (queue_) {
      for (const FinishedWrite& finished : queue_->reap(queue_->pending())) complete(finished);
      queue_.reset();
    }
    Result<void> written = success();
    for (WriteCompletion& completion : std::exchange(completions_, {})) {
      if (!completion.result.has_value()) written = std::move(completion.result);
    }
    if (const int failure = descriptor_.close(); failure != 0) return call_failed("close", name_, failure);
    return written;
  }

 private:
  [[nodiscard]] OpenRange range(std::uint64_t offset, std::uint64_t length) const {
    return {
        .descriptor = descriptor_.number(), .is_device = is_device_, .name = name_, .offset = offset, .length = length};
  }
  [[nodiscard]] AttributeTarget attribute_target() const {
    return {.descriptor = descriptor_.number(), .path = {}, .name = name_};
  }

  void complete(const FinishedWrite& finished) {
    const WriteRequest& request = finished.request;
    Result<void> result = success();
    if (finished.os_errno != 0) {
      result = call_failed(span_text("write", request.offset, request.data.size()), name_, finished.os_errno);
    }
    completions_.push_back({.tag = request.tag, .result = std::move(result)});
  }

  ssize_t read_plain(std::uint64_t position, Bytes into) {
    return uninterrupted(
        [&] { return ::pread(descriptor_.number(), into.data(), into.size(), static_cast<off_t>(position)); });
  }

  /// One direct read; what is not aligned goes through a buffer that is. 0 when nothing lies at `position`.
  ssize_t read_direct(std::uint64_t position, Bytes into) {
    if (is_aligned(position) && into.size() >= kDirectAlignment && is_aligned(into.data())) {
      return read_plain(position, into.first(into.size() / kDirectAlignment * kDirectAlignment));
    }
    const auto skip = static_cast<std::size_t>(position % kDirectAlignment);
    const std::size_t wanted = std::min(kBounceBytes, round_up_to_block(skip + std::min(into.size(), kBounceBytes)));
    AlignedBuffer bounce(wanted);
    const ssize_t count = read_plain(position - skip, bounce.bytes());
    if (count < 0) return count;
    if (static_cast<std::size_t>(count) <= skip) return 0;
    const std::size_t useful = std::min(static_cast<std::size_t>(count) - skip, into.size());
    std::memcpy(into.data(), bounce.bytes().data() + skip, useful);
    return static_cast<ssize_t>(useful);
  }

  /// A read that brought nothing is the end of the file, or a fault that the kernel answered with a short count.
  Result<void> expect_end(std::uint64_t position, std::size_t missing) {
    if (!direct_ && !is_device_) return success();  // also: files of /proc and /sys have no size worth asking
    SK_TRY_ASSIGN(const std::uint64_t end, size_of(descriptor_.number(), name_, is_device_));
    if (position >= end) return success();
    return call_failed(span_text("pread", position, missing) + " (nothing read)", name_, EIO);
  }

  Descriptor descriptor_;
  std::string name_;
  bool direct_;
  bool is_device_;
  std::vector<WriteCompletion> completions_;
  std::unique_ptr<WriteQueue> queue_;  ///< of the descriptor, so it ends before it
};

/// Gives a created file exactly the mode asked for, whatever the umask, and checks what was opened.
Result<bool> settle(const Descriptor& opened, const OpenMode& mode, const std::string& name) {
  struct stat facts {};
  if (::fstat(opened.number(), &facts) != 0) return call_failed("fstat", name, errno);
  const bool is_device = S_ISBLK(facts.st_mode);
  if (!is_device && !S_ISREG(facts.st_mode)) {
    return make_error(Errc::io_error, name + ": is neither a regular file nor a block device",
                      S_ISDIR(facts.st_mode) ? EISDIR : EINVAL);
  }
  if (mode.create == OpenMode::Create::must_create && (facts.st_mode & 07777U) != mode.create_mode &&
      ::fchmod(opened.number(), mode.create_mode) != 0) {
    return call_failed("fchmod", name, errno);
  }
  const int flags = ::fcntl(opened.number(), F_GETFL);
  if (flags < 0 || ::fcntl(opened.number(), F_SETFL, flags & ~O_NONBLOCK) != 0) {
    return call_failed("fcntl", name, errno);
  }
  return is_device;
}

}  // namespace

Result<std::unique_ptr<File>> open_posix_file(int directory, const std::string& path, std::uint64_t resolve,
                                              const OpenMode& mode, std::string name) {
  const bool creates = mode.create == OpenMode::Create::must_create;
  // O_NONBLOCK: a fifo in the place of a file must not hold us for ever, nor a lease of somebody else (EAGAIN).
  int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  flags |= mode.access == OpenMode::Access::read_write ? O_RDWR : O_RDONLY;
  if (creates) flags |= O_CREAT | O_EXCL;
  if (mode.exclusive && !creates) flags |= O_EXCL;
  if (!mode.follow_symlink) flags |= O_NOFOLLOW;
  // Direct I/O is switched on afterwards, so that a filesystem without it cannot fail an open that has already created.
  Descriptor opened = open_at(directory, path, flags, resolve, mode.create_mode);
  if (!opened.is_open()) return call_failed(creates ? "creation" : "open", name, errno);

  const Result<bool> settled = settle(opened, mode, name);
  if (!settled.has_value()) {
    if (creates && ::unlinkat(directory, path.c_str(), 0) != 0) {
      return Error(settled.assume_error()).with_context("the new file could not be removed again");
    }
    return settled.assume_error();
  }
  bool direct = false;
  if (mode.direct) {
    const int current = ::fcntl(opened.number(), F_GETFL);
    if (current < 0) return call_failed("fcntl", name, errno);
    direct = ::fcntl(opened.number(), F_SETFL, current | O_DIRECT) == 0;
    if (!direct && errno != EINVAL) return call_failed("fcntl O_DIRECT", name, errno);
  }
  return std::make_unique<PosixFile>(std::move(opened), std::move(name), direct, settled.assume_value());
}

}  // namespace slotkeeper::io

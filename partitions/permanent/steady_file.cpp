#include "partitions/permanent/steady_file.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

namespace slotkeeper::permanent {

Result<SteadyFile> SteadyFile::open(io::Directory& parent, const std::string& name) {
  SK_TRY_ASSIGN(auto file, parent.open_file(name, io::OpenMode::read_only()));
  SK_TRY_ASSIGN(const io::EntryStatus status, file->status());
  return SteadyFile(parent, name, std::move(file), status);
}

Result<bool> SteadyFile::stayed_the_same() {
  const Result<io::EntryStatus> now = parent_->status_of(name_);
  if (!now.has_value()) {
    if (is_gone(now.assume_error())) return false;
    return now.assume_error();
  }
  const io::EntryStatus& after = now.assume_value();
  return after.device == status_.device && after.inode == status_.inode && after.size_bytes == status_.size_bytes &&
         after.modified == status_.modified && after.changed == status_.changed;
}

Result<Sha256> hash_contents(io::File& file, io::Bytes buffer, std::uint64_t& size_bytes,
                             const std::atomic<bool>* give_up) {
  Sha256Stream stream;
  size_bytes = 0;
  for (;;) {
    if (give_up != nullptr && *give_up) return make_error(Errc::cancelled, file.name() + ": not read to its end");
    SK_TRY_ASSIGN(const std::size_t count, file.read_at(size_bytes, buffer));
    stream.update(buffer.first(count));
    size_bytes += count;
    if (count < buffer.size()) return stream.finish();
  }
}

bool is_gone(const Error& error) { return error.os_errno == ENOENT || error.os_errno == ESTALE; }
bool is_mount(const Error& error) { return error.os_errno == EXDEV; }
bool is_replaced(const Error& error) {
  constexpr std::array kErrors = {EISDIR, ENOTDIR, EINVAL, ELOOP, ENXIO};
  return std::ranges::find(kErrors, error.os_errno) != kErrors.end();
}

}  // namespace slotkeeper::permanent

#include "partitions/io/storage.hpp"

#include <algorithm>
#include <cerrno>

namespace slotkeeper::io {

bool DeviceIdentity::overlaps(const DeviceIdentity& other) const {
  return std::any_of(backing.begin(), backing.end(), [&](const std::string& member) {
    return std::find(other.backing.begin(), other.backing.end(), member) != other.backing.end();
  });
}

Result<std::string> Storage::read_text(const std::string& path, std::size_t limit_bytes, Caller caller) {
  OpenMode mode = OpenMode::read_only();
  mode.follow_symlink = true;
  SK_TRY_ASSIGN(const std::unique_ptr<File> file, open_file(path, mode, caller));
  // Files of /proc and /sys report no useful size, so reading goes on until the end; one byte past the limit tells.
  constexpr std::size_t kStepBytes = 4096;
  std::string text;
  for (;;) {
    const std::size_t before = text.size();
    const std::size_t step = std::min(kStepBytes, limit_bytes + 1 - before);
    text.resize(before + step);
    const Bytes into = std::as_writable_bytes(std::span(text.data() + before, step));
    SK_TRY_ASSIGN(const std::size_t count, file->read_at(before, into, caller));
    text.resize(before + count);
    if (text.size() > limit_bytes) {
      return make_error(Errc::io_error, path + ": is longer than the " + std::to_string(limit_bytes) + " bytes allowed",
                        EFBIG);
    }
    if (count < step) break;
  }
  SK_TRY(file->close(caller));
  return text;
}

}  // namespace slotkeeper::io

#include "partitions/direct_access.hpp"

#include <cerrno>

namespace slotkeeper {

Result<void> DirectFile::forget_cache() {
  SK_TRY(file->drop_cache());
  return success();
}

Result<DirectFile> open_direct(io::Storage& storage, const std::string& path, io::OpenMode mode) {
  mode.direct = true;
  auto direct = storage.open_file(path, mode);
  if (direct.has_value()) return DirectFile{.file = std::move(direct).assume_value(), .is_direct = true};
  if (direct.error().os_errno != EINVAL) return std::move(direct).as_failure();
  mode.direct = false;
  SK_TRY_ASSIGN(auto buffered, storage.open_file(path, mode));
  return DirectFile{.file = std::move(buffered), .is_direct = false};
}

}  // namespace slotkeeper

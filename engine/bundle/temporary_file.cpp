#include "engine/bundle/temporary_file.hpp"

#include <cerrno>

namespace slotkeeper::bundle {

FilePlace place_of(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

TemporaryFile::~TemporaryFile() {
  if (!file_ || kept_) return;
  auto removed = folder_.remove_file(name_);
  static_cast<void>(removed.has_value());  // a leftover under a temporary name harms nobody
}

Result<void> TemporaryFile::create() {
  // What a run that was killed left behind has the same name.
  auto removed = folder_.remove_file(name_);
  if (!removed.has_value() && removed.assume_error().os_errno != ENOENT) return removed;
  SK_TRY_ASSIGN(file_, folder_.open_file(name_, io::OpenMode::create_new(0644)));
  return success();
}

Result<void> TemporaryFile::append(io::ConstBytes data) {
  SK_TRY(file_->write_at(size_, data));
  size_ += data.size();
  return success();
}

Result<void> TemporaryFile::keep_as(const std::string& name, io::RenameKind kind) {
  SK_TRY(file_->sync());
  SK_TRY(file_->close());
  auto renamed = folder_.rename(name_, name, kind);
  if (!renamed.has_value() && renamed.assume_error().os_errno == EEXIST) {
    return std::move(renamed).assume_error().with_code(Errc::config);  // somebody made it meanwhile
  }
  SK_TRY(std::move(renamed));
  kept_ = true;
  return folder_.sync();
}

}  // namespace slotkeeper::bundle

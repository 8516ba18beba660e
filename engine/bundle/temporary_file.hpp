// A file that `bundle create` and `bundle extract` work on until it gets its name.
#pragma once

#include <memory>
#include <string>

#include "partitions/io/directory.hpp"
#include "partitions/io/file.hpp"

namespace slotkeeper::bundle {

/// A path taken apart, so that names can be made and synced in its folder.
struct FilePlace {
  std::string folder;
  std::string name;
};
[[nodiscard]] FilePlace place_of(const std::string& path);

/// Disappears with this object unless it is kept. On crash: it remains, and the next run of the same name replaces it.
class TemporaryFile {
 public:
  TemporaryFile(io::Directory& folder, std::string name) : folder_(folder), name_(std::move(name)) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile();

  /// Errors: io_error, storage_full.
  [[nodiscard]] Result<void> create();
  [[nodiscard]] Result<void> append(io::ConstBytes data);
  /// Gives it a name that nobody else has, or with `replace` that of another file, which is whole or replaced at every
  /// moment. Durable: contents and name. Errors: config (the name is taken), io_error, sync_failed.
  [[nodiscard]] Result<void> keep_as(const std::string& name, io::RenameKind kind = io::RenameKind::no_replace);
  [[nodiscard]] io::File& file() { return *file_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::uint64_t size() const { return size_; }  ///< of what was appended

 private:
  io::Directory& folder_;
  std::string name_;
  std::unique_ptr<io::File> file_;
  std::uint64_t size_ = 0;
  bool kept_ = false;
};

}  // namespace slotkeeper::bundle

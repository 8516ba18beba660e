// A regular file that is read while others may write it: whatever was read, it can be told afterwards whether the file
// was the same all the time.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "partitions/digest.hpp"
#include "partitions/io/directory.hpp"

namespace slotkeeper::permanent {

class SteadyFile {
 public:
  /// Errors: io_error; ENOENT when it is gone.
  [[nodiscard]] static Result<SteadyFile> open(io::Directory& parent, const std::string& name);

  [[nodiscard]] const io::EntryStatus& status() const { return status_; }  ///< when it was opened
  [[nodiscard]] io::File& file() { return *file_; }

  /// True when the name still stands for this file and neither contents nor attributes were touched since it was
  /// opened. A change within one tick of the filesystem's clock right after the opening can stay unseen; the check
  /// before the switch hashes the contents again.
  [[nodiscard]] Result<bool> stayed_the_same();

 private:
  SteadyFile(io::Directory& parent, std::string name, std::unique_ptr<io::File> file, io::EntryStatus status)
      : parent_(&parent), name_(std::move(name)), file_(std::move(file)), status_(status) {}
  io::Directory* parent_;
  std::string name_;
  std::unique_ptr<io::File> file_;
  io::EntryStatus status_;
};

/// Hashes a file from front to end through `buffer`; `size_bytes` becomes what was read.
/// Errors: io_error; cancelled when `give_up` became true.
[[nodiscard]] Result<Sha256> hash_contents(io::File& file, io::Bytes buffer, std::uint64_t& size_bytes,
                                           const std::atomic<bool>* give_up = nullptr);

/// True when an error says that the entry is not there any more.
[[nodiscard]] bool is_gone(const Error& error);
/// True when an error says that something is mounted there.
[[nodiscard]] bool is_mount(const Error& error);
/// True when an error says that the entry became something else since it was looked at: a link, a directory, a node.
[[nodiscard]] bool is_replaced(const Error& error);

}  // namespace slotkeeper::permanent

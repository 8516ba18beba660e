// A file that lies in memory only (memfd), for libraries that take a path but must not touch storage.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "partitions/io/result.hpp"
#include "partitions/io/types.hpp"

namespace slotkeeper::io {

/// Exists as long as the object. Never durable, and never reaches a disk.
class MemoryFile {
 public:
  /// A file with this content. `name` shows up in /proc only. Errors: io_error.
  [[nodiscard]] static Result<std::unique_ptr<MemoryFile>> create(const std::string& name, ConstBytes content);

  MemoryFile() = default;
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  virtual ~MemoryFile() = default;

  /// Opens this file for as long as the object exists, in this process only: "/proc/self/fd/N".
  [[nodiscard]] virtual const std::string& path() const = 0;
  /// What it holds now. Errors: io_error.
  [[nodiscard]] virtual Result<std::vector<std::byte>> content() = 0;
};

}  // namespace slotkeeper::io

// Where a bundle's bytes come from.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "partitions/io/storage.hpp"

namespace slotkeeper {

class Source {
 public:
  Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  virtual ~Source() = default;

  [[nodiscard]] virtual const std::string& name() const = 0;
  /// Total size where it is known; of a local file it always is.
  [[nodiscard]] virtual std::optional<std::uint64_t> size_bytes() const = 0;
  /// Fills `into`; fewer bytes only at the end. Errors: source_unreachable.
  [[nodiscard]] virtual Result<std::size_t> read_at(std::uint64_t offset, io::Bytes into) = 0;
};

/// One descriptor, opened once. Errors: source_unreachable (missing, unreadable, not a regular file).
[[nodiscard]] Result<std::unique_ptr<Source>> open_file_source(io::Storage& storage, const std::string& path);

/// By path or URL. Errors: as open_file_source; not_supported_yet for http(s).
[[nodiscard]] Result<std::unique_ptr<Source>> open_source(io::Storage& storage, const std::string& location);

}  // namespace slotkeeper

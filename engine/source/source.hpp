// Where a bundle's bytes come from.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/source/source_settings.hpp"
#include "partitions/io/storage.hpp"

namespace slotkeeper {

/// Bytes of a bundle from `begin` up to, not including, `end`.
struct ByteRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  [[nodiscard]] std::uint64_t length() const { return end - begin; }
  [[nodiscard]] bool contains(std::uint64_t position) const { return position >= begin && position < end; }
  auto operator<=>(const ByteRange&) const = default;
};

class Source {
 public:
  Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  virtual ~Source() = default;

  /// Path or URL as it may be printed.
  [[nodiscard]] virtual const std::string& name() const = 0;
  /// Total size where it is known and any place can be read at any time; of a local file it always is.
  [[nodiscard]] virtual std::optional<std::uint64_t> size_bytes() const = 0;
  /// Fills `into`; fewer bytes only at the end. Called by one thread at a time.
  /// Errors: source_unreachable; of a URL also source_truncated, source_changed, and whatever ends the work while it
  /// waits for the line (SourceCalls).
  [[nodiscard]] virtual Result<std::size_t> read_at(std::uint64_t offset, io::Bytes into) = 0;
  /// What is going to be read, in this order: ranges that ascend. A source that fetches over a line reads ahead in
  /// them. Replaces what was expected before; reading elsewhere stays possible. Does nothing by default.
  virtual void expect(std::vector<ByteRange> ranges) { static_cast<void>(ranges); }
  /// What it is when the bundle goes on where the source has ended: a file is what it is, a line may be better next
  /// time.
  [[nodiscard]] virtual Errc ends_early() const { return size_bytes() ? Errc::corrupt : Errc::source_truncated; }
};

/// One descriptor, opened once. Errors: source_unreachable (missing, unreadable, not a regular file).
[[nodiscard]] Result<std::unique_ptr<Source>> open_file_source(io::Storage& storage, const std::string& path);

/// By path, or by http(s) URL: then the first bytes were asked for, and `settings` and `calls` count. The source must
/// not outlive what `calls` refer to.
/// Errors: as open_file_source; of a URL also usage (malformed), config (a file that `settings` name), source_changed,
/// source_truncated, not_supported_yet (a URL without libcurl).
[[nodiscard]] Result<std::unique_ptr<Source>> open_source(io::Storage& storage, const std::string& location,
                                                          const SourceSettings& settings = {}, SourceCalls calls = {});

}  // namespace slotkeeper

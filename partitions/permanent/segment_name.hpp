// Which files of a log directory are segments that were rotated away, and in which order they were made. Names alone
// decide; engine/DESIGN.md has the table.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace slotkeeper::permanent {

inline constexpr std::string_view kCompressedSuffix = ".zst";  ///< of what we compress

/// The rotation mark of a name.
enum class SegmentMark : std::uint8_t {
  number,    ///< "system.log.3": the larger, the older
  infix,     ///< "system-3.log", "system.3.log": the direction differs between programs
  date,      ///< "system.log-20261031", "system.2026-10-31.log", with or without a time of day
  word,      ///< "system.log.old", ".prev"
  archived,  ///< "system@ID-SEQUENCE-TIME.journal"
};

struct SegmentName {
  SegmentMark mark = SegmentMark::number;
  std::string series;          ///< the same for all segments of one series in one directory
  std::string active;          ///< name of the file that the program writes; it is never touched
  std::string order;           ///< by bytes, the later made the greater; for `infix` by number, whatever that means
  bool is_compressed = false;  ///< has the suffix of a compressor behind the mark
};

/// Nothing when the name has no rotation mark.
[[nodiscard]] std::optional<SegmentName> understand_segment(std::string_view name);

/// Length of a suffix of a known compressor (.zst .gz .xz .bz2 .lz4) at the end of the name; 0 when there is none.
[[nodiscard]] std::size_t compressor_suffix(std::string_view name);

}  // namespace slotkeeper::permanent

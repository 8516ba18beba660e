// What is known of a log that is compressed in its own place: the steps in the scratch areas. Each holds the next frame
// and says where it goes; it is whole before the step before it is given up, so there is always one that counts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "partitions/io/types.hpp"
#include "partitions/permanent/compaction.hpp"

namespace slotkeeper::permanent {

/// Bytes of the log that tell whether it is (still) the file that is meant, and how far it is.
struct Probe {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint64_t hash = 0;  ///< fast_hash; of nothing when the length is 0
  bool operator==(const Probe&) const = default;
};

struct RedoStep {
  enum class Kind : std::uint8_t {
    frame,   ///< the frame in this area goes to `stored_bytes`
    finish,  ///< all frames are in the file: it is cut to `stored_bytes` and gets its new name
  } kind = Kind::frame;
  std::uint64_t sequence = 0;
  std::string path;  ///< of the log, relative to the root; it may have been renamed since
  std::uint64_t inode = 0;
  std::uint64_t plain_bytes = 0;     ///< size of the log before
  std::uint64_t consumed_bytes = 0;  ///< plain bytes that this frame and those before it hold
  std::uint64_t stored_bytes = 0;    ///< bytes of the frames before this one
  Probe probe;  ///< frame: a part that this step does not change; finish: the end of what is cut off
  io::TimeStamp accessed;
  io::TimeStamp modified;
  bool operator==(const RedoStep&) const = default;
};

[[nodiscard]] std::string print_redo_step(const RedoStep& step);
[[nodiscard]] std::optional<RedoStep> parse_redo_step(const std::string& text);

class RedoLog {
 public:
  explicit RedoLog(ScratchAreas scratch) : areas_{&scratch.first, &scratch.second} {}

  /// Most that a frame may have.
  [[nodiscard]] std::uint64_t capacity_bytes() const;
  /// The last step, if there is one. Errors: io_error, foreign_record (written by a later version).
  [[nodiscard]] Result<std::optional<RedoStep>> newest();
  /// The frame of that step. Errors: io_error, readback_mismatch.
  [[nodiscard]] Result<std::vector<std::byte>> frame();
  /// Seals the next step over the one before the last. Sets its sequence. Durable when it returns.
  /// On crash: the last step or this one.
  [[nodiscard]] Result<void> append(RedoStep step, io::ConstBytes frame);
  /// Forgets all steps, the last one last. Durable when it returns.
  [[nodiscard]] Result<void> clear();

 private:
  StoreArea* areas_[2];
  std::size_t newest_area_ = 1;
  std::uint64_t sequence_ = 0;  ///< of the last step
};

}  // namespace slotkeeper::permanent

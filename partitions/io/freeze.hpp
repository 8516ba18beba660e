// A filesystem held still: while it is frozen nobody can write to it. The freeze belongs to a process of its own, so
// that it ends whatever happens to ours.
#pragma once

#include <chrono>
#include <cstdint>

#include "partitions/io/result.hpp"

namespace slotkeeper::io {

/// How a freeze ended. Only after `asked` was the filesystem held still until `thaw` was called.
enum class FreezeEnd : std::uint8_t {
  asked,          ///< we asked for it
  time_up,        ///< its limit came first
  freezer_died,   ///< the process that held it was killed; we thawed, unless it had done so before
  somebody_else,  ///< it was not frozen any more when it was to be thawed
};

struct ThawFacts {
  std::chrono::nanoseconds held{0};  ///< from before the kernel was asked to freeze until it said that it had thawed
  FreezeEnd ended_by = FreezeEnd::asked;
};

/// Thaws with the object, too. While it lives, nothing of ours may write to the filesystem, or wait for somebody who
/// does.
class Freeze {
 public:
  Freeze() = default;
  Freeze(const Freeze&) = delete;
  Freeze& operator=(const Freeze&) = delete;
  virtual ~Freeze() = default;

  /// False once the freeze has ended or its time is up. Cheap: meant to be asked between any two steps of a long look.
  [[nodiscard]] virtual bool holds() = 0;

  /// Ends the freeze; returns when the kernel has said that the filesystem is thawed. A second call repeats the answer.
  /// Errors: io_error when it could not be thawed: the message says what to do.
  [[nodiscard]] virtual Result<ThawFacts> thaw() = 0;

  /// Number of the process that holds the freeze; 0 where there is none.
  [[nodiscard]] virtual int freezer() const = 0;
};

}  // namespace slotkeeper::io

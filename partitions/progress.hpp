// How long work reports and how it is told to stop. One sink for the whole engine; implementations must not block.
#pragma once

#include <cstdint>
#include <string_view>

#include "partitions/io/result.hpp"

namespace slotkeeper {

enum class Phase : std::uint8_t {
  open,
  verify,
  preflight,
  compact,
  snapshot,
  stage,
  check,
  switch_over,
  restore,
};
[[nodiscard]] std::string_view name_of(Phase phase);  ///< as printed: "open", ..., "switch", "restore"

class ProgressSink {
 public:
  ProgressSink() = default;
  ProgressSink(const ProgressSink&) = delete;
  ProgressSink& operator=(const ProgressSink&) = delete;
  virtual ~ProgressSink() = default;

  /// `done` of `total` bytes of this phase. Called often; a printing sink decides what it shows.
  virtual void progress(Phase phase, std::uint64_t done_bytes, std::uint64_t total_bytes) = 0;
  /// Something a person should know that is neither a gate nor an error: one sentence.
  virtual void notice(std::string_view message) = 0;
  /// True once the operator or a signal asked to stop. Honoured only before the switch.
  [[nodiscard]] virtual bool cancel_requested() const = 0;

  /// `cancelled` once a stop was asked for. A sink that watches over something ends the work here with its own error.
  [[nodiscard]] virtual Result<void> check_cancelled();
};

/// Says nothing and never cancels.
class SilentProgress final : public ProgressSink {
 public:
  void progress(Phase, std::uint64_t, std::uint64_t) override {}
  void notice(std::string_view) override {}
  [[nodiscard]] bool cancel_requested() const override { return false; }
};

}  // namespace slotkeeper

// One JSON object a line on standard output; the result is always the last one. The lines are a contract: golden tests
// hold them.
#pragma once

#include <optional>

#include "engine/cli/reporter.hpp"

namespace slotkeeper::cli {

class JsonReporter final : public Reporter {
 public:
  explicit JsonReporter(ReporterSettings settings) : settings_(std::move(settings)) {}

  void progress(Phase phase, std::uint64_t done_bytes, std::uint64_t total_bytes) override;
  void notice(std::string_view message) override;
  void gate(const permanent::Gate& gate) override;
  void planned_write(const PlannedWrite& write) override;
  [[nodiscard]] bool cancel_requested() const override { return settings_.cancelled(); }

 private:
  struct Point {
    Phase phase;
    std::uint64_t done;
    std::uint64_t total;
    bool operator==(const Point&) const = default;
  };
  void print_result(std::string_view command, const CommandResult& result) override;
  void print_progress(const Point& point);
  void print_pending_progress();
  void print_line(JsonObject members);

  ReporterSettings settings_;
  std::optional<Point> latest_;
  std::optional<Point> printed_;
  std::chrono::nanoseconds printed_at_{0};
};

}  // namespace slotkeeper::cli

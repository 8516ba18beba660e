// Lines for people: where standard output is a log or a pipe one line for each step; the terminal form adds a bar.
#pragma once

#include <deque>
#include <optional>

#include "engine/cli/reporter.hpp"

namespace slotkeeper::cli {

class TextReporter : public Reporter {
 public:
  explicit TextReporter(ReporterSettings settings) : settings_(std::move(settings)) {}

  void progress(Phase phase, std::uint64_t done_bytes, std::uint64_t total_bytes) override;
  void notice(std::string_view message) override;
  void forecast(const JsonObject& figures) override;
  void gate(const permanent::Gate& gate) override;
  void planned_write(const PlannedWrite& write) override;
  [[nodiscard]] bool cancel_requested() const override { return settings_.cancelled(); }

 protected:
  struct PhaseProgress {
    Phase phase = Phase::open;
    std::uint64_t done = 0;
    std::uint64_t total = 0;
    std::chrono::nanoseconds began{0};
    bool ended = false;
  };
  void print_result(std::string_view command, const CommandResult& result) override;
  virtual void phase_begins(const PhaseProgress& progress);
  virtual void phase_goes_on(const PhaseProgress& progress);
  virtual void phase_ends(const PhaseProgress& progress);
  virtual void print(std::string_view line);  ///< on standard output, without its line end
  [[nodiscard]] std::string coloured(std::string_view text, std::string_view colour) const;

  ReporterSettings settings_;

 private:
  std::optional<PhaseProgress> current_;
  unsigned tenths_printed_ = 0;
};

class TerminalReporter final : public TextReporter {
 public:
  using TextReporter::TextReporter;

 private:
  void print_result(std::string_view command, const CommandResult& result) override;
  void phase_begins(const PhaseProgress& progress) override;
  void phase_goes_on(const PhaseProgress& progress) override;
  void phase_ends(const PhaseProgress& progress) override;
  void print(std::string_view line) override;
  void draw(const PhaseProgress& progress, std::chrono::nanoseconds now);
  void erase();
  [[nodiscard]] std::optional<std::uint64_t> rate_per_s() const;

  struct Sample {
    std::chrono::nanoseconds at;
    std::uint64_t done;
  };
  std::deque<Sample> samples_;  ///< of the last seconds, oldest first
  std::optional<std::chrono::nanoseconds> drawn_at_;
  bool bar_is_shown_ = false;
};

}  // namespace slotkeeper::cli

// The progress bar: phase, share, amounts, rate and time left on one line that is drawn again and again.
#include <algorithm>

#include "engine/cli/figures.hpp"
#include "engine/cli/text_reporter.hpp"

namespace slotkeeper::cli {
namespace {

using std::chrono::nanoseconds;

constexpr std::chrono::milliseconds kDrawInterval{100};
constexpr std::chrono::seconds kRateWindow{5};
constexpr std::chrono::milliseconds kRateWindowMin{500};  // a rate of less is noise
constexpr std::size_t kLabelWidth = 11;
constexpr std::size_t kFiguresWidth = 54;  // share, amounts, rate and time left at their usual longest
constexpr std::size_t kBarWidthMin = 10;
constexpr std::size_t kBarWidthMax = 40;

std::string label_of(Phase phase) {
  std::string label(name_of(phase));
  label.resize(kLabelWidth, ' ');
  return label;
}

std::string right_aligned(std::string text, std::size_t width) {
  text.insert(0, text.size() < width ? width - text.size() : 0, ' ');
  return text;
}

std::string bar_of(unsigned percent, std::size_t width) {
  const std::size_t filled = width * percent / 100;
  return "[" + std::string(filled, '#') + std::string(width - filled, '.') + "]";
}

}  // namespace

void TerminalReporter::erase() {
  if (!bar_is_shown_) return;
  settings_.output.write("\r\x1b[K");
  bar_is_shown_ = false;
}

void TerminalReporter::print(std::string_view line) {
  erase();
  TextReporter::print(line);
}

std::optional<std::uint64_t> TerminalReporter::rate_per_s() const {
  if (samples_.size() < 2) return std::nullopt;
  const nanoseconds passed = samples_.back().at - samples_.front().at;
  if (passed < kRateWindowMin || samples_.back().done < samples_.front().done) return std::nullopt;
  const auto milliseconds =
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(passed).count());
  return (samples_.back().done - samples_.front().done) * 1000 / milliseconds;
}

void TerminalReporter::phase_begins(const PhaseProgress& progress) {
  samples_.clear();
  samples_.push_back(Sample{progress.began, progress.done});
  drawn_at_.reset();
}

void TerminalReporter::phase_goes_on(const PhaseProgress& progress) {
  const nanoseconds now = settings_.monotonic();
  if (drawn_at_ && now - *drawn_at_ < kDrawInterval) return;
  if (samples_.back().at != now) samples_.push_back(Sample{now, progress.done});
  while (samples_.size() > 2 && now - samples_.front().at > kRateWindow) samples_.pop_front();
  if (settings_.output.has_room()) draw(progress, now);
}

void TerminalReporter::draw(const PhaseProgress& progress, nanoseconds now) {
  const unsigned percent = percent_of(progress.done, progress.total);
  std::string figures = right_aligned(std::to_string(percent), 4) + " %  " + format_bytes(progress.done) + " of " +
                        format_bytes(progress.total);
  const std::size_t width = std::max(settings_.width(), 2u) - 1;  // the last column would wrap
  // The same width in every drawing, whatever figures there are, so that the bar does not jump.
  const std::size_t reserved = kLabelWidth + 2 + kFiguresWidth;
  const std::size_t bar_width = std::clamp(width > reserved ? width - reserved : 0, kBarWidthMin, kBarWidthMax);
  const auto add_if_it_fits = [&](const std::string& text) {
    if (kLabelWidth + bar_width + 2 + figures.size() + text.size() <= width) figures += text;
  };
  if (const auto rate = rate_per_s()) {
    add_if_it_fits("  " + format_bytes(*rate) + "/s");
    if (*rate != 0)
      add_if_it_fits("  " + format_time_left(std::chrono::seconds((progress.total - progress.done) / *rate)) + " left");
  }
  std::string line = label_of(progress.phase);
  if (kLabelWidth + bar_width + 2 + figures.size() <= width) line += bar_of(percent, bar_width);
  line += figures;
  settings_.output.write("\r" + line.substr(0, width) + "\x1b[K");
  bar_is_shown_ = true;
  drawn_at_ = now;
}

void TerminalReporter::phase_ends(const PhaseProgress& progress) {
  std::string line = label_of(progress.phase) + "done";
  const nanoseconds passed = settings_.monotonic() - progress.began;
  if (progress.total != 0) line += "  " + format_bytes(progress.total) + " in " + format_seconds(passed);
  print(line);
}

void TerminalReporter::print_result(std::string_view command, const CommandResult& result) {
  erase();  // the error goes to another stream, which may be the same terminal
  TextReporter::print_result(command, result);
}

}  // namespace slotkeeper::cli

// Where the command line writes. A reader that went away must never end a transaction, so errors are swallowed.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

namespace slotkeeper::cli {

class Output {
 public:
  Output() = default;
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  virtual ~Output() = default;

  /// Writes at once. After the first error nothing is written any more.
  virtual void write(std::string_view text) = 0;
  /// Whether a short line would be taken without waiting: a pipe that nobody empties must not stop an update.
  [[nodiscard]] virtual bool has_room() const = 0;
};

/// Standard output or standard error.
class StreamOutput final : public Output {
 public:
  explicit StreamOutput(std::FILE* stream) : stream_(stream) {}
  void write(std::string_view text) override;
  [[nodiscard]] bool has_room() const override;

 private:
  std::FILE* stream_;
  bool broken_ = false;
};

/// What the streams of this process are.
struct TerminalFacts {
  bool output_is_terminal = false;  ///< and one that understands control sequences
  bool error_is_terminal = false;
  bool colours = false;  ///< a terminal, and NO_COLOR is not set
};
[[nodiscard]] TerminalFacts find_terminal();

/// Columns of the terminal behind standard output, 80 where it does not say.
[[nodiscard]] unsigned terminal_width();

/// Opens /dev/null on standard streams that are closed. Otherwise the next file that is opened would take their number,
/// and what is printed would end up in a slot.
void occupy_standard_streams();

}  // namespace slotkeeper::cli

#include "partitions/permanent/compaction_redo.hpp"

#include <charconv>

#include "partitions/digest.hpp"

namespace slotkeeper::permanent {
namespace {

constexpr std::string_view kHead = "slotkeeper compaction 1";
constexpr std::string_view kFamily = "slotkeeper compaction ";

std::string hex(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char byte : bytes) {
    text += kDigits[static_cast<unsigned char>(byte) >> 4U];
    text += kDigits[static_cast<unsigned char>(byte) & 15U];
  }
  return text;
}

template <class Integer>
std::optional<Integer> integer(std::string_view text, int base = 10) {
  Integer value{};
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || rest != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::string> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const auto byte = integer<unsigned int>(text.substr(i, 2), 16);
    if (!byte) return std::nullopt;
    bytes += static_cast<char>(*byte);
  }
  return bytes;
}

/// Takes "NAME VALUE\n" lines one after the other; once one is not as expected, all that follow are missing.
class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}
  std::string_view line() {
    const std::size_t end = rest_.find('\n');
    if (end == std::string_view::npos) {
      is_good_ = false;
      return {};
    }
    const std::string_view found = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return found;
  }
  std::string_view value(std::string_view name) {
    const std::string_view found = line();
    if (found.size() <= name.size() || !found.starts_with(name) || found[name.size()] != ' ') is_good_ = false;
    return is_good_ ? found.substr(name.size() + 1) : std::string_view();
  }
  void number(std::string_view name, std::uint64_t& into) { take(integer<std::uint64_t>(value(name)), into); }
  void time(std::string_view name, io::TimeStamp& into) {
    const std::string_view text = value(name);
    const std::size_t dot = std::min(text.find('.'), text.size());
    take(integer<std::int64_t>(text.substr(0, dot)), into.seconds);
    take(integer<std::int32_t>(text.substr(std::min(dot + 1, text.size()))), into.nanoseconds);
  }
  template <class Value>
  void take(const std::optional<Value>& value, Value& into) {
    is_good_ = is_good_ && value.has_value();
    if (is_good_) into = *value;
  }
  [[nodiscard]] bool at_end() const { return is_good_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool is_good_ = true;
};

std::string text_of(io::TimeStamp time) {
  return std::to_string(time.seconds) + "." + std::to_string(time.nanoseconds);
}

}  // namespace

std::string print_redo_step(const RedoStep& step) {
  const auto number = [](std::string_view name, std::uint64_t value) {
    return std::string(name) + " " + std::to_string(value) + "\n";
  };
  return std::string(kHead) + "\n" + "step " + (step.kind == RedoStep::Kind::frame ? "frame" : "finish") + "\n" +
         number("sequence", step.sequence) + "path " + hex(step.path) + "\n" + number("inode", step.inode) +
         number("plain", step.plain_bytes) + number("consumed", step.consumed_bytes) +
         number("stored", step.stored_bytes) + number("probe-offset", step.probe.offset) +
         number("probe-length", step.probe.length) + number("probe-hash", step.probe.hash) + "accessed " +
         text_of(step.accessed) + "\nmodified " + text_of(step.modified) + "\n";
}

std::optional<RedoStep> parse_redo_step(const std::string& text) {
  Lines lines(text);
  RedoStep step;
  if (lines.line() != kHead) return std::nullopt;
  const std::string_view kind = lines.value("step");
  if (kind != "frame" && kind != "finish") return std::nullopt;
  step.kind = kind == "frame" ? RedoStep::Kind::frame : RedoStep::Kind::finish;
  lines.number("sequence", step.sequence);
  lines.take(from_hex(lines.value("path")), step.path);
  lines.number("inode", step.inode);
  lines.number("plain", step.plain_bytes);
  lines.number("consumed", step.consumed_bytes);
  lines.number("stored", step.stored_bytes);
  lines.number("probe-offset", step.probe.offset);
  lines.number("probe-length", step.probe.length);
  lines.number("probe-hash", step.probe.hash);
  lines.time("accessed", step.accessed);
  lines.time("modified", step.modified);
  if (!lines.at_end() || step.path.empty()) return std::nullopt;
  return step;
}

std::uint64_t RedoLog::capacity_bytes() const {
  return std::min(areas_[0]->capacity_bytes(), areas_[1]->capacity_bytes());
}

Result<std::optional<RedoStep>> RedoLog::newest() {
  std::optional<RedoStep> last;
  for (std::size_t i = 0; i < 2; ++i) {
    SK_TRY_ASSIGN(const auto seal, areas_[i]->read_seal());
    if (!seal) continue;
    auto step = parse_redo_step(seal->description);
    if (!step && seal->description.starts_with(kFamily) && !seal->description.starts_with(kHead)) {
      return make_error(Errc::foreign_record, "the scratch area was written by a later version of Slotkeeper");
    }
    if (!step || (last && step->sequence < last->sequence)) continue;
    newest_area_ = i;
    sequence_ = step->sequence;
    last = std::move(step);
  }
  return last;
}

Result<std::vector<std::byte>> RedoLog::frame() {
  StoreArea& area = *areas_[newest_area_];
  SK_TRY_ASSIGN(const auto seal, area.read_seal());
  if (!seal) return make_error(Errc::io_error, "the scratch area lost its seal");
  std::vector<std::byte> bytes(static_cast<std::size_t>(seal->length_bytes));
  SK_TRY_ASSIGN(const std::size_t count, area.read_at(0, bytes));
  if (count != bytes.size() || sha256(bytes) != seal->digest) {
    return make_error(Errc::readback_mismatch, "the scratch area does not hold what was sealed in it");
  }
  return bytes;
}

Result<void> RedoLog::append(RedoStep step, io::ConstBytes frame) {
  const std::size_t target = 1 - newest_area_;
  StoreArea& area = *areas_[target];
  step.sequence = sequence_ + 1;
  SK_TRY(area.unseal());
  SK_TRY(area.write_at(0, frame));
  SK_TRY(area.seal({.length_bytes = frame.size(), .digest = sha256(frame), .description = print_redo_step(step)}));
  newest_area_ = target;
  sequence_ = step.sequence;
  return success();
}

Result<void> RedoLog::clear() {
  SK_TRY(areas_[1 - newest_area_]->unseal());
  return areas_[newest_area_]->unseal();
}

}  // namespace slotkeeper::permanent

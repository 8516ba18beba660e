#include "bootloader-hooks/grub_environment.hpp"

#include <algorithm>
#include <optional>

namespace slotkeeper::boot {
namespace {

constexpr std::string_view kSignature = "# GRUB Environment Block\n";
constexpr std::string_view kClosing = "#\n";  ///< ends a comment that the sector before left open
/// Our lines at their longest without foreign names in the order, and the comment that fills the region.
constexpr std::size_t kRegionBytesMin = 79;
constexpr std::size_t kFillerBytesMin = kClosing.size();

/// One line with its newline; nothing but '#' up to the end of the block is padding and no line.
struct Line {
  std::size_t begin = 0;
  std::string_view text;
  std::string_view name;    ///< empty for a comment
  bool is_damaged = false;  ///< GRUB makes something else of it than a line

  [[nodiscard]] std::size_t end() const { return begin + text.size(); }
  [[nodiscard]] bool is_filler() const { return text.find_first_not_of('#') == text.size() - 1; }
  [[nodiscard]] bool is_ours() const { return is_grub_ours(name); }
};

struct Lines {
  std::vector<Line> all;
  std::size_t padding = 0;  ///< where it begins
  bool is_whole = false;
};

std::string_view text_of(const GrubBlock& block) { return io::as_text(block); }

/// Where the line that begins at `begin` ends, one behind its newline; nothing when it does not.
std::optional<std::size_t> end_of_line(std::string_view text, std::size_t begin) {
  for (std::size_t i = begin; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '\n') {
      return i + 1;
    }
  }
  return std::nullopt;
}

bool is_name(std::string_view name) {
  return !name.empty() &&
         std::ranges::all_of(name, [](char c) { return c > ' ' && c < '\x7f' && c != '\\' && c != '#'; });
}

Line line_of(std::string_view text, std::size_t begin, std::size_t end) {
  Line line{.begin = begin, .text = text.substr(begin, end - begin), .name = {}, .is_damaged = false};
  line.is_damaged = line.text.find('\0') != std::string_view::npos;
  if (line.text.front() == '#') return line;
  const std::size_t equals = line.text.find('=');
  if (equals == std::string_view::npos || !is_name(line.text.substr(0, equals))) {
    line.is_damaged = true;
  } else {
    line.name = line.text.substr(0, equals);
  }
  return line;
}

Lines lines_of(std::string_view text) {
  Lines lines;
  std::size_t begin = kSignature.size();
  while (begin < text.size() && text.find_first_not_of('#', begin) != std::string_view::npos) {
    const auto end = end_of_line(text, begin);
    if (!end) {  // what follows is no line
      lines.padding = begin;
      return lines;
    }
    lines.all.push_back(line_of(text, begin, *end));
    begin = *end;
  }
  lines.padding = begin;
  lines.is_whole = std::ranges::none_of(lines.all, &Line::is_damaged);
  return lines;
}

std::string escaped(std::string_view value) {
  std::string text;
  for (const char c : value) {
    if (c == '\\' || c == '\n') text += '\\';
    text += c;
  }
  return text;
}

std::string our_lines(const Variables& variables) {
  std::string text;
  for (const std::string_view name : kGrubOurs) {
    const auto found = variables.find(std::string(name));
    if (found != variables.end()) text += std::string(name) + "=" + escaped(found->second) + "\n";
  }
  return text;
}

/// Names of other slots in the order make the region longer.
std::size_t region_bytes_for(const Variables& variables, std::size_t ours_bytes) {
  const auto order = variables.find("ORDER");
  const std::size_t order_bytes = order == variables.end() ? 0 : escaped(order->second).size();
  return std::max(kRegionBytesMin + order_bytes, ours_bytes + kFillerBytesMin);
}

std::string comment_of(std::size_t bytes) { return std::string(bytes - 1, '#') + "\n"; }

std::string region_text(const Variables& variables, std::size_t bytes) {
  const std::string ours = our_lines(variables);
  return ours + comment_of(bytes - ours.size());
}

std::optional<GrubBlock> block_of(std::string text) {
  if (text.size() > kGrubBlockBytes) return std::nullopt;
  text.resize(kGrubBlockBytes, '#');
  GrubBlock block;
  std::ranges::copy(io::as_bytes(text), block.begin());
  return block;
}

bool same_sector(const GrubBlock& one, const GrubBlock& another, std::size_t sector) {
  const auto begin = static_cast<std::ptrdiff_t>(sector * kGrubSectorBytes);
  const auto size = static_cast<std::ptrdiff_t>(kGrubSectorBytes);
  return std::equal(one.begin() + begin, one.begin() + begin + size, another.begin() + begin);
}

/// A sector of `other` in the place of the one of `block`.
GrubBlock with_sector(GrubBlock block, const GrubBlock& other, std::size_t sector) {
  const std::size_t begin = sector * kGrubSectorBytes;
  std::copy_n(other.begin() + static_cast<std::ptrdiff_t>(begin), kGrubSectorBytes,
              block.begin() + static_cast<std::ptrdiff_t>(begin));
  return block;
}

Error no_room() {
  return make_error(Errc::boot_environment,
                    "the GRUB environment block has no room for Slotkeeper's variables in its first 512 bytes; take "
                    "variables of others out of it ('grub-editenv FILE unset NAME') and try again; it was not changed");
}

/// The bytes of our region when the block has it at the front and nothing of ours anywhere else.
std::optional<std::size_t> region_of(const Lines& lines) {
  if (!lines.is_whole) return std::nullopt;
  std::size_t i = 0;
  while (i < lines.all.size() && lines.all[i].is_ours()) ++i;
  if (i == lines.all.size() || !lines.all[i].is_filler()) return std::nullopt;
  for (std::size_t one = 0; one < i; ++one) {
    for (std::size_t other = one + 1; other < i; ++other) {
      if (lines.all[one].name == lines.all[other].name) return std::nullopt;
    }
  }
  const std::size_t end = lines.all[i].end();
  const bool more = std::any_of(lines.all.begin() + static_cast<std::ptrdiff_t>(i), lines.all.end(),
                                [](const Line& line) { return line.is_ours(); });
  if (more || end > kGrubSectorBytes) return std::nullopt;
  return end - kSignature.size();
}

/// The block with another region, where it has one that is long enough.
std::optional<GrubBlock> with_region(const GrubBlock& block, const Variables& variables) {
  const auto bytes = region_of(lines_of(text_of(block)));
  if (!bytes || our_lines(variables).size() + kFillerBytesMin > *bytes) return std::nullopt;
  std::string text(text_of(block));
  text.replace(kSignature.size(), *bytes, region_text(variables, *bytes));
  return block_of(std::move(text));
}

/// Everything in its final form and order: our region, then what others have. Nothing when that is too long.
std::optional<GrubBlock> in_form(const Lines& lines, const Variables& variables, std::size_t region_bytes) {
  std::string text = std::string(kSignature) + region_text(variables, region_bytes);
  if (text.size() > kGrubSectorBytes) return std::nullopt;
  for (const Line& line : lines.all) {
    if (!line.is_damaged && !line.is_ours() && !line.is_filler()) text += line.text;
  }
  return block_of(std::move(text));
}

/// What stands at the border of the two sectors of a block.
struct Border {
  std::string rest;         ///< what the second sector has to begin with, so that the line of the first one ends there
  bool is_open = false;     ///< the line goes on in the second sector
  bool is_escaped = false;  ///< the first byte of the second sector has a backslash in front of it
  const Line* line = nullptr;  ///< the one that lies in both; nothing for padding
};

Border border_of(std::string_view text, const Lines& lines) {
  Border border;
  if (lines.padding < kGrubSectorBytes) {  // what is written into the second sector would belong to the padding
    border.is_open = true;
    border.rest = kClosing;
    return border;
  }
  for (const Line& line : lines.all) {
    if (line.begin >= kGrubSectorBytes || line.end() <= kGrubSectorBytes) continue;
    border.is_open = true;
    border.line = &line;
    border.rest = text.substr(kGrubSectorBytes, line.end() - kGrubSectorBytes);
    std::size_t backslashes = 0;
    while (text[kGrubSectorBytes - 1 - backslashes] == '\\') ++backslashes;
    border.is_escaped = backslashes % 2 == 1;
  }
  return border;
}

/// Moves our variables to the front of a block that reaches into its second sector, without changing any value:
///   1. second sector: copies of the others' lines that have to leave the first one, in front of what is there;
///   2. first sector:  the region, what may stay of the others, and an open comment that swallows the rest of a line
///                     that lay in both sectors;
///   3. second sector: without ours, and without that rest.
/// A copy says what the original says, and a later one of ours what the region says: every step means the same.
Result<std::vector<GrubBlock>> plan_move(const GrubBlock& block, const Variables& variables, std::size_t region_bytes) {
  const std::string_view text = text_of(block);
  const Lines lines = lines_of(text);
  const Border border = border_of(text, lines);
  const bool is_open = border.is_open;

  std::string front = std::string(kSignature) + region_text(variables, region_bytes);
  const std::size_t filler_min = is_open ? (border.is_escaped ? 2 : 1) : 0;
  std::string moved;
  std::string second;                               // of the second sector, with ours
  std::string second_clean;                         // without them
  const auto is_replaced = [&](const Line& line) {  // by a later one of the same name
    return !line.name.empty() && std::any_of(lines.all.begin(), lines.all.end(), [&](const Line& other) {
      return other.begin > line.begin && other.name == line.name;
    });
  };
  for (const Line& line : lines.all) {
    if (line.begin >= kGrubSectorBytes) {
      second += line.text;
      if (!line.is_ours() && !line.is_filler()) second_clean += line.text;
      continue;
    }
    if (line.is_ours() || line.is_filler() || is_replaced(line)) continue;
    const std::size_t rest = kGrubSectorBytes - std::min(kGrubSectorBytes, front.size() + line.text.size());
    const bool fits = front.size() + line.text.size() <= kGrubSectorBytes && rest >= filler_min &&
                      (is_open || rest != 1);  // a comment of one byte would be an empty line
    if (fits && &line != border.line) {
      front += line.text;
    } else {
      moved += line.text;
    }
  }
  if (front.size() + filler_min > kGrubSectorBytes) return no_room();
  if (!is_open && front.size() + 1 == kGrubSectorBytes) return no_room();
  if (front.size() < kGrubSectorBytes) {
    const std::size_t bytes = kGrubSectorBytes - front.size();
    if (is_open) {
      front += std::string(bytes, '#');
      if (border.is_escaped) front.back() = '\\';
    } else {
      front += comment_of(bytes);
    }
  }
  const auto second_block = [&](const std::string& contents) -> std::optional<GrubBlock> {
    return block_of(front + contents);
  };
  const auto with_ours = second_block(border.rest + moved + second);
  const auto clean = second_block((is_open ? std::string(kClosing) : std::string()) + moved + second_clean);
  if (!with_ours || !clean) return no_room();

  std::vector<GrubBlock> steps;
  GrubBlock now = block;
  const auto step = [&](const GrubBlock& from, std::size_t sector) {
    if (same_sector(now, from, sector)) return;
    now = with_sector(now, from, sector);
    steps.push_back(now);
  };
  step(*with_ours, 1);
  step(*with_ours, 0);
  step(*clean, 1);
  return steps;
}

/// Brings the block into our form without changing a value of ours.
Result<std::vector<GrubBlock>> plan_form(const GrubBlock& block, const Variables& variables, std::size_t region_bytes) {
  const Lines lines = lines_of(text_of(block));
  if (lines.is_whole && lines.padding > kGrubSectorBytes) return plan_move(block, variables, region_bytes);
  const auto formed = in_form(lines, variables, region_bytes);
  if (!formed) return no_room();
  if (lines.is_whole && !same_sector(block, *formed, 1)) return plan_move(block, variables, region_bytes);
  std::vector<GrubBlock> steps;
  if (!same_sector(block, *formed, 0)) steps.push_back(with_sector(block, *formed, 0));
  if (!same_sector(block, *formed, 1)) steps.push_back(*formed);
  return steps;
}

Variables changed(Variables variables, const VariableChanges& changes) {
  for (const auto& [name, value] : changes) {
    if (value) {
      variables[name] = *value;
    } else {
      variables.erase(name);
    }
  }
  return variables;
}

}  // namespace

bool is_grub_block(const GrubBlock& block) { return text_of(block).starts_with(kSignature); }

bool is_whole_grub_block(const GrubBlock& block) { return is_grub_block(block) && lines_of(text_of(block)).is_whole; }

bool is_scattered(const GrubBlock& block) {
  if (!is_grub_block(block)) return false;
  const Lines lines = lines_of(text_of(block));
  for (const Line& line : lines.all) {
    if (!line.is_ours()) continue;
    if (line.end() > kGrubSectorBytes) return true;
    if (std::ranges::count(lines.all, line.name, &Line::name) > 1) return true;
  }
  return false;
}

GrubBlock empty_grub_block() { return *block_of(std::string(kSignature)); }

// Follows GRUB's own reading, also through what it was not made for: names run up to the next '=', over line ends, and
// the first thing that does not end is the end of everything.
Variables read_grub_variables(const GrubBlock& block) {
  Variables variables;
  if (!is_grub_block(block)) return variables;
  const std::string_view text = text_of(block);
  for (std::size_t position = kSignature.size(); position < text.size();) {
    const std::size_t begin = position;
    if (text[begin] != '#') {
      const std::size_t equals = text.find('=', begin);
      if (equals == std::string_view::npos) return variables;
      std::string value;
      for (position = equals + 1; position < text.size() && text[position] != '\n'; ++position) {
        if (text[position] == '\\' && ++position == text.size()) return variables;
        value += text[position];
      }
      if (position >= text.size()) return variables;
      // Strings in GRUB end at a zero byte.
      const std::string name(text.substr(begin, equals - begin));
      variables[name.c_str()] = value.c_str();
    }
    const auto end = end_of_line(text, position);
    if (!end) return variables;
    position = *end;
  }
  return variables;
}

Result<std::vector<GrubBlock>> plan_grub_steps(const GrubBlock& block, const VariableChanges& changes) {
  if (!is_grub_block(block)) {
    return make_error(Errc::boot_environment, "the GRUB environment block is damaged: its first line is missing");
  }
  const bool must_be_formed = !is_whole_grub_block(block) || is_scattered(block);
  if (changes.empty() && !must_be_formed) return std::vector<GrubBlock>{};
  const Variables before = read_grub_variables(block);
  const Variables after = changed(before, changes);
  if (auto next = with_region(block, after)) return std::vector<GrubBlock>{*next};

  const std::size_t region_bytes =
      std::max(region_bytes_for(before, our_lines(before).size()), region_bytes_for(after, our_lines(after).size()));
  const Lines lines = lines_of(text_of(block));
  if (lines.is_whole) {
    const auto formed = in_form(lines, after, region_bytes);
    if (formed && same_sector(block, *formed, 1)) return std::vector<GrubBlock>{*formed};
  }
  SK_TRY_ASSIGN(auto steps, plan_form(block, before, region_bytes));
  if (changes.empty()) return steps;
  auto last = with_region(steps.empty() ? block : steps.back(), after);
  SK_INVARIANT(last.has_value());
  steps.push_back(*last);
  return steps;
}

}  // namespace slotkeeper::boot

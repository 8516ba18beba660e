#include "tests/support/device_checker.hpp"

#include <map>

namespace slotkeeper::test {

std::string describe(const Violations& violations) {
  std::string text;
  constexpr std::size_t kToldMax = 5;
  for (const Violation& one : violations) {
    if (&one - violations.data() == kToldMax)
      return text + "and " + std::to_string(violations.size() - kToldMax) + " more\n";
    text += "invariant " + std::to_string(one.invariant) + ": " + one.what + "\n";
  }
  return text;
}

Violations check_slots(const std::vector<SlotFinding>& slots) {
  Violations violations;
  for (const SlotFinding& slot : slots) {
    const std::string name = std::string("slot ") + slot.slot;
    if (slot.was_started && !slot.is_whole) violations.push_back({1, name + " starts, but holds no whole image"});
    if (slot.must_be_same && !slot.is_same) violations.push_back({2, name + " runs and was written"});
  }
  return violations;
}

Violations check_complete(const std::vector<const TreeListing*>& sides, const TreeListing& now) {
  const auto is_folder = [](const std::string& line) { return line.starts_with("mode=4"); };
  Violations violations;
  struct Known {
    std::size_t sides = 0;
    bool folder = false;
    bool file = false;
  };
  std::map<std::string, Known> known;
  for (const TreeListing* const side : sides) {
    for (const auto& [path, line] : *side) {
      Known& one = known[path];
      ++one.sides;
      (is_folder(line) ? one.folder : one.file) = true;
    }
  }
  for (const auto& [path, line] : now) {
    if (!known.contains(path)) violations.push_back({3, path + " came up: " + line});
  }
  for (const auto& [path, one] : known) {
    const auto found = now.find(path);
    if (found == now.end()) {
      // What changes its type is away for a moment.
      if (one.sides == sides.size() && !(one.folder && one.file)) violations.push_back({3, path + " is missing"});
      continue;
    }
    bool complete = is_folder(found->second);
    for (const TreeListing* const side : sides) {
      const auto line = side->find(path);
      complete = complete || (line != side->end() && line->second == found->second);
    }
    if (!complete) violations.push_back({3, path + " is neither old nor new: " + found->second});
  }
  return violations;
}

Violations check_log(const std::vector<std::string>& lines, const std::string& log) {
  Violations violations;
  const std::string text = "\n" + log;
  std::size_t from = 0;
  for (const std::string& line : lines) {
    const std::string whole = "\n" + line + "\n";
    const std::size_t at = text.find(whole, from);
    if (at == std::string::npos) {
      violations.push_back({3, "log entry is gone or out of order: " + line});
      continue;
    }
    from = at + whole.size() - 1;
    if (text.find(whole, from) != std::string::npos) violations.push_back({3, "log entry is there twice: " + line});
  }
  return violations;
}

Violations check_exact(const TreeListing& wanted, const TreeListing& now) {
  const std::string text = difference(wanted, now);
  if (text.empty()) return {};
  return {{4, "the configuration is not the one of the original firmware:\n" + text}};
}

}  // namespace slotkeeper::test

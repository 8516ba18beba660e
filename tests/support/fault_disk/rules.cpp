#include "tests/support/fault_disk/rules.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace slotkeeper::test {
namespace {

using namespace std::string_view_literals;

constexpr std::array kActions = {
    std::pair{"error"sv, FaultAction::error},         std::pair{"torn"sv, FaultAction::torn},
    std::pair{"flip"sv, FaultAction::flip},           std::pair{"lose"sv, FaultAction::lose},
    std::pair{"misdirect"sv, FaultAction::misdirect}, std::pair{"delay"sv, FaultAction::delay}};
constexpr std::array kCalls = {std::pair{"read"sv, DiskCall::read}, std::pair{"write"sv, DiskCall::write},
                               std::pair{"flush"sv, DiskCall::flush}, std::pair{"discard"sv, DiskCall::discard}};

template <class Table>
auto look_up(const Table& table, std::string_view name) {
  const auto row = std::ranges::find(table, name, [](const auto& pair) { return pair.first; });
  if (row == table.end()) throw std::invalid_argument("unknown word " + std::string(name));
  return row->second;
}

template <class Table, class Value>
std::string name_in(const Table& table, Value value) {
  return std::string(std::ranges::find(table, value, [](const auto& pair) { return pair.second; })->first);
}

std::uint64_t number_in(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end != text.data() + text.size()) {
    throw std::invalid_argument("not a number: " + std::string(text));
  }
  return value;
}

bool is_possible(const FaultRule& rule) {
  switch (rule.action) {
    case FaultAction::error:
    case FaultAction::delay:
      return true;
    case FaultAction::torn:
    case FaultAction::misdirect:
      return rule.call == DiskCall::write;
    case FaultAction::flip:
      return rule.call == DiskCall::write || rule.call == DiskCall::read;
    case FaultAction::lose:
      return rule.call != DiskCall::read;
  }
  return false;
}

void set(FaultRule& rule, std::string_view name, std::string_view value) {
  if (name == "disk") {
    rule.disk = value;
  } else if (name == "errno") {
    rule.error_number = static_cast<int>(number_in(value));
  } else {
    const std::array<std::pair<std::string_view, std::uint64_t*>, 8> members = {{{"from", &rule.from},
                                                                                 {"to", &rule.to},
                                                                                 {"skip", &rule.skip},
                                                                                 {"count", &rule.count},
                                                                                 {"sectors", &rule.sectors},
                                                                                 {"bit", &rule.bit},
                                                                                 {"shift", &rule.shift},
                                                                                 {"ms", &rule.milliseconds}}};
    *look_up(members, name) = number_in(value);
  }
}

FaultRule parse_rule(const std::string& line) {
  std::istringstream words(line);
  std::string action;
  std::string call;
  words >> action >> call;
  FaultRule rule;
  rule.action = look_up(kActions, action);
  rule.call = look_up(kCalls, call);
  for (std::string word; words >> word;) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos) throw std::invalid_argument("not NAME=VALUE: " + word);
    set(rule, std::string_view(word).substr(0, equals), std::string_view(word).substr(equals + 1));
  }
  if (!is_possible(rule)) throw std::invalid_argument("there is no such fault for this call");
  return rule;
}

}  // namespace

std::string FaultRule::print() const {
  std::string text = name_in(kActions, action) + " " + name_in(kCalls, call);
  if (!disk.empty()) text += " disk=" + disk;
  const auto add = [&](const char* name, std::uint64_t value) { text += std::string(name) + std::to_string(value); };
  add(" from=", from);
  add(" to=", to);
  add(" skip=", skip);
  add(" count=", count);
  add(" errno=", static_cast<std::uint64_t>(error_number));
  add(" sectors=", sectors);
  add(" bit=", bit);
  add(" shift=", shift);
  add(" ms=", milliseconds);
  return text;
}

std::vector<FaultRule> parse_rules(std::string_view text) {
  std::vector<FaultRule> rules;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    if (line.find_first_not_of(" \t") == std::string::npos || line.front() == '#') continue;
    try {
      rules.push_back(parse_rule(line));
    } catch (const std::invalid_argument& problem) {
      throw std::invalid_argument("\"" + line + "\": " + problem.what());
    }
  }
  return rules;
}

std::string print_rules(const std::vector<FaultRule>& rules) {
  std::string text;
  for (const FaultRule& rule : rules) text += rule.print() + "\n";
  return text;
}

bool FaultRules::matches(const FaultRule& rule, const Call& call) {
  if (rule.call != call.call || (!rule.disk.empty() && rule.disk != call.disk)) return false;
  return call.call == DiskCall::flush || (call.offset < rule.to && rule.from < call.offset + call.length);
}

FaultRules::Decision FaultRules::decide(const Call& call) {
  Decision decision;
  for (std::size_t i = 0; i < rules_.size(); ++i) {
    const FaultRule& rule = rules_[i];
    if (!matches(rule, call)) continue;
    const std::uint64_t number = seen_[i]++;
    if (number < rule.skip || number - rule.skip >= rule.count) continue;
    if (rule.action == FaultAction::delay) {
      decision.milliseconds += rule.milliseconds;
      continue;
    }
    decision.fault = rule;
    return decision;
  }
  return decision;
}

std::vector<std::uint64_t> FaultRules::struck() const {
  std::vector<std::uint64_t> times;
  for (std::size_t i = 0; i < rules_.size(); ++i) {
    const std::uint64_t past_skip = seen_[i] > rules_[i].skip ? seen_[i] - rules_[i].skip : 0;
    times.push_back(std::min(past_skip, rules_[i].count));
  }
  return times;
}

}  // namespace slotkeeper::test

#include "tests/support/played_systemd_boot.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <tuple>
#include <vector>

namespace slotkeeper::test {
namespace {

/// Key and value of every line that has both.
std::vector<std::pair<std::string, std::string>> lines_of(const std::string& content) {
  std::vector<std::pair<std::string, std::string>> lines;
  const std::string text = content.substr(0, content.find('\0'));
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find_first_of("\r\n", at), text.size());
    std::string line = text.substr(at, end - at);
    at = end + 1;
    line.erase(0, std::min(line.find_first_not_of(" \t"), line.size()));
    line.erase(std::min(line.find_last_not_of(" \t") + 1, line.size()));
    if (line.empty() || line.front() == '#') continue;
    const std::size_t word = line.find_first_of(" \t");
    if (word == std::string::npos) continue;
    lines.emplace_back(line.substr(0, word), line.substr(line.find_first_not_of(" \t", word)));
  }
  return lines;
}

struct Entry {
  std::string id;  ///< file name
  std::string sort_key;
  bool has_sort_key = false;
  bool starts = false;
  std::optional<unsigned int> left;
  unsigned int done = 0;
};

void parse_counter(Entry& entry) {
  const std::size_t plus = entry.id.rfind('+');
  if (plus == std::string::npos) return;
  unsigned int left = 0;
  unsigned int done = 0;
  int length = 0;
  const char* text = entry.id.c_str() + plus + 1;
  const bool both = std::sscanf(text, "%u-%u.conf%n", &left, &done, &length) == 2 && text[length] == '\0' && length > 0;
  if (!both) {
    done = 0;
    length = 0;
    if (std::sscanf(text, "%u.conf%n", &left, &length) != 1 || length == 0 || text[length] != '\0') return;
  }
  entry.left = left;
  entry.done = done;
}

std::optional<Entry> parse(const std::string& file, const std::string& content) {
  if (file.size() < 5 || file.substr(file.size() - 5) != ".conf") return std::nullopt;
  Entry entry;
  entry.id = file;
  for (const auto& [key, value] : lines_of(content)) {
    if (key == "sort-key") {
      entry.sort_key = value;
      entry.has_sort_key = true;
    } else if (key == "linux" || key == "efi") {
      entry.starts = true;
    } else if (key == "architecture" && value != "x64") {
      return std::nullopt;
    }
  }
  if (!entry.starts) return std::nullopt;
  parse_counter(entry);
  return entry;
}

/// Sweeps ask for the same few texts again and again.
const std::optional<Entry>& parsed(const std::string& file, const std::string& content) {
  thread_local std::map<std::pair<std::string, std::string>, std::optional<Entry>> known;
  const auto [place, is_new] = known.try_emplace({file, content});
  if (is_new) place->second = parse(file, content);
  return place->second;
}

bool comes_before(const Entry& one, const Entry& another) {
  const auto group = [](const Entry& entry) {
    return std::tuple(entry.left == 0U, !entry.has_sort_key, entry.has_sort_key ? entry.sort_key : "");
  };
  if (group(one) != group(another)) return group(one) < group(another);
  return ::strverscmp(one.id.c_str(), another.id.c_str()) > 0;  // our names have no '~' or '^', where it differs
}

}  // namespace

std::optional<std::string> taken_entry(const EntryFiles& files) {
  std::optional<Entry> best;
  for (const auto& [file, content] : files) {
    const auto& entry = parsed(file, content);
    if (!entry || !entry->id.starts_with("slotkeeper-")) continue;
    if (!best || comes_before(*entry, *best)) best = entry;
  }
  return best ? std::optional(best->id) : std::nullopt;
}

std::optional<std::string> play_start(EntryFiles& files) {
  const auto taken = taken_entry(files);
  if (!taken) return taken;
  const auto& entry = parsed(*taken, files.at(*taken));
  if (!entry->left) return taken;
  const unsigned int left = *entry->left == 0 ? 0 : *entry->left - 1;
  const std::string name =
      taken->substr(0, taken->rfind('+') + 1) + std::to_string(left) + "-" + std::to_string(entry->done + 1) + ".conf";
  if (files.count(name) != 0) return taken;  // it starts it all the same
  auto node = files.extract(*taken);
  node.key() = name;
  files.insert(std::move(node));
  return name;
}

std::string slot_started_by(const std::string& content) {
  for (const auto& [key, value] : lines_of(content)) {
    const std::size_t at = value.find("slotkeeper.slot=");
    if (key == "options" && at != std::string::npos) return value.substr(at + 16, 1);
  }
  return "";
}

}  // namespace slotkeeper::test

#include "partitions/permanent/forecast_advice.hpp"

#include <algorithm>

namespace slotkeeper::permanent {
namespace {

bool may_go(ClassKind kind) { return kind == ClassKind::log || kind == ClassKind::disposable; }

constexpr std::uint64_t kMebibyte = std::uint64_t{1} << 20U;

/// Tenths of MiB; KiB below one.
std::string amount_text(std::uint64_t bytes) {
  if (bytes < kMebibyte) return std::to_string((bytes + 1023) / 1024) + " KiB";
  const std::uint64_t tenths = bytes / kMebibyte * 10 + bytes % kMebibyte * 10 / kMebibyte;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " MiB";
}

std::vector<RemovableFile> removable_files(const CompactionPlan& plan, const ClassTable& classes, Amount& sum) {
  std::vector<std::pair<std::uint32_t, std::uint64_t>> freed;  // entry, bytes
  freed.reserve(plan.actions.size());
  for (const CompactionAction& action : plan.actions) freed.emplace_back(action.entry, action.frees.bytes);
  std::ranges::sort(freed);
  auto next = freed.begin();
  std::vector<RemovableFile> files;
  const auto larger = [](const RemovableFile& a, const RemovableFile& b) {
    return a.bytes != b.bytes ? a.bytes > b.bytes : a.path < b.path;
  };
  for (std::size_t i = 0; i < plan.inventory.entries.size(); ++i) {
    const bool is_planned = next != freed.end() && next->first == i;
    const std::uint64_t frees = is_planned ? (next++)->second : 0;
    const Entry entry = plan.inventory.entries[i];
    if (!may_go(entry.kind) || entry.status.type != io::EntryType::regular || entry.status.links != 1) continue;
    if (is_planned && frees >= entry.status.allocated_bytes) continue;  // compaction removes it
    const std::uint64_t left = entry.status.allocated_bytes - frees;
    sum.bytes += left;
    ++sum.inodes;
    files.push_back({.path = entry.path, .class_name = classes.rule_at(entry.rule).name, .bytes = left});
    std::ranges::push_heap(files, larger);
    if (files.size() <= kAdvisedFilesMax) continue;
    std::ranges::pop_heap(files, larger);  // the smallest of them
    files.pop_back();
  }
  std::ranges::sort(files, larger);
  return files;
}

}  // namespace

Advice advise(const Forecast& forecast, const ClassTable& classes, const CompactionPlan& plan) {
  Advice advice;
  advice.to_free = forecast.shortfall();
  if (advice.to_free.bytes == 0 && advice.to_free.inodes == 0) return advice;
  advice.files = removable_files(plan, classes, advice.removable);
  if (advice.to_free.inodes == 0) {
    // No more files than it takes.
    std::uint64_t sum = 0;
    const auto last = std::ranges::find_if(advice.files, [&](const RemovableFile& file) {
      sum += file.bytes;
      return sum >= advice.to_free.bytes;
    });
    if (last != advice.files.end()) advice.files.erase(last + 1, advice.files.end());
  }
  for (const auto& [name, totals] : plan.inventory.classes) {
    const auto rule = std::ranges::find(classes.rules, name, &ClassRule::name);
    const ClassKind kind = rule == classes.rules.end() ? ClassKind::config : rule->kind;
    if (!may_go(kind) && totals.files > 0) advice.staying.push_back({.name = name, .kind = kind, .totals = totals});
  }
  std::ranges::stable_sort(advice.staying, std::ranges::greater(),
                           [](const StayingClass& staying) { return staying.totals.bytes; });
  return advice;
}

std::string sentence_of(const Advice& advice) {
  if (advice.to_free.bytes == 0 && advice.to_free.inodes == 0) return "";
  std::string text = "to pass, free ";
  // Upwards, so that who frees what stands here is done.
  const std::uint64_t tenths =
      (advice.to_free.bytes / kMebibyte) * 10 + (advice.to_free.bytes % kMebibyte * 10 + kMebibyte - 1) / kMebibyte;
  const std::uint64_t bytes =
      advice.to_free.bytes < kMebibyte ? advice.to_free.bytes : (tenths * (kMebibyte / 2) + 4) / 5;
  if (bytes != 0) text += amount_text(bytes);
  if (advice.to_free.inodes != 0) {
    text += (advice.to_free.bytes != 0 ? " and " : "") + std::to_string(advice.to_free.inodes) + " files";
  }
  if (advice.files.empty()) {
    text += "; but there are no logs or packages left that may be deleted";
  } else {
    text +=
        advice.is_enough() ? ": export and delete " : ": exporting and deleting logs is not enough, the largest are ";
    std::string list;
    std::uint64_t listed = 0;
    for (const RemovableFile& file : advice.files) {
      list += (list.empty() ? "" : ", ") + file.path + " (" + file.class_name + ", " + amount_text(file.bytes) + ")";
      listed += file.bytes;
    }
    text += list;
    if (advice.is_enough() && (listed < advice.to_free.bytes || advice.files.size() < advice.to_free.inodes)) {
      text += " and smaller ones";
    }
  }
  std::string stays;
  for (const StayingClass& staying : advice.staying) {
    stays += (stays.empty() ? "; must stay: " : ", ") + staying.name + " (" +
             (staying.name == name_of(staying.kind) ? "" : std::string(name_of(staying.kind)) + ", ") +
             amount_text(staying.totals.bytes) + ")";
  }
  return text + stays;
}

}  // namespace slotkeeper::permanent

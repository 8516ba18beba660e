#include "engine/cli/tables.hpp"

#include "engine/cli/cells.hpp"
#include "engine/cli/figures.hpp"
#include "engine/cli/forecast_table.hpp"

namespace slotkeeper::cli {
namespace {

constexpr std::size_t kDigestDigits = 16;  // enough to compare by eye; --json has all of them

std::string verdict_of(const Json& status) {
  std::string verdict = "It is not known which slot runs";
  if (const JsonObject* slots = member(status, "slots").as_object())
    for (const auto& [name, slot] : *slots)
      if (is_true(member(slot, "booted"))) {
        verdict = "Slot " + name + " runs";
        const std::string version = text_of(member(slot, "version"), "");
        if (!version.empty()) verdict += " version " + version;
      }
  const Json& transaction = member(status, "transaction");
  if (transaction.as_object() == nullptr) return verdict + "; no update is under way.";
  return verdict + "; an update to version " + text_of(member(transaction, "version")) + " in slot " +
         text_of(member(transaction, "target")) + " is " + text_of(member(transaction, "state")) + ".";
}

Lines slots_table(const JsonObject& slots) {
  TextTable table{{false, false, false, false, false, true, false, false},
                  {{"SLOT", "VERSION", "HEALTH", "RUNS", "NEXT", "TRIES", "BASELINE", "MANIFEST"}}};
  for (const auto& [name, slot] : slots) {
    table.rows.push_back({name, text_of(member(slot, "version")), text_of(member(slot, "health")),
                          text_of(member(slot, "booted")), text_of(member(slot, "primary")),
                          text_of(member(slot, "tries_left")), text_of(member(slot, "baseline")),
                          text_of(member(slot, "manifest_sha256")).substr(0, kDigestDigits)});
  }
  return table.lines();
}

Lines permanent_lines(const Json& permanent) {
  Lines lines;
  lines.push_back("Permanent partition " + text_of(member(permanent, "path")));
  lines.push_back("  " + text_of(member(permanent, "fill_percent")) +
                  " % full: " + bytes_of(member(permanent, "used_bytes")) + " of " +
                  bytes_of(member(permanent, "capacity_bytes")) + ", " + text_of(member(permanent, "inodes_used")) +
                  " of " + text_of(member(permanent, "inodes")) + " inodes");
  lines.push_back("  configuration checksum " + text_of(member(permanent, "root_sha256")).substr(0, kDigestDigits));
  const JsonObject* classes = member(permanent, "classes").as_object();
  if (classes == nullptr || classes->empty()) return lines;
  TextTable table{{false, true, true}, {{"  CLASS", "FILES", "SIZE"}}};
  for (const auto& [name, totals] : *classes)
    table.rows.push_back({"  " + name, text_of(member(totals, "files")), bytes_of(member(totals, "bytes"))});
  append(lines, table.lines());
  return lines;
}

Lines status_lines(const Json& status) {
  Lines lines = {verdict_of(status)};
  if (const JsonObject* slots = member(status, "slots").as_object()) {
    lines.emplace_back();
    append(lines, slots_table(*slots));
  }
  const Json& transaction = member(status, "transaction");
  if (transaction.as_object() != nullptr) {
    lines.emplace_back();
    lines.push_back("Transaction " + text_of(member(transaction, "id")));
  }
  if (member(status, "permanent").as_object() != nullptr) {
    lines.emplace_back();
    append(lines, permanent_lines(member(status, "permanent")));
  }
  if (const JsonArray* weaker = member(status, "weaker").as_array(); weaker != nullptr && !weaker->empty()) {
    lines.emplace_back();
    lines.emplace_back("Weaker on this device:");
    for (const Json& sentence : *weaker) lines.push_back(wrap("  - ", text_of(sentence)));
  }
  return lines;
}

Lines history_lines(const JsonArray& transactions) {
  if (transactions.empty()) return {"No transaction yet."};
  TextTable table{{false, false, false, false, false}, {{"ENDED", "OUTCOME", "FROM", "TO", "REASON"}}};
  for (const Json& entry : transactions)
    table.rows.push_back({text_of(member(entry, "ended")), text_of(member(entry, "outcome")),
                          text_of(member(entry, "from")), text_of(member(entry, "to")),
                          text_of(member(entry, "code"), "")});
  return table.lines();
}

}  // namespace

std::vector<std::string> table_of(std::string_view command, const JsonObject& extra) {
  const Json members(extra);
  if (command == "status" && !extra.empty()) return status_lines(members);
  if (command == "preflight") return verdict_lines(member(members, "forecast"));
  if (command == "history")
    if (const JsonArray* transactions = member(members, "transactions").as_array()) return history_lines(*transactions);
  return {};
}

}  // namespace slotkeeper::cli

#include "engine/cli/forecast_table.hpp"

#include "engine/cli/cells.hpp"
#include "engine/cli/figures.hpp"

namespace slotkeeper::cli {
namespace {

Lines classes_table(const Json& forecast) {
  TextTable table{{false, false, true, true, true}, {{"  CLASS", "KIND", "FILES", "HOLDS", "COMPACTION FREES"}}};
  const JsonObject* classes = member(forecast, "classes").as_object();
  if (classes == nullptr) return {};
  for (const auto& [name, row] : *classes) {
    const Json& frees = member(row, "frees_bytes");
    table.rows.push_back({"  " + name, text_of(member(row, "kind")), text_of(member(row, "files")),
                          bytes_of(member(row, "bytes")), number_of(frees) == 0 ? "-" : bytes_of(frees)});
  }
  table.rows.push_back({"  (filesystem)", "", "", bytes_of(member(forecast, "other_bytes")), "-"});
  return table.lines();
}

/// One row of bytes and files; files are left out where they are 0 and `always` is false.
std::vector<std::string> row_of(std::string name, const Json& amount, bool always = false) {
  const std::uint64_t files = number_of(member(amount, "inodes"));
  return {"  " + std::move(name), bytes_of(member(amount, "bytes")),
          files == 0 && !always ? "" : std::to_string(files)};
}

Json amount(const Json& bytes, std::uint64_t inodes) { return JsonObject{{"bytes", bytes}, {"inodes", inodes}}; }

std::string live_writes_name(const Json& forecast) {
  const Json& rate = member(forecast, "write_rate");
  if (rate.is_null()) return "writing of the live system (not measured)";
  return "writing of the live system: " + format_bytes(number_of(member(rate, "bytes_per_s"))) + "/s for " +
         text_of(member(forecast, "duration_s")) + " s";
}

Lines room_table(const Json& forecast) {
  const std::uint64_t inodes = number_of(member(forecast, "inodes"));
  const std::uint64_t inodes_used = number_of(member(forecast, "inodes_used"));
  const bool counted = inodes != 0;  // else the filesystem has no fixed number of files
  const Json& needs = member(forecast, "needs");
  TextTable table{{false, true, true}, {{"  ROOM", "BYTES", "FILES"}}};
  table.rows.push_back(row_of("capacity", amount(member(forecast, "capacity_bytes"), inodes)));
  table.rows.push_back(row_of("used", amount(member(forecast, "used_bytes"), counted ? inodes_used : 0)));
  if (number_of(member(forecast, "reserved_bytes")) != 0) {
    table.rows.push_back(row_of("reserved for root", amount(member(forecast, "reserved_bytes"), 0)));
  }
  table.rows.push_back(row_of("available", amount(member(forecast, "available_bytes"), inodes - inodes_used), counted));
  table.rows.push_back(row_of("compaction frees", member(forecast, "frees")));
  Json after = member(forecast, "available_after");
  if (!counted && after.as_object() != nullptr) after.set("inodes", 0);
  table.rows.push_back(row_of("available after compaction", after, counted));
  table.rows.push_back({"", "", ""});
  table.rows.push_back({"  NEED", "", ""});
  table.rows.push_back(row_of("reserve for a rollback", member(needs, "rollback_reserve")));
  table.rows.push_back(row_of("events of the update", member(needs, "events")));
  table.rows.push_back(row_of("log entries ([permanent] reserve)", member(needs, "log_reserve")));
  table.rows.push_back(row_of("migration of the configuration", member(needs, "migration")));
  table.rows.push_back(row_of(live_writes_name(forecast), member(needs, "live_writes")));
  table.rows.push_back(row_of("at the peak", member(needs, "peak")));
  return table.lines();
}

/// As format_bytes, but upwards, so that who frees what stands here is done.
std::string rounded_up(std::uint64_t bytes) {
  std::uint64_t unit = 1;
  while (bytes / unit >= 1024 && unit < std::uint64_t{1} << 40U) unit *= 1024;
  return format_bytes(bytes + (unit == 1 ? 0 : (unit + 9) / 10 - 1));
}

std::string to_free_text(const Json& to_free) {
  const std::uint64_t files = number_of(member(to_free, "inodes"));
  std::string text;
  if (const std::uint64_t bytes = number_of(member(to_free, "bytes")); bytes != 0) text = rounded_up(bytes);
  if (files != 0) text += (text.empty() ? "" : " and ") + std::to_string(files) + " files";
  return text;
}

Lines may_go_table(const JsonArray& may_go) {
  TextTable table{{false, false, true}, {{"  FILE", "CLASS", "FREES"}}};
  for (const Json& file : may_go) {
    table.rows.push_back(
        {"  " + text_of(member(file, "path")), text_of(member(file, "class")), bytes_of(member(file, "bytes"))});
  }
  return table.lines();
}

}  // namespace

std::vector<std::string> forecast_lines(const Json& forecast) {
  if (forecast.as_object() == nullptr) return {};
  Lines lines = {"Permanent partition"};
  append(lines, classes_table(forecast));
  lines.emplace_back();
  append(lines, room_table(forecast));
  lines.emplace_back();
  return lines;
}

std::vector<std::string> verdict_lines(const Json& forecast) {
  const std::string decides = text_of(member(forecast, "decides"), "");
  if (decides.empty()) return {};
  Lines lines = {"", "The gate '" + decides + "' decides."};
  const std::string amount = to_free_text(member(forecast, "to_free"));
  if (amount.empty()) return lines;
  const JsonArray* may_go = member(forecast, "may_go").as_array();
  const Json& total = member(forecast, "may_go_total");
  if (may_go == nullptr || may_go->empty()) {
    lines.push_back("To pass, free " + amount + "; but there is nothing left that may be deleted.");
  } else {
    lines.push_back("To pass, free " + amount + ". Export these, then delete them:");
    append(lines, may_go_table(*may_go));
    const std::uint64_t shown = may_go->size();
    const std::uint64_t files = number_of(member(total, "inodes"));
    if (files > shown) {
      lines.push_back("  in all " + std::to_string(files) + " files with " + bytes_of(member(total, "bytes")) +
                      " may be deleted");
    }
  }
  std::string stays;
  if (const JsonArray* staying = member(forecast, "must_stay").as_array()) {
    for (const Json& one : *staying) {
      const std::string name = text_of(member(one, "class"));
      const std::string kind = text_of(member(one, "kind"));
      stays += (stays.empty() ? "" : ", ") + name + " (" + (kind == name ? "" : kind + ", ") +
               bytes_of(member(one, "bytes")) + ")";
    }
  }
  if (!stays.empty()) lines.push_back(wrap("Must stay: ", stays));
  return lines;
}

}  // namespace slotkeeper::cli

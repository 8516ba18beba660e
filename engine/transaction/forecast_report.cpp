#include "engine/transaction/forecast_report.hpp"

#include <algorithm>

namespace slotkeeper {
namespace {

Json amount(const permanent::Amount& amount) { return JsonObject{{"bytes", amount.bytes}, {"inodes", amount.inodes}}; }

JsonObject classes_of(const PreflightReport& report, const permanent::ClassTable& classes) {
  const auto& frees = report.compaction.frees_by_class;
  JsonObject rows;
  for (const auto& [name, totals] : report.inventory().classes) {
    const auto rule = std::ranges::find(classes.rules, name, &permanent::ClassRule::name);
    const auto kind = rule == classes.rules.end() ? permanent::ClassKind::config : rule->kind;
    const auto found = frees.find(name);
    const permanent::Amount freed = found == frees.end() ? permanent::Amount{} : found->second;
    rows.emplace_back(escape_bytes(name), JsonObject{{"kind", permanent::name_of(kind)},
                                                     {"files", totals.files},
                                                     {"bytes", totals.bytes},
                                                     {"inodes", totals.inodes},
                                                     {"frees_bytes", freed.bytes},
                                                     {"frees_inodes", freed.inodes}});
  }
  return rows;
}

/// What the filesystem uses and no class holds: its own tables, directories of nobody.
std::uint64_t held_by_nobody(const PreflightReport& report) {
  std::uint64_t held = 0;
  for (const auto& [name, totals] : report.inventory().classes) held += totals.bytes;
  const std::uint64_t used = report.forecast.input.space.used_bytes();
  return used > held ? used - held : 0;
}

JsonObject needs_of(const permanent::Forecast& forecast) {
  const auto& input = forecast.input;
  return JsonObject{{"rollback_reserve", amount(input.rollback_reserve)},
                    {"events", amount(input.event_reserve)},
                    {"log_reserve", amount({.bytes = input.log_reserve_bytes, .inodes = 0})},
                    {"migration", amount(input.migration_headroom)},
                    {"live_writes", amount({.bytes = forecast.growth_bytes, .inodes = 0})},
                    {"peak", amount(forecast.peak)}};
}

Json write_rate_of(const PreflightReport& report) {
  if (!report.write_rate) return {};
  const auto& rate = *report.write_rate;
  return JsonObject{{"bytes_per_s", rate.bytes_per_s()},
                    {"device_bytes_per_s", rate.device ? Json(*rate.device) : Json()},
                    {"blocks_bytes_per_s", rate.blocks},
                    {"logs_bytes_per_s", rate.logs},
                    {"measured_ms", rate.measured_over.count()}};
}

}  // namespace

JsonObject forecast_members(const PreflightReport& report, const permanent::ClassTable& classes) {
  const permanent::Forecast& forecast = report.forecast;
  const io::SpaceFacts& space = forecast.input.space;
  const std::uint64_t reserved = forecast.input.reserved_bytes.value_or(space.free_bytes - space.available_bytes);
  JsonArray may_go;
  for (const auto& file : report.advice.files) {
    may_go.emplace_back(
        JsonObject{{"path", escape_bytes(file.path)}, {"class", escape_bytes(file.class_name)}, {"bytes", file.bytes}});
  }
  JsonArray must_stay;
  for (const auto& staying : report.advice.staying) {
    must_stay.emplace_back(JsonObject{{"class", escape_bytes(staying.name)},
                                      {"kind", permanent::name_of(staying.kind)},
                                      {"bytes", staying.totals.bytes}});
  }
  const auto* refusal = report.first_refusal();
  return JsonObject{
      {"capacity_bytes", space.capacity_bytes},
      {"used_bytes", space.used_bytes()},
      {"reserved_bytes", reserved},
      {"available_bytes", space.available_bytes},
      {"inodes", space.inodes},
      {"inodes_used", space.inodes - space.inodes_free},
      {"classes", classes_of(report, classes)},
      {"other_bytes", held_by_nobody(report)},
      {"frees", amount(forecast.input.reclaimable)},
      {"available_after", amount(forecast.available)},
      {"used_after_bytes", forecast.used_after_bytes},
      {"needs", needs_of(forecast)},
      {"write_rate", write_rate_of(report)},
      {"duration_s", forecast.input.expected_duration_s},
      {"decides", refusal == nullptr ? Json() : Json(info(refusal->code).name)},
      {"to_free", amount(report.advice.to_free)},
      {"may_go", std::move(may_go)},
      {"may_go_total", amount(report.advice.removable)},
      {"must_stay", std::move(must_stay)},
  };
}

}  // namespace slotkeeper

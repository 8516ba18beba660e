#include "engine/transaction/facts.hpp"

#include "engine/transaction/record_json.hpp"

namespace slotkeeper {
namespace {

using namespace record_json;

JsonArray json_of(const std::vector<PackageFailures>& failures) {
  JsonArray list;
  for (const auto& package : failures) {
    list.emplace_back(JsonObject{{"manifest-sha256", package.manifest.hex()},
                                 {"version", escape_bytes(package.version)},
                                 {"count", package.count},
                                 {"transaction", package.transaction},
                                 {"code", package.code},
                                 {"last", package.last}});
  }
  return list;
}

Result<std::vector<PackageFailures>> read_failures(const Json* value) {
  std::vector<PackageFailures> failures;
  if (value == nullptr) return failures;
  if (value->as_array() == nullptr || value->as_array()->size() > kFailingPackagesMax) {
    return make_error(Errc::corrupt, "failures is not a list of at most " + std::to_string(kFailingPackagesMax));
  }
  for (const auto& item : *value->as_array()) {
    JsonReader reader(item, "failures");
    PackageFailures package;
    SK_TRY_ASSIGN(package.manifest, reader.digest("manifest-sha256"));
    SK_TRY_ASSIGN(package.version, read_text(reader, "version"));
    SK_TRY_ASSIGN(const auto count, reader.integer("count", 1, UINT32_MAX));
    package.count = static_cast<std::uint32_t>(count);
    SK_TRY_ASSIGN(package.transaction, reader.string("transaction"));
    SK_TRY_ASSIGN(package.code, reader.string("code"));
    SK_TRY_ASSIGN(package.last, reader.string("last"));
    SK_TRY(reader.finish());
    failures.push_back(std::move(package));
  }
  return failures;
}

}  // namespace

std::string_view name_of(BaselineOrigin origin) {
  switch (origin) {
    case BaselineOrigin::adopted:
      return "adopted";
    case BaselineOrigin::factory:
      return "factory";
    case BaselineOrigin::bundle:
      return "bundle";
  }
  return "adopted";
}

std::string print_facts(const DeviceFacts& facts) {
  return Json(JsonObject{{"facts", kRecordVersion},
                         {"confirmed", name_of(facts.confirmed)},
                         {"A", facts.a ? json_of(*facts.a) : Json()},
                         {"B", facts.b ? json_of(*facts.b) : Json()},
                         {"snapshot-of", facts.snapshot_of ? Json(*facts.snapshot_of) : Json()},
                         {"saved-aside", facts.saved_aside},
                         {"activated-boot-id", facts.activated_boot_id},
                         {"floor", json_of(facts.floor)},
                         {"failures", json_of(facts.failures)}})
      .print();
}

Result<DeviceFacts> parse_facts(const std::string& payload) {
  const auto parse = [&]() -> Result<DeviceFacts> {
    SK_TRY_ASSIGN(const auto json, Json::parse(payload, kPayloadMax));
    JsonReader reader(json, "facts");
    SK_TRY_ASSIGN(const auto version, reader.integer("facts", 1, kIntegerMax));
    if (version != kRecordVersion) {
      return make_error(Errc::foreign_record, "version " + std::to_string(version) + " is unknown");
    }
    DeviceFacts facts;
    SK_TRY_ASSIGN(facts.confirmed, read_slot(reader, "confirmed"));
    for (const SlotId slot : {SlotId::a, SlotId::b}) {
      const Json* baseline = reader.optional_member(name_of(slot));
      if (baseline == nullptr || baseline->is_null()) continue;
      SK_TRY_ASSIGN(facts[slot], read_baseline(*baseline));
    }
    if (const Json* kept = reader.optional_member("snapshot-of"); kept != nullptr && kept->as_string() != nullptr) {
      facts.snapshot_of = *kept->as_string();
    }
    SK_TRY_ASSIGN(facts.saved_aside, read_later_boolean(reader, "saved-aside"));
    SK_TRY_ASSIGN(facts.activated_boot_id, reader.string("activated-boot-id"));
    SK_TRY_ASSIGN(facts.floor, read_floor(reader.optional_member("floor")));
    SK_TRY_ASSIGN(facts.failures, read_failures(reader.optional_member("failures")));
    SK_TRY(reader.finish());
    return facts;
  };
  auto facts = parse();
  if (!facts.has_value()) return as_record_error(std::move(facts).assume_error(), "facts record");
  return facts;
}

}  // namespace slotkeeper

// The manifest source of `bundle create`.
#include <algorithm>
#include <limits>

#include "engine/bundle/manifest.hpp"
#include "engine/bundle/version.hpp"
#include "engine/configuration/configuration.hpp"
#include "engine/configuration/toml_document.hpp"
#include "engine/configuration/toml_reader.hpp"
#include "engine/json/json.hpp"

namespace slotkeeper {
namespace {

constexpr std::int64_t kNumberMax = std::numeric_limits<std::int32_t>::max();

// What versions and device names may look like: they are printed and compared, never used as paths.
std::optional<std::string> name_problem(const std::string& name) {
  if (name.empty()) return "must not be empty";
  if (name.size() > bundle::kNameMaxBytes) return "is longer than " + std::to_string(bundle::kNameMaxBytes) + " bytes";
  if (escape_bytes(name) != name) return "must not hold control characters or backslashes";
  return std::nullopt;
}

Result<std::vector<std::string>> read_compatible(const TomlTable& document) {
  std::vector<std::string> names;
  if (!document.has("compatible")) return document.missing("compatible");
  if (auto single = document.string("compatible"); single.has_value()) {
    names.push_back(*single.assume_value());
  } else {
    auto list = document.strings("compatible");
    if (list.has_error()) return document.wrong("compatible", "must be a string or a list of strings");
    names = *std::move(list).assume_value();
  }
  if (names.empty()) return document.wrong("compatible", "must name at least one device");
  for (const std::string& name : names) {
    if (const auto problem = name_problem(name)) return document.wrong("compatible", *problem);
    if (std::ranges::count(names, name) > 1) return document.wrong("compatible", "\"" + name + "\" stands there twice");
  }
  return names;
}

Result<void> read_group(const TomlTable& document, ManifestSource& source) {
  SK_TRY_ASSIGN(const auto table, document.table("firmware-group"));
  if (!table) return success();
  SK_TRY(table->check_keys({"version", "admits"}));
  bundle::FirmwareGroup group;
  SK_TRY_ASSIGN(group.version, required<std::int64_t>(*table, "version", table->integer("version", 0, kNumberMax)));
  SK_TRY_ASSIGN(group.admits, required<std::vector<std::string>>(*table, "admits", table->strings("admits")));
  if (group.admits.size() > bundle::kAdmitsMax)
    return table->wrong("admits", "more than " + std::to_string(bundle::kAdmitsMax) + " versions");
  for (const std::string& version : group.admits)
    if (const auto problem = name_problem(version)) return table->wrong("admits", *problem);
  if (std::ranges::find(group.admits, source.version) == group.admits.end())
    return table->wrong("admits", "must name the version of this bundle, \"" + source.version + "\", too");
  source.firmware_group = std::move(group);
  return success();
}

Result<void> read_minimum_version(const TomlTable& document, ManifestSource& source) {
  SK_TRY_ASSIGN(source.minimum_version, document.string("minimum-version"));
  if (!source.minimum_version) return success();
  if (source.firmware_group)
    return document.wrong("minimum-version", "and a firmware group exclude each other: the group says what may follow");
  const auto order = bundle::compare_versions(*source.minimum_version, source.version);
  if (!order)
    return document.wrong("minimum-version",
                          "needs versions of numbers and dots, such as \"3.5.1\", here and in version");
  if (*order > 0) return document.wrong("minimum-version", "must not be above the version of this bundle");
  return success();
}

Result<void> read_config(const TomlTable& document, ManifestSource& source) {
  SK_TRY_ASSIGN(const auto config, document.table("config"));
  if (!config) return success();
  SK_TRY(config->check_keys({"schema", "readable-by"}));
  SK_TRY_ASSIGN(source.config_schema, config->integer("schema", 0, kNumberMax));
  SK_TRY_ASSIGN(source.config_readable_by, config->integer("readable-by", 0, kNumberMax));
  if (source.config_readable_by && !source.config_schema)
    return config->wrong("readable-by", "needs the key schema beside it");
  if (source.config_readable_by && *source.config_readable_by > *source.config_schema)
    return config->wrong("readable-by", "must not be greater than schema");
  return success();
}

Result<void> read_engine(const TomlTable& document, ManifestSource& source) {
  SK_TRY_ASSIGN(const auto engine, document.table("engine"));
  if (!engine) return success();
  SK_TRY(engine->check_keys({"records"}));
  SK_TRY_ASSIGN(const auto records, engine->integers("records", 1, kNumberMax));
  if (!records) return success();
  if (records->size() != 2 || (*records)[0] > (*records)[1])
    return engine->wrong("records", "must be the oldest and the newest record version, such as [1, 1]");
  source.records_min = (*records)[0];
  source.records_max = (*records)[1];
  return success();
}

Result<void> read_images(const TomlTable& document, ManifestSource& source) {
  SK_TRY_ASSIGN(const auto tables, document.tables("image"));
  if (tables.empty()) return document.missing("image");
  if (tables.size() > bundle::kImagesMax)
    return document.wrong("image", "more than " + std::to_string(bundle::kImagesMax) + " images");
  for (const TomlTable& table : tables) {
    SK_TRY(table.check_keys({"volume", "file", "encrypt"}));
    ManifestSource::Image image;
    SK_TRY_ASSIGN(image.volume, required<std::string>(table, "volume", table.string("volume")));
    SK_TRY_ASSIGN(image.file, required<std::string>(table, "file", table.string("file")));
    SK_TRY_ASSIGN(image.encrypt, table.boolean("encrypt"));
    if (!bundle::is_plain_name(image.volume) || image.volume.size() > bundle::kNameMaxBytes)
      return table.wrong("volume", "\"" + image.volume +
                                       "\" is not a volume name: letters, digits, '-', '_' and '.', at most " +
                                       std::to_string(bundle::kNameMaxBytes) + " of them");
    if (std::ranges::find(source.images, image.volume, &ManifestSource::Image::volume) != source.images.end())
      return table.wrong("volume", "there are two images for the volume " + image.volume);
    source.images.push_back(std::move(image));
  }
  return success();
}

}  // namespace

Result<ManifestSource> parse_manifest_source(std::string_view text, const std::string& file_name) {
  SK_TRY_ASSIGN(const TomlValue root, parse_toml(text, file_name));
  const TomlTable document(root, file_name, "");
  SK_TRY(
      document.check_keys({"version", "compatible", "firmware-group", "minimum-version", "config", "engine", "image"}));
  ManifestSource source;
  SK_TRY_ASSIGN(source.version, required<std::string>(document, "version", document.string("version")));
  if (const auto problem = name_problem(source.version)) return document.wrong("version", *problem);
  SK_TRY_ASSIGN(source.compatible, read_compatible(document));
  SK_TRY(read_group(document, source));
  SK_TRY(read_minimum_version(document, source));
  SK_TRY(read_config(document, source));
  SK_TRY(read_engine(document, source));
  SK_TRY(read_images(document, source));
  return source;
}

}  // namespace slotkeeper

#include "engine/bundle/manifest.hpp"

#include <algorithm>
#include <set>

#include "engine/bundle/content_key.hpp"
#include "engine/bundle/version.hpp"
#include "engine/json/json.hpp"

namespace slotkeeper::bundle {
namespace {

constexpr std::size_t kCompatibleMax = 32;
constexpr std::size_t kLabelMaxBytes = 128;
constexpr std::int64_t kNumberMax = INT64_MAX;

/// A version or a device's name: it is printed and compared, so it has a length and no control characters.
Result<void> check_label(std::string_view text, std::string_view key) {
  const bool printable =
      std::ranges::none_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (!text.empty() && text.size() <= kLabelMaxBytes && printable) return success();
  return make_error(Errc::corrupt, "manifest: '" + std::string(key) + "' is empty, longer than " +
                                       std::to_string(kLabelMaxBytes) + " bytes or holds control characters");
}

Result<std::string> read_label(JsonReader& reader, std::string_view key) {
  SK_TRY_ASSIGN(auto text, reader.string(key));
  SK_TRY(check_label(text, key));
  return text;
}

Result<std::vector<std::string>> read_labels(JsonReader& reader, std::string_view key) {
  SK_TRY_ASSIGN(auto list, reader.strings(key));
  for (const auto& text : list) SK_TRY(check_label(text, key));
  return list;
}

/// A key that this version does not know was written by a newer one that meant something by it.
Result<void> refuse_unknown(const JsonReader& reader) {
  auto finished = reader.finish();
  if (!finished.has_value()) return std::move(finished).assume_error().with_code(Errc::unsupported);
  return success();
}

Result<std::uint64_t> read_amount(JsonReader& reader, std::string_view key, std::uint64_t min, std::uint64_t max) {
  SK_TRY_ASSIGN(const auto number, reader.integer(key, static_cast<std::int64_t>(min), static_cast<std::int64_t>(max)));
  return static_cast<std::uint64_t>(number);
}

Result<OldImage> read_old_image(const Json& value) {
  JsonReader reader(value, "manifest: delta-from");
  OldImage old;
  SK_TRY_ASSIGN(old.version, read_label(reader, "version"));
  SK_TRY_ASSIGN(old.plain_bytes, read_amount(reader, "plain-bytes", 1, kImageMaxBytes));
  SK_TRY_ASSIGN(old.plain_digest, reader.digest("plain-sha256"));
  SK_TRY_ASSIGN(old.pieces_digest, reader.digest("pieces-sha256"));
  SK_TRY(refuse_unknown(reader));
  return old;
}

Result<Image> read_image(const Json& value) {
  JsonReader reader(value, "manifest: image");
  Image image;
  SK_TRY_ASSIGN(image.volume, reader.string("volume"));
  if (!is_plain_name(image.volume)) {
    return make_error(Errc::corrupt, "manifest: '" + image.volume + "' is not a volume's name");
  }
  SK_TRY_ASSIGN(image.plain_bytes, read_amount(reader, "plain-bytes", 1, kImageMaxBytes));
  SK_TRY_ASSIGN(image.stored_bytes, read_amount(reader, "stored-bytes", 0, 2 * kImageMaxBytes));
  SK_TRY_ASSIGN(image.index_bytes, read_amount(reader, "index-bytes", 1, kIndexMaxBytes));
  SK_TRY_ASSIGN(image.index_digest, reader.digest("index-sha256"));
  SK_TRY_ASSIGN(image.plain_digest, reader.digest("plain-sha256"));
  SK_TRY_ASSIGN(image.pieces_digest, reader.digest("pieces-sha256"));
  if (const Json* encrypted = reader.optional_member("encrypted")) {
    if (encrypted->as_bool() == nullptr) return make_error(Errc::corrupt, "manifest: 'encrypted' is not true or false");
    image.encrypted = *encrypted->as_bool();
  }
  if (const Json* old = reader.optional_member("delta-from")) {
    SK_TRY_ASSIGN(image.old_image, read_old_image(*old));
  }
  SK_TRY(refuse_unknown(reader));
  return image;
}

Result<std::vector<Image>> read_images(const Json& value) {
  const JsonArray* list = value.as_array();
  if (list == nullptr || list->empty() || list->size() > kImagesMax) {
    return make_error(Errc::corrupt, "manifest: 'images' must be a list of 1 to " + std::to_string(kImagesMax));
  }
  std::vector<Image> images;
  std::set<std::string> names;
  for (const auto& item : *list) {
    SK_TRY_ASSIGN(auto image, read_image(item));
    if (!names.insert(image.volume).second) {
      return make_error(Errc::corrupt, "manifest: volume '" + image.volume + "' stands twice");
    }
    images.push_back(std::move(image));
  }
  return images;
}

Result<void> read_optional_parts(JsonReader& reader, Manifest& manifest) {
  if (const Json* group = reader.optional_member("firmware-group")) {
    JsonReader group_reader(*group, "manifest: firmware-group");
    FirmwareGroup read;
    SK_TRY_ASSIGN(read.version, group_reader.integer("version", 0, kNumberMax));
    SK_TRY_ASSIGN(read.admits, read_labels(group_reader, "admits"));
    if (read.admits.size() > kAdmitsMax) {
      return make_error(Errc::corrupt,
                        "manifest: 'admits' names more than " + std::to_string(kAdmitsMax) + " versions");
    }
    SK_TRY(refuse_unknown(group_reader));
    if (std::ranges::find(read.admits, manifest.version) == read.admits.end()) {
      return make_error(Errc::corrupt,
                        "manifest: the firmware group does not admit version '" + manifest.version + "'");
    }
    manifest.firmware_group = std::move(read);
  }
  if (reader.optional_member("minimum-version") != nullptr) {
    SK_TRY_ASSIGN(manifest.minimum_version, read_label(reader, "minimum-version"));
    const auto order = compare_versions(*manifest.minimum_version, manifest.version);
    if (!order || *order > 0) {
      return make_error(Errc::corrupt, "manifest: 'minimum-version' is no version up to '" + manifest.version + "'");
    }
    if (manifest.firmware_group) {
      return make_error(Errc::corrupt, "manifest: a firmware group and a minimum version exclude each other");
    }
  }
  if (const Json* config = reader.optional_member("config")) {
    JsonReader config_reader(*config, "manifest: config");
    ConfigSchema read;
    SK_TRY_ASSIGN(read.schema, config_reader.integer("schema", 0, kNumberMax));
    SK_TRY_ASSIGN(read.readable_by, config_reader.integer("readable-by", 0, kNumberMax));
    SK_TRY(refuse_unknown(config_reader));
    if (read.readable_by > read.schema) {
      return make_error(Errc::corrupt, "manifest: 'readable-by' is greater than the schema itself");
    }
    manifest.config = read;
  }
  return success();
}

/// Stands behind the images, since it goes with a delta only. A name and no path: it lies beside the bundle.
Result<void> read_full(JsonReader& reader, Manifest& manifest) {
  if (reader.optional_member("full") == nullptr) return success();
  SK_TRY_ASSIGN(manifest.full, reader.string("full"));
  if (!manifest.is_delta()) return make_error(Errc::corrupt, "manifest: 'full' without an image that needs an old one");
  if (is_plain_name(*manifest.full)) return success();
  return make_error(Errc::corrupt, "manifest: 'full' is not a plain file name of at most " +
                                       std::to_string(kNameMaxBytes) + " letters, digits, '-', '_' and '.'");
}

/// Stands behind the images, since it goes with encrypted ones only.
Result<void> read_content_key(JsonReader& reader, Manifest& manifest) {
  const Json* value = reader.optional_member("content-key");
  if ((value != nullptr) != manifest.is_encrypted()) {
    return make_error(Errc::corrupt, "manifest: 'content-key' goes with encrypted images, and they with it");
  }
  if (value == nullptr) return success();
  JsonReader key_reader(*value, "manifest: content-key");
  WrappedKey key;
  SK_TRY_ASSIGN(key.bytes, read_amount(key_reader, "bytes", 1, kWrappedKeyMaxBytes));
  SK_TRY_ASSIGN(key.digest, key_reader.digest("sha256"));
  SK_TRY(refuse_unknown(key_reader));
  manifest.content_key = key;
  return success();
}

Result<void> read_records(JsonReader& reader, Manifest& manifest) {
  SK_TRY_ASSIGN(const Json* records, reader.member("records"));
  const JsonArray* range = records->as_array();
  if (range == nullptr || range->size() != 2 || (*range)[0].as_integer() == nullptr ||
      (*range)[1].as_integer() == nullptr) {
    return make_error(Errc::corrupt, "manifest: 'records' must be two numbers");
  }
  manifest.records_min = *(*range)[0].as_integer();
  manifest.records_max = *(*range)[1].as_integer();
  if (manifest.records_min < 1 || manifest.records_max < manifest.records_min) {
    return make_error(Errc::corrupt, "manifest: 'records' is not a range");
  }
  return success();
}

}  // namespace

const Image* Manifest::find(std::string_view volume) const {
  const auto found = std::ranges::find(images, volume, &Image::volume);
  return found == images.end() ? nullptr : &*found;
}

bool Manifest::is_delta() const {
  return std::ranges::any_of(images, [](const Image& image) { return image.old_image.has_value(); });
}

bool Manifest::is_encrypted() const { return std::ranges::any_of(images, &Image::encrypted); }

std::string index_member_name(const Image& image) { return "index/" + image.volume + (image.encrypted ? ".enc" : ""); }
std::string frames_member_name(const Image& image) {
  return "image/" + image.volume + ".zst" + (image.encrypted ? ".enc" : "");
}

Result<Manifest> parse_manifest(std::string_view json) {
  SK_TRY_ASSIGN(const auto value, Json::parse(json, kManifestMaxBytes));
  JsonReader reader(value, "manifest");
  // The format comes first: what another format means is not for this version to say.
  SK_TRY_ASSIGN(const auto format, reader.integer("format", 1, kNumberMax));
  if (format != kManifestFormat) {
    return make_error(Errc::unsupported, "manifest: format " + std::to_string(format) + " is unknown to this version");
  }
  Manifest manifest;
  SK_TRY_ASSIGN(manifest.version, read_label(reader, "version"));
  SK_TRY_ASSIGN(manifest.compatible, read_labels(reader, "compatible"));
  if (manifest.compatible.empty() || manifest.compatible.size() > kCompatibleMax) {
    return make_error(Errc::corrupt,
                      "manifest: 'compatible' must name 1 to " + std::to_string(kCompatibleMax) + " devices");
  }
  SK_TRY(read_records(reader, manifest));
  SK_TRY(read_optional_parts(reader, manifest));
  SK_TRY_ASSIGN(const Json* images, reader.member("images"));
  SK_TRY_ASSIGN(manifest.images, read_images(*images));
  SK_TRY(read_full(reader, manifest));
  SK_TRY(read_content_key(reader, manifest));
  SK_TRY(refuse_unknown(reader));
  return manifest;
}

std::string print_manifest(const Manifest& manifest) {
  JsonArray compatible(manifest.compatible.begin(), manifest.compatible.end());
  Json json = JsonObject{{"format", kManifestFormat},
                         {"version", manifest.version},
                         {"compatible", std::move(compatible)},
                         {"records", JsonArray{manifest.records_min, manifest.records_max}}};
  if (manifest.firmware_group) {
    JsonArray admits(manifest.firmware_group->admits.begin(), manifest.firmware_group->admits.end());
    json.set("firmware-group",
             JsonObject{{"version", manifest.firmware_group->version}, {"admits", std::move(admits)}});
  }
  if (manifest.minimum_version) json.set("minimum-version", *manifest.minimum_version);
  if (manifest.config) {
    json.set("config", JsonObject{{"schema", manifest.config->schema}, {"readable-by", manifest.config->readable_by}});
  }
  JsonArray images;
  for (const auto& image : manifest.images) {
    Json one = JsonObject{{"volume", image.volume},
                          {"plain-bytes", image.plain_bytes},
                          {"stored-bytes", image.stored_bytes},
                          {"index-bytes", image.index_bytes},
                          {"index-sha256", image.index_digest.hex()},
                          {"plain-sha256", image.plain_digest.hex()},
                          {"pieces-sha256", image.pieces_digest.hex()}};
    if (image.encrypted) one.set("encrypted", true);
    if (image.old_image) {
      one.set("delta-from", JsonObject{{"version", image.old_image->version},
                                       {"plain-bytes", image.old_image->plain_bytes},
                                       {"plain-sha256", image.old_image->plain_digest.hex()},
                                       {"pieces-sha256", image.old_image->pieces_digest.hex()}});
    }
    images.push_back(std::move(one));
  }
  json.set("images", std::move(images));
  if (manifest.full) json.set("full", *manifest.full);
  if (manifest.content_key) {
    json.set("content-key",
             JsonObject{{"bytes", manifest.content_key->bytes}, {"sha256", manifest.content_key->digest.hex()}});
  }
  return json.print() + "\n";
}

bool is_plain_name(std::string_view name) {
  if (name.empty() || name.size() > kNameMaxBytes || name.front() == '.' || name.front() == '-') return false;
  return std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  });
}

}  // namespace slotkeeper::bundle

// bundle create, info and extract: they need no device.
#include <cerrno>

#include "engine/bundle/bundle.hpp"
#include "engine/bundle/bundle_writer.hpp"
#include "engine/bundle/temporary_file.hpp"
#include "engine/cli/bundle_inputs.hpp"
#include "engine/cli/figures.hpp"
#include "engine/configuration/toml_document.hpp"
#include "engine/transaction/record.hpp"

namespace slotkeeper::cli {
namespace {

bundle::Manifest describe(const ManifestSource& source) {
  bundle::Manifest manifest;
  manifest.version = source.version;
  manifest.compatible = source.compatible;
  if (source.config_schema)
    // A firmware whose predecessors are not said to read its configuration is read by itself only.
    manifest.config = bundle::ConfigSchema{.schema = *source.config_schema,
                                           .readable_by = source.config_readable_by.value_or(*source.config_schema)};
  manifest.records_min = source.records_min;
  manifest.records_max = source.records_max;
  return manifest;
}

JsonArray images_to_json(const bundle::Manifest& manifest) {
  JsonArray images;
  for (const bundle::Image& image : manifest.images)
    images.emplace_back(JsonObject{{"volume", escape_bytes(image.volume)},
                                   {"bytes", image.plain_bytes},
                                   {"stored_bytes", image.stored_bytes},
                                   {"sha256", image.plain_digest.hex()},
                                   {"encrypted", image.encrypted}});
  return images;
}

JsonObject manifest_to_json(const bundle::Manifest& manifest, const Sha256& digest, std::uint64_t size_bytes) {
  JsonArray compatible;
  for (const std::string& name : manifest.compatible) compatible.emplace_back(escape_bytes(name));
  JsonObject json = {{"version", escape_bytes(manifest.version)},
                     {"compatible", std::move(compatible)},
                     {"manifest_sha256", digest.hex()},
                     {"size_bytes", size_bytes},
                     {"images", images_to_json(manifest)}};
  if (manifest.config)
    json.emplace_back("config",
                      JsonObject{{"schema", manifest.config->schema}, {"readable_by", manifest.config->readable_by}});
  json.emplace_back("records", JsonArray{manifest.records_min, manifest.records_max});
  return json;
}

std::string joined(const std::vector<std::string>& words) {
  std::string all;
  for (const std::string& word : words) all += (all.empty() ? "" : ", ") + word;
  return all;
}

std::vector<std::string> lines_about(const bundle::Manifest& manifest, const Sha256& digest, std::uint64_t size_bytes) {
  std::vector<std::string> lines = {"version: " + manifest.version, "compatible: " + joined(manifest.compatible),
                                    "size: " + format_bytes(size_bytes), "manifest sha256: " + digest.hex()};
  for (const bundle::Image& image : manifest.images)
    lines.push_back("image " + image.volume + ": " + format_bytes(image.plain_bytes) + ", stored in " +
                    format_bytes(image.stored_bytes));
  if (manifest.config)
    lines.push_back("configuration schema: " + std::to_string(manifest.config->schema) + ", readable by " +
                    std::to_string(manifest.config->readable_by) + " and newer");
  return lines;
}

Result<CommandResult> create(const Surroundings& surroundings, const Arguments& arguments) {
  io::Storage& storage = surroundings.storage;
  SK_TRY_ASSIGN(const auto text, read_input(storage, arguments.manifest, kTomlMaxBytes, "--manifest"));
  SK_TRY_ASSIGN(const auto source, parse_manifest_source(text, arguments.manifest));
  bundle::CreateRequest request;
  SK_TRY_ASSIGN(request.identity, read_identity(storage, arguments));
  request.description = describe(source);
  const std::string directory = bundle::place_of(arguments.manifest).folder;
  for (const ManifestSource::Image& image : source.images)
    request.images.push_back(
        {.volume = image.volume, .path = image.file.starts_with('/') ? image.file : directory + "/" + image.file});
  request.output_path = arguments.output;
  SK_TRY_ASSIGN(const auto created, bundle::create_bundle(storage, request, surroundings.reporter));
  CommandResult result;
  result.extra = manifest_to_json(created.manifest, created.digest, created.size_bytes);
  result.lines = {arguments.output + " is complete: version " + created.manifest.version + ", " +
                  format_bytes(created.size_bytes)};
  return result;
}

Result<CommandResult> show(const Surroundings& surroundings, const Arguments& arguments) {
  SK_TRY_ASSIGN(const auto anchors, find_anchors(surroundings, arguments));
  SK_TRY_ASSIGN(auto source, open_location(surroundings, arguments, anchors));
  SK_TRY_ASSIGN(auto opened, bundle::open_bundle(std::move(source)));
  SK_TRY_ASSIGN(const auto inspection, bundle::inspect_bundle_contents(opened));

  bool trusted = false;
  std::string reason = anchors.reason;
  JsonArray signers;
  if (anchors.policy) {
    auto verified = bundle::verify_bundle(std::move(opened), *anchors.policy);
    if (verified.has_value()) {
      trusted = true;
      reason = "signed by " + verified.assume_value().signers().front().subject;
      for (const bundle::Signer& signer : verified.assume_value().signers())
        signers.emplace_back(JsonObject{{"subject", escape_bytes(signer.subject)},
                                        {"algorithm", escape_bytes(signer.algorithm)},
                                        {"not_after", escape_bytes(signer.not_after)},
                                        {"judged_at", rfc3339(signer.judged_at)}});
    } else {
      const Error& error = verified.assume_error();
      // Whatever else is wrong is no question of trust.
      if (error.code != Errc::signature && error.code != Errc::untrusted) return std::move(verified).as_failure();
      reason = error.message;
    }
  }
  CommandResult result;
  result.extra = manifest_to_json(inspection.manifest, inspection.digest, inspection.size_bytes);
  result.extra.emplace_back("trusted", trusted);
  result.extra.emplace_back("reason", escape_bytes(reason));
  result.extra.emplace_back("signers", std::move(signers));
  result.lines = lines_about(inspection.manifest, inspection.digest, inspection.size_bytes);
  result.lines.insert(result.lines.begin(),
                      "trusted: " + std::string(trusted ? "true" : "false") + " (" + reason + ")");
  return result;
}

Result<std::size_t> find_image(const bundle::Manifest& manifest, const std::string& volume) {
  std::vector<std::string> volumes;
  for (std::size_t i = 0; i < manifest.images.size(); ++i) {
    if (manifest.images[i].volume == volume) return i;
    volumes.push_back(manifest.images[i].volume);
  }
  return make_error(Errc::usage, "the bundle has no image for the volume " + volume + "; it has " + joined(volumes));
}

// Durable: the contents of `file`, when it returns.
Result<void> write_image(const Surroundings& surroundings, const bundle::VerifiedManifest& manifest, std::size_t image,
                         io::File& file) {
  const std::uint64_t total = manifest.manifest().images[image].plain_bytes;
  bundle::ImageReader reader(manifest, image);
  surroundings.reporter.progress(Phase::stage, 0, total);
  while (true) {
    SK_TRY(surroundings.reporter.check_cancelled());
    SK_TRY_ASSIGN(const auto chunk, reader.next());
    if (!chunk) break;
    if (!chunk->zeros) SK_TRY(file.write_at(chunk->offset, chunk->data));
    surroundings.reporter.progress(Phase::stage, chunk->offset + chunk->plain_bytes, total);
  }
  SK_TRY(file.resize(total));  // zeros at the end were never written
  SK_TRY(file.sync());
  return file.close();
}

Result<std::unique_ptr<io::Directory>> open_output_directory(io::Storage& storage, const std::string& path) {
  auto directory = storage.open_directory(path);
  if (directory.has_error()) {
    const int reason = directory.assume_error().os_errno;
    if (reason == ENOENT || reason == ENOTDIR) return std::move(directory).assume_error().with_code(Errc::usage);
  }
  return directory;
}

Result<CommandResult> extract(const Surroundings& surroundings, const Arguments& arguments) {
  SK_TRY_ASSIGN(const auto anchors, find_anchors(surroundings, arguments));
  if (!anchors.policy) return make_error(Errc::config, anchors.reason);
  SK_TRY_ASSIGN(auto source, open_location(surroundings, arguments, anchors));
  SK_TRY_ASSIGN(auto opened, bundle::open_bundle(std::move(source)));
  SK_TRY_ASSIGN(const auto manifest, bundle::verify_bundle(std::move(opened), *anchors.policy));
  SK_TRY_ASSIGN(const std::size_t image, find_image(manifest.manifest(), arguments.volume));

  const bundle::FilePlace output = bundle::place_of(arguments.file);
  const std::string partial = "." + output.name + ".slotkeeper-partial";
  SK_TRY_ASSIGN(const auto directory, open_output_directory(surroundings.storage, output.folder));
  if (output.name.empty() || directory->status_of(output.name).has_value())
    return make_error(Errc::usage, arguments.file + " exists already");
  auto stale = directory->remove_file(partial);  // of an extract that was killed
  if (stale.has_error() && stale.assume_error().os_errno != ENOENT) return std::move(stale).as_failure();
  SK_TRY_ASSIGN(const auto file, directory->open_file(partial, io::OpenMode::create_new(0644)));
  auto written = write_image(surroundings, manifest, image, *file);
  if (written.has_value()) written = directory->rename(partial, output.name, io::RenameKind::no_replace);
  if (written.has_error()) {
    auto removed = directory->remove_file(partial);
    if (removed.has_error()) surroundings.reporter.notice(removed.assume_error().message);
    return std::move(written).as_failure();
  }
  SK_TRY(directory->sync());
  SK_TRY(directory->close());

  const bundle::Image& facts = manifest.manifest().images[image];
  CommandResult result;
  result.extra = {{"volume", escape_bytes(facts.volume)},
                  {"file", escape_bytes(arguments.file)},
                  {"bytes", facts.plain_bytes},
                  {"sha256", facts.plain_digest.hex()}};
  result.lines = {arguments.file + " holds the image of volume " + facts.volume + ", " +
                  format_bytes(facts.plain_bytes) + ", verified"};
  return result;
}

}  // namespace

CommandResult create_bundle_file(const Surroundings& surroundings, const Arguments& arguments) {
  return unwrap(create(surroundings, arguments));
}
CommandResult show_bundle(const Surroundings& surroundings, const Arguments& arguments) {
  return unwrap(show(surroundings, arguments));
}
CommandResult extract_image(const Surroundings& surroundings, const Arguments& arguments) {
  return unwrap(extract(surroundings, arguments));
}

}  // namespace slotkeeper::cli

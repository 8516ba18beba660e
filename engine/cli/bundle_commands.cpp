// bundle create, info and extract: they need no device.
#include <cerrno>

#include "engine/bundle/bundle.hpp"
#include "engine/bundle/bundle_writer.hpp"
#include "engine/bundle/image_file.hpp"
#include "engine/bundle/temporary_file.hpp"
#include "engine/cli/bundle_inputs.hpp"
#include "engine/cli/figures.hpp"
#include "engine/configuration/decryption_key.hpp"
#include "engine/configuration/toml_document.hpp"
#include "engine/transaction/record.hpp"

namespace slotkeeper::cli {
namespace {

// That of the command line, or else of the configuration.
bundle::FindRecipient find_recipient(const Surroundings& surroundings, const Arguments& arguments) {
  return [&]() -> Result<bundle::RecipientIdentity> {
    if (arguments.decryption_key)
      return read_recipient(surroundings.storage, {.path = *arguments.decryption_key, .named_by = "--decryption-key"},
                            {.path = *arguments.decryption_certificate, .named_by = "--decryption-cert"});
    const auto configuration = load_configuration(surroundings.storage, arguments.config);
    if (configuration.has_value() && !configuration.assume_value().encryption_key.empty())
      return load_recipient(surroundings.storage, configuration.assume_value());
    return make_error(Errc::config,
                      "it is encrypted: name a recipient's key with --decryption-key and --decryption-cert");
  };
}

bundle::Manifest describe(const ManifestSource& source) {
  bundle::Manifest manifest;
  manifest.version = source.version;
  manifest.compatible = source.compatible;
  manifest.firmware_group = source.firmware_group;
  manifest.minimum_version = source.minimum_version;
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
  for (const bundle::Image& image : manifest.images) {
    JsonObject json = {{"volume", escape_bytes(image.volume)},
                       {"bytes", image.plain_bytes},
                       {"stored_bytes", image.stored_bytes},
                       {"sha256", image.plain_digest.hex()},
                       {"encrypted", image.encrypted}};
    if (image.old_image)
      json.emplace_back("delta_from", JsonObject{{"version", escape_bytes(image.old_image->version)},
                                                 {"bytes", image.old_image->plain_bytes},
                                                 {"sha256", image.old_image->plain_digest.hex()}});
    images.emplace_back(std::move(json));
  }
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
  if (manifest.firmware_group) {
    JsonArray admits;
    for (const std::string& version : manifest.firmware_group->admits) admits.emplace_back(escape_bytes(version));
    json.emplace_back("firmware_group",
                      JsonObject{{"version", manifest.firmware_group->version}, {"admits", std::move(admits)}});
  }
  if (manifest.minimum_version) json.emplace_back("minimum_version", *manifest.minimum_version);
  json.emplace_back("records", JsonArray{manifest.records_min, manifest.records_max});
  json.emplace_back("delta", manifest.is_delta());
  if (manifest.full) json.emplace_back("full", escape_bytes(*manifest.full));
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
                    format_bytes(image.stored_bytes) + (image.encrypted ? ", encrypted" : "") +
                    (image.old_image ? ", made from version " + image.old_image->version + " (sha256 " +
                                           image.old_image->plain_digest.hex() + ")"
                                     : ""));
  if (manifest.firmware_group)
    lines.push_back("firmware group: " + std::to_string(manifest.firmware_group->version) + ", admits " +
                    joined(manifest.firmware_group->admits));
  if (manifest.minimum_version) lines.push_back("minimum version: " + *manifest.minimum_version);
  if (manifest.config)
    lines.push_back("configuration schema: " + std::to_string(manifest.config->schema) + ", readable by " +
                    std::to_string(manifest.config->readable_by) + " and newer");
  if (manifest.is_delta())
    lines.push_back("delta: only for devices that run the version it is made from; others " +
                    (manifest.full ? "install " + *manifest.full + " beside it" : std::string("refuse it")));
  return lines;
}

// OLD.skb is mostly signed by who signs the delta, or by the same authority.
Result<bundle::DeltaRequest> read_delta(const Surroundings& surroundings, const Arguments& arguments,
                                        const bundle::SigningIdentity& identity) {
  bundle::DeltaRequest delta{.old_path = *arguments.delta_from,
                             .trust = {},
                             .find_recipient = find_recipient(surroundings, arguments),
                             .full = arguments.full.value_or("")};
  delta.trust.now = surroundings.host.now();
  delta.trust.origin = arguments.trust.value_or(arguments.certificate);
  if (arguments.trust) {
    SK_TRY_ASSIGN(delta.trust.anchors_pem, read_pem_input(surroundings.storage, *arguments.trust, "--trust"));
    return delta;
  }
  delta.trust.anchors_pem = identity.certificate_pem;
  for (const std::string& pem : identity.intermediates_pem) delta.trust.anchors_pem += "\n" + pem;
  return delta;
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
    request.images.push_back({.volume = image.volume,
                              .path = image.file.starts_with('/') ? image.file : directory + "/" + image.file,
                              .encrypt = image.encrypt.value_or(!arguments.recipients.empty())});
  for (const std::string& path : arguments.recipients) {
    SK_TRY_ASSIGN(auto pem, read_pem_input(storage, path, "--recipient"));
    request.recipients_pem.push_back(std::move(pem));
  }
  request.output_path = arguments.output;
  if (arguments.delta_from) {
    SK_TRY_ASSIGN(request.delta, read_delta(surroundings, arguments, request.identity));
  }
  SK_TRY_ASSIGN(const auto created, bundle::create_bundle(storage, request, surroundings.reporter));
  CommandResult result;
  result.extra = manifest_to_json(created.manifest, created.digest, created.size_bytes);
  result.lines = {arguments.output + " is complete: version " + created.manifest.version + ", " +
                  format_bytes(created.size_bytes)};
  return result;
}

// Who can decrypt it. The CMS that says so is given to a parser only when it is known who wrote it.
Result<void> add_recipients(const bundle::Inspection& inspection, bool trusted, CommandResult& result) {
  if (!inspection.manifest.is_encrypted()) return success();
  JsonArray json;
  if (trusted) {
    SK_TRY_ASSIGN(const auto recipients, bundle::recipients_of(inspection.wrapped_key));
    for (const bundle::Recipient& recipient : recipients) {
      json.emplace_back(
          JsonObject{{"issuer", escape_bytes(recipient.issuer)}, {"serial", escape_bytes(recipient.serial)}});
      result.lines.push_back("recipient: " + recipient.serial +
                             (recipient.issuer.empty() ? " (key identifier)" : " of " + recipient.issuer));
    }
  } else {
    result.lines.emplace_back("recipients: not shown, because the bundle is not trusted");
  }
  result.extra.emplace_back("recipients", std::move(json));
  return success();
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
    // Nobody has to be able to decrypt a bundle to be told who signed it.
    auto verified =
        with_context(bundle::verify_manifest_signature(opened.manifest_text(), opened.signature(), *anchors.policy),
                     opened.source().name());
    if (verified.has_value()) {
      trusted = true;
      reason = "signed by " + verified.assume_value().front().subject;
      for (const bundle::Signer& signer : verified.assume_value())
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
  SK_TRY(add_recipients(inspection, trusted, result));
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

Result<std::unique_ptr<io::Directory>> open_output_directory(io::Storage& storage, const std::string& path) {
  auto directory = storage.open_directory(path);
  if (directory.has_error()) {
    const int reason = directory.assume_error().os_errno;
    if (reason == ENOENT || reason == ENOTDIR) return std::move(directory).assume_error().with_code(Errc::usage);
  }
  return directory;
}

// Where the image of one volume comes from and goes to.
struct Extraction {
  const bundle::VerifiedManifest& manifest;
  std::size_t image = 0;
  const bundle::TrustPolicy& policy;
  const bundle::FindRecipient& find_recipient;
  io::Directory& directory;
  io::File& file;
};

// Unpacks the image of OLD.skb beside the output and makes that of the delta from it.
Result<void> unpack_delta(const Surroundings& surroundings, const std::string& old_path, const Extraction& extraction) {
  const bundle::Image& wanted = extraction.manifest.manifest().images[extraction.image];
  SK_TRY_ASSIGN(auto source, open_file_source(surroundings.storage, old_path));
  SK_TRY_ASSIGN(auto opened, bundle::open_bundle(std::move(source)));
  SK_TRY_ASSIGN(const auto old, bundle::verify_bundle(std::move(opened), extraction.policy, extraction.find_recipient));
  SK_TRY_ASSIGN(const std::size_t image, find_image(old.manifest(), wanted.volume));
  if (old.manifest().images[image].plain_digest != wanted.old_image->plain_digest || old.manifest().is_delta())
    return make_error(Errc::usage, "the delta was not made from " + old_path + " but from the full bundle of version " +
                                       wanted.old_image->version);
  bundle::TemporaryFile old_image(extraction.directory, "." + bundle::place_of(old_path).name + ".old-image.tmp");
  SK_TRY(old_image.create());
  SK_TRY(bundle::unpack_image(old, image, nullptr, old_image.file(), surroundings.reporter));
  bundle::OldImageFile on_slots(old_image.file());
  return bundle::unpack_image(extraction.manifest, extraction.image, &on_slots, extraction.file, surroundings.reporter);
}

Result<void> unpack(const Surroundings& surroundings, const Arguments& arguments, const Extraction& extraction) {
  const auto& old = extraction.manifest.manifest().images[extraction.image].old_image;
  if (!old)
    return bundle::unpack_image(extraction.manifest, extraction.image, nullptr, extraction.file, surroundings.reporter);
  if (!arguments.delta_from)
    return make_error(Errc::usage, arguments.bundle + " is a delta from version " + old->version +
                                       ": name the bundle of that version with --delta-from");
  return unpack_delta(surroundings, *arguments.delta_from, extraction);
}

Result<CommandResult> extract(const Surroundings& surroundings, const Arguments& arguments) {
  SK_TRY_ASSIGN(const auto anchors, find_anchors(surroundings, arguments));
  if (!anchors.policy) return make_error(Errc::config, anchors.reason);
  SK_TRY_ASSIGN(auto source, open_location(surroundings, arguments, anchors));
  SK_TRY_ASSIGN(auto opened, bundle::open_bundle(std::move(source)));
  const auto decrypted_by = find_recipient(surroundings, arguments);
  SK_TRY_ASSIGN(const auto manifest, bundle::verify_bundle(std::move(opened), *anchors.policy, decrypted_by));
  SK_TRY_ASSIGN(const std::size_t image, find_image(manifest.manifest(), arguments.volume));

  const bundle::FilePlace output = bundle::place_of(arguments.file);
  SK_TRY_ASSIGN(const auto directory, open_output_directory(surroundings.storage, output.folder));
  if (output.name.empty() || directory->status_of(output.name).has_value())
    return make_error(Errc::usage, arguments.file + " exists already");
  bundle::TemporaryFile partial(*directory, "." + output.name + ".slotkeeper-partial");
  SK_TRY(partial.create());
  SK_TRY(unpack(surroundings, arguments,
                {.manifest = manifest,
                 .image = image,
                 .policy = *anchors.policy,
                 .find_recipient = decrypted_by,
                 .directory = *directory,
                 .file = partial.file()}));
  SK_TRY(partial.keep_as(output.name));
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

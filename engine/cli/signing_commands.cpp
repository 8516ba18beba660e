// bundle sign, resign and timestamp: another signature member for what a bundle already holds. They need no device.
#include "engine/bundle/bundle_sealer.hpp"
#include "engine/bundle/temporary_file.hpp"
#include "engine/cli/bundle_inputs.hpp"
#include "engine/cli/figures.hpp"

namespace slotkeeper::cli {
namespace {

Result<CommandResult> seal(const Surroundings& surroundings, const Arguments& arguments, const bundle::Seal& make) {
  const bundle::SealRequest request{.bundle_path = arguments.bundle,
                                    .output_path = arguments.output.empty() ? arguments.bundle : arguments.output};
  SK_TRY_ASSIGN(const auto sealed, bundle::seal_bundle(surroundings.storage, request, make, surroundings.reporter));
  const bundle::Inspection& contents = sealed.contents;
  SK_TRY_ASSIGN(const auto subjects, bundle::check_signatures_match(contents.text, sealed.signature));
  JsonArray signers;
  std::string names;
  for (const std::string& subject : subjects) {
    signers.emplace_back(escape_bytes(subject));
    names += (names.empty() ? "" : "; ") + subject;
  }
  CommandResult result;
  result.extra = {{"file", escape_bytes(request.output_path)},
                  {"version", escape_bytes(contents.manifest.version)},
                  {"manifest_sha256", contents.digest.hex()},
                  {"size_bytes", contents.size_bytes},
                  {"signers", std::move(signers)}};
  result.lines = {request.output_path + ", version " + contents.manifest.version + ", " +
                  format_bytes(contents.size_bytes) + ", is signed by: " + names};
  return result;
}

// Whom the signatures of before are measured against: --trust, or for `resign` the configuration. Nothing where nobody
// asked (sign) or somebody took the blame (--unverified).
Result<std::optional<bundle::TrustPolicy>> trust_before(const Surroundings& surroundings, const Arguments& arguments) {
  if (arguments.trust) {
    SK_TRY_ASSIGN(auto pem, read_pem_input(surroundings.storage, *arguments.trust, "--trust"));
    return std::optional(bundle::TrustPolicy{.anchors_pem = std::move(pem),
                                             .origin = *arguments.trust,
                                             .signatures_required = 1,
                                             .now = surroundings.host.now()});
  }
  if (arguments.command == Command::bundle_sign || arguments.unverified) return std::optional<bundle::TrustPolicy>{};
  SK_TRY_ASSIGN(auto anchors, find_anchors(surroundings, arguments));
  if (!anchors.policy)
    return make_error(Errc::usage,
                      "who signed the bundle must be known before it is signed anew: --trust PEM, or "
                      "--unverified where it does not matter (" +
                          anchors.reason + ")");
  return std::move(anchors.policy);
}

Result<CommandResult> sign_anew(const Surroundings& surroundings, const Arguments& arguments) {
  SK_TRY_ASSIGN(const auto identity, read_identity(surroundings.storage, arguments));
  SK_TRY_ASSIGN(const auto trust, trust_before(surroundings, arguments));
  return seal(surroundings, arguments, [&](const std::string& manifest, const std::string& cms) -> Result<std::string> {
    if (trust) SK_TRY(bundle::verify_manifest_signature(manifest, cms, *trust));
    if (arguments.command == Command::bundle_sign) return bundle::add_signature(manifest, cms, identity);
    return bundle::sign_manifest(manifest, identity);
  });
}

constexpr std::size_t kResponseMaxBytes = bundle::kSignatureMaxBytes;

Result<CommandResult> attach_response(const Surroundings& surroundings, const Arguments& arguments) {
  SK_TRY_ASSIGN(const auto response,
                read_input(surroundings.storage, arguments.response, kResponseMaxBytes, "--response"));
  return seal(surroundings, arguments,
              [&](const std::string&, const std::string& cms) { return bundle::add_time_stamp(cms, response); });
}

// Durable: the request under its name.
Result<CommandResult> write_request(const Surroundings& surroundings, const Arguments& arguments) {
  SK_TRY_ASSIGN(auto source, open_file_source(surroundings.storage, arguments.bundle));
  SK_TRY_ASSIGN(const auto opened, bundle::open_bundle(std::move(source)));
  SK_TRY_ASSIGN(const auto request, bundle::time_stamp_request(opened.signature()));
  CommandResult result;
  if (!request) {
    result.outcome = Outcome::nothing_to_do;
    result.lines = {"every signature of " + arguments.bundle + " has a time stamp"};
    return result;
  }
  const bundle::FilePlace place = bundle::place_of(arguments.request);
  auto folder = surroundings.storage.open_directory(place.folder);
  if (folder.has_error()) return std::move(folder).assume_error().with_code(Errc::config).with_context("--request");
  bundle::TemporaryFile file(*folder.assume_value(), "." + place.name + ".tmp");
  SK_TRY(file.create());
  SK_TRY(file.append(io::as_bytes(*request)));
  SK_TRY(file.keep_as(place.name));
  result.extra = {{"file", escape_bytes(arguments.request)}};
  result.lines = {arguments.request + " is a request for a time stamp authority; its answer belongs to --response"};
  return result;
}

}  // namespace

CommandResult sign_bundle(const Surroundings& surroundings, const Arguments& arguments) {
  return unwrap(sign_anew(surroundings, arguments));
}

CommandResult time_stamp_bundle(const Surroundings& surroundings, const Arguments& arguments) {
  return unwrap(arguments.request.empty() ? attach_response(surroundings, arguments)
                                          : write_request(surroundings, arguments));
}

}  // namespace slotkeeper::cli

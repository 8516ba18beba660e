#include "engine/cli/bundle_inputs.hpp"

#include <cerrno>

#include "engine/configuration/trust_policy.hpp"

namespace slotkeeper::cli {
namespace {

constexpr std::size_t kPemMaxBytes = 1 << 20;

}  // namespace

Result<std::string> read_input(io::Storage& storage, const std::string& path, std::size_t limit_bytes,
                               std::string_view option) {
  auto text = storage.read_text(path, limit_bytes);
  if (text.has_error()) return std::move(text).assume_error().with_code(Errc::config).with_context(option);
  return text;
}

Result<std::string> read_pem_input(io::Storage& storage, const std::string& path, std::string_view option) {
  return read_input(storage, path, kPemMaxBytes, option);
}

Result<bundle::SigningIdentity> read_identity(io::Storage& storage, const Arguments& arguments) {
  bundle::SigningIdentity identity;
  SK_TRY_ASSIGN(identity.certificate_pem, read_pem_input(storage, arguments.certificate, "--cert"));
  if (arguments.key.starts_with("pkcs11:")) {
    identity.key_uri = arguments.key;
  } else {
    SK_TRY_ASSIGN(identity.key_pem, read_pem_input(storage, arguments.key, "--key"));
  }
  for (const std::string& path : arguments.intermediates) {
    SK_TRY_ASSIGN(auto pem, read_pem_input(storage, path, "--intermediate"));
    identity.intermediates_pem.push_back(std::move(pem));
  }
  return identity;
}

// On a machine that is no device there is no configuration, and so nobody to trust.
Result<Anchors> find_anchors(const Surroundings& surroundings, const Arguments& arguments) {
  if (arguments.config == Arguments{}.config) {
    const auto status = surroundings.storage.status_of(arguments.config);
    if (status.has_error() && status.assume_error().os_errno == ENOENT)
      return Anchors{std::nullopt, "there is no " + arguments.config + " that names trust anchors"};
  }
  SK_TRY_ASSIGN(const auto configuration, load_configuration(surroundings.storage, arguments.config));
  SK_TRY_ASSIGN(auto policy, load_trust_policy(surroundings.storage, configuration, surroundings.host.now()));
  return Anchors{std::move(policy), "", configuration.source};
}

Result<std::unique_ptr<Source>> open_location(const Surroundings& surroundings, const Arguments& arguments,
                                              const Anchors& anchors) {
  Reporter& reporter = surroundings.reporter;
  const SourceCalls calls{.check_cancelled = [&reporter] { return reporter.check_cancelled(); },
                          .notice = [&reporter](std::string_view text) { reporter.notice(text); }};
  return open_source(surroundings.storage, arguments.bundle, anchors.source, calls);
}

CommandResult unwrap(Result<CommandResult> result) {
  if (result.has_error()) return failed_command(std::move(result).assume_error());
  return std::move(result).assume_value();
}

}  // namespace slotkeeper::cli

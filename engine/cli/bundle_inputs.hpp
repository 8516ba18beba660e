// What the bundle commands read before they begin: keys, certificates, trust, the bundle itself.
#pragma once

#include <optional>
#include <string>

#include "engine/bundle/signature.hpp"
#include "engine/cli/commands.hpp"
#include "engine/source/source.hpp"

namespace slotkeeper::cli {

/// Errors: config, with the option's name in front.
[[nodiscard]] Result<std::string> read_input(io::Storage& storage, const std::string& path, std::size_t limit_bytes,
                                             std::string_view option);

/// A file of certificates or keys. Errors: config.
[[nodiscard]] Result<std::string> read_pem_input(io::Storage& storage, const std::string& path,
                                                 std::string_view option);

/// --cert, --key and --intermediate. Errors: config.
[[nodiscard]] Result<bundle::SigningIdentity> read_identity(io::Storage& storage, const Arguments& arguments);

/// Whom bundles are measured against here.
struct Anchors {
  std::optional<bundle::TrustPolicy> policy;
  std::string reason;  ///< why there are none
  SourceSettings source = {};
};

/// Those of the configuration; none on a machine that is no device and has none. Errors: config.
[[nodiscard]] Result<Anchors> find_anchors(const Surroundings& surroundings, const Arguments& arguments);

/// BUNDLE. Errors: those of open_source.
[[nodiscard]] Result<std::unique_ptr<Source>> open_location(const Surroundings& surroundings,
                                                            const Arguments& arguments, const Anchors& anchors);

[[nodiscard]] CommandResult unwrap(Result<CommandResult> result);

}  // namespace slotkeeper::cli

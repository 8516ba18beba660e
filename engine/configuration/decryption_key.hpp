// The key that bundles are decrypted with: that of this device, `[encryption]`, or one that is named otherwise.
#pragma once

#include "engine/bundle/content_key.hpp"
#include "engine/configuration/configuration.hpp"

namespace slotkeeper {

/// Who reads the key can decrypt every bundle for this device: it must be a regular file of root's that nobody else may
/// open. A key that is absent, or not configured, passes; it is missed when a bundle needs it. Errors: config,
/// io_error.
[[nodiscard]] Result<void> check_decryption_key(io::Storage& storage, const Configuration& configuration);

/// A PEM file, and what names it, for messages: an option, a key of the configuration.
struct PemFile {
  std::string path;
  std::string named_by;
};
/// Errors: config.
[[nodiscard]] Result<bundle::RecipientIdentity> read_recipient(io::Storage& storage, const PemFile& key,
                                                               const PemFile& certificate);

/// That of `[encryption]`, after the same check. Errors: config (none configured, absent, open to others), io_error.
[[nodiscard]] Result<bundle::RecipientIdentity> load_recipient(io::Storage& storage,
                                                               const Configuration& configuration);

}  // namespace slotkeeper

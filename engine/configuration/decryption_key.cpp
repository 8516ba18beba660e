#include "engine/configuration/decryption_key.hpp"

#include <cerrno>

namespace slotkeeper {
namespace {

constexpr std::size_t kPemMaxBytes = std::size_t{64} * 1024;
constexpr std::uint32_t kOpenToOthers = 0077;

Result<std::string> read_pem(io::Storage& storage, const PemFile& file) {
  auto text = storage.read_text(file.path, kPemMaxBytes);
  if (text.has_error()) return std::move(text).assume_error().with_code(Errc::config).with_context(file.named_by);
  return text;
}

}  // namespace

Result<void> check_decryption_key(io::Storage& storage, const Configuration& configuration) {
  const std::string& path = configuration.encryption_key;
  if (path.empty()) return success();
  const auto status = storage.status_of(path);
  if (status.has_error()) {
    const Error& error = status.assume_error();
    if (error.os_errno == ENOENT || error.os_errno == ENOTDIR) return success();
    return Error(error).with_context("encryption.key");
  }
  const io::EntryStatus& found = status.assume_value();
  const auto wrong = [&](const std::string& why) {
    return make_error(Errc::config, configuration.path + ": encryption.key: " + path + " " + why);
  };
  if (found.type != io::EntryType::regular) return wrong("is not a regular file");
  if (found.owner != 0) return wrong("belongs to user " + std::to_string(found.owner) + "; it must belong to root");
  if ((found.mode & kOpenToOthers) != 0) {
    return wrong("can be opened by others than its owner root, who could decrypt every bundle (chmod go=)");
  }
  return success();
}

Result<bundle::RecipientIdentity> read_recipient(io::Storage& storage, const PemFile& key, const PemFile& certificate) {
  bundle::RecipientIdentity recipient;
  recipient.origin = certificate.path;
  SK_TRY_ASSIGN(recipient.certificate_pem, read_pem(storage, certificate));
  SK_TRY_ASSIGN(recipient.key_pem, read_pem(storage, key));
  return recipient;
}

Result<bundle::RecipientIdentity> load_recipient(io::Storage& storage, const Configuration& configuration) {
  if (configuration.encryption_key.empty()) {
    return make_error(Errc::config, "it is encrypted, and " + configuration.path +
                                        " names no key to decrypt it with ([encryption] key and certificate)");
  }
  SK_TRY(check_decryption_key(storage, configuration));
  return read_recipient(storage, {.path = configuration.encryption_key, .named_by = "encryption.key"},
                        {.path = configuration.encryption_certificate, .named_by = "encryption.certificate"});
}

}  // namespace slotkeeper

#include "engine/configuration/trust_policy.hpp"

namespace slotkeeper {
namespace {

constexpr std::size_t kCertificatesMaxBytes = 1 << 20;
constexpr std::size_t kListsMaxBytes = 8 << 20;  // some 200,000 revoked certificates

Result<std::string> read_trust_file(io::Storage& storage, const std::string& path, std::size_t limit_bytes,
                                    std::string_view key) {
  auto text = storage.read_text(path, limit_bytes);
  if (!text.has_value()) return std::move(text).assume_error().with_code(Errc::config).with_context(key);
  return text;
}

}  // namespace

Result<bundle::TrustPolicy> load_trust_policy(io::Storage& storage, const Configuration& configuration,
                                              io::TimeStamp now) {
  const TrustSettings& trust = configuration.trust;
  bundle::TrustPolicy policy{.anchors_pem = {},
                             .origin = trust.anchors,
                             .signatures_required = trust.signatures_required,
                             .now = now,
                             .revocation_lists = {},
                             .signers = trust.signers,
                             .judged_at = trust.judged_at,
                             .time_stamp_anchors = {}};
  SK_TRY_ASSIGN(policy.anchors_pem, read_trust_file(storage, trust.anchors, kCertificatesMaxBytes, "trust.anchors"));
  if (!trust.crl.empty()) {
    SK_TRY_ASSIGN(auto lists, read_trust_file(storage, trust.crl, kListsMaxBytes, "trust.crl"));
    policy.revocation_lists = bundle::PemFile{.pem = std::move(lists), .origin = trust.crl};
  }
  if (!trust.time_stamp_anchors.empty()) {
    SK_TRY_ASSIGN(auto anchors,
                  read_trust_file(storage, trust.time_stamp_anchors, kCertificatesMaxBytes, "trust.timestamp-anchors"));
    policy.time_stamp_anchors = bundle::PemFile{.pem = std::move(anchors), .origin = trust.time_stamp_anchors};
  }
  return policy;
}

}  // namespace slotkeeper

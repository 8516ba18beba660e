// CMS signatures from bytes, over a text and below an anchor that stay the same. The seeds are signatures over this
// text by signers of fixtures/keys/make-keys, one of them with a time stamp; the keys themselves were thrown away.
#include <cstdint>
#include <cstdlib>

#include "engine/bundle/signature.hpp"

namespace {

constexpr std::string_view kText = "{\"format\":1}\n";

constexpr std::string_view kAnchor = R"(-----BEGIN CERTIFICATE-----
MIIBsDCCATagAwIBAgIJALdqAzq9Ycq8MAoGCCqGSM49BAMCMB0xGzAZBgNVBAMM
ElNsb3RrZWVwZXIgdGVzdCBjYTAeFw0yMDAxMDEwMDAwMDBaFw00OTEyMzEyMzU5
NTlaMB0xGzAZBgNVBAMMElNsb3RrZWVwZXIgdGVzdCBjYTB2MBAGByqGSM49AgEG
BSuBBAAiA2IABKDkCnEdG+F8E4nKSC8XZdYR8sbmSezUJ1FQ1OIWxNnP8UthpcHZ
eiFuU9aWGZ4bLnhyTUVXRsBvcw8U84nLvvDKWALSkqFA1uXFuq1z1c8EkkYodRKx
oa7HGSmvBrnHYqNCMEAwDwYDVR0TAQH/BAUwAwEB/zAOBgNVHQ8BAf8EBAMCAQYw
HQYDVR0OBBYEFIGvG2WNNTSr4Tobe8RPC6TSzRlKMAoGCCqGSM49BAMCA2gAMGUC
MAPtK+vniL9SgYwVyZF508jShAx6g2U9yC1TmNZFAZz7khI4l/ebak3gLse4SK9q
AQIxAK/P/GOwjAwqqwQ3l8uRhYDDeTqPLkiLxgCHraVK002I28xLjJAaXzPw2Xsq
QsTPZQ==
-----END CERTIFICATE-----
)";

using slotkeeper::Errc;
using namespace slotkeeper::bundle;

/// The readers of what is beside the signature itself: signing times, time stamps, the parts that are put together.
void look_closer(std::string_view cms, TrustPolicy policy) {
  const auto is_refusal = [](Errc code) { return code == Errc::signature || code == Errc::untrusted; };
  policy.time_stamp_anchors = PemFile{.pem = policy.anchors_pem, .origin = "anchors"};
  for (const JudgedAt judged_at : {JudgedAt::signing_time, JudgedAt::time_stamp}) {
    policy.judged_at = judged_at;
    const auto verified = verify_manifest_signature(kText, cms, policy);
    if (!verified.has_value() && !is_refusal(verified.assume_error().code)) std::abort();
  }
  const auto match = check_signatures_match(kText, cms);
  if (!match.has_value() && match.assume_error().code != Errc::signature) std::abort();
  static_cast<void>(time_stamp_request(cms).has_value());
  static_cast<void>(add_time_stamp(cms, cms).has_value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace slotkeeper;
  static const TrustPolicy policy{.anchors_pem = std::string(kAnchor),
                                  .origin = "anchors",
                                  .signatures_required = 1,
                                  .now = {.seconds = 1782000000, .nanoseconds = 0}};
  const std::string_view cms(reinterpret_cast<const char*>(data), size);
  const auto verified = verify_manifest_signature(kText, cms, policy);
  if (verified.has_value()) {
    if (verified.assume_value().empty()) std::abort();
    // What is good for this text is good for no other.
    if (verify_manifest_signature("{\"format\":2}\n", cms, policy).has_value()) std::abort();
  } else if (const Errc code = verified.assume_error().code; code != Errc::signature && code != Errc::untrusted) {
    std::abort();
  }
  look_closer(cms, policy);
  return 0;
}

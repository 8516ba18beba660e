// When a signature was made, on devices whose clock does not tell.
#include <ctime>

#include <gtest/gtest.h>

#include "tests/support/time_stamp_authority.hpp"
#include "tests/unit/engine/bundle/openssl_program.hpp"

namespace slotkeeper::bundle {
namespace {

using test::certificate_path;
using test::expect_failure;
using test::identity_of;
using test::key_folder;
using test::kSignedText;
using test::OpensslProgram;
using test::policy_with;
using test::read_file;
using test::run_tool;
using test::write_file;

TrustPolicy policy_by(JudgedAt judged_at, std::int64_t clock = 0) {
  auto policy = policy_with();
  policy.judged_at = judged_at;
  policy.now = {.seconds = clock, .nanoseconds = 0};
  if (judged_at == JudgedAt::time_stamp) {
    policy.time_stamp_anchors =
        PemFile{.pem = read_file(certificate_path("tsa-ca")), .origin = "/etc/slotkeeper/tsa.pem"};
  }
  return policy;
}

Result<std::vector<Signer>> verify(const std::string& cms, const TrustPolicy& policy) {
  return verify_manifest_signature(kSignedText, cms, policy);
}

/// One more of the signatures stamped by an authority of make-keys.
std::string stamp(const std::string& cms, const std::string& authority = "tsa", const std::string& time = "") {
  const auto request = time_stamp_request(cms);
  EXPECT_TRUE(request.has_value() && request.value().has_value());
  return add_time_stamp(cms, test::answer_time_stamp_request(*request.value(), key_folder(), authority, time)).value();
}

std::string signed_by(const std::string& name) { return sign_manifest(kSignedText, identity_of(name)).value(); }

/// A signature by the openssl program under a clock that was set back, as the owner of a stolen key would do it.
std::string signed_at(const std::string& name, const std::string& time) {
  const test::TemporaryDirectory folder;
  write_file(folder / "text", kSignedText);
  run_tool({"faketime", time, "openssl", "cms", "-sign", "-binary", "-md", "sha256", "-in", folder / "text", "-signer",
            certificate_path(name), "-inkey", test::key_path(name), "-nosmimecap", "-outform", "DER", "-out",
            folder / "cms"});
  return read_file(folder / "cms");
}

const std::string kJune2020 = "2020-06-12 12:00:00";
const std::string kJune2026 = "2026-06-12 12:00:00";
constexpr std::int64_t kMiddleOf2020 = 1592000000;
constexpr std::int64_t kFarAway = 4000000000;  // 2096

TEST(SigningTime, StandsForADeadClock) {
  const auto cms = signed_by("p256");
  for (const std::int64_t clock : {std::int64_t{0}, kFarAway}) {
    expect_failure(verify(cms, policy_by(JudgedAt::clock, clock)), Errc::untrusted);
    const auto verified = verify(cms, policy_by(JudgedAt::signing_time, clock));
    ASSERT_TRUE(verified.has_value()) << verified.error().message;
    EXPECT_NEAR(static_cast<double>(verified.value()[0].judged_at.seconds), static_cast<double>(std::time(nullptr)),
                300);
  }
}

TEST(SigningTime, OutsideTheCertificatesTimeIsUntrusted) {
  expect_failure(verify(signed_by("expired"), policy_by(JudgedAt::signing_time)), Errc::untrusted,
                 "it expired on Dec 31 23:59:59 2020 GMT, before the signature was made");
  expect_failure(verify(signed_by("not-yet-valid"), policy_by(JudgedAt::signing_time)), Errc::untrusted,
                 "after the signature was made");
}

/// What it cannot do, and a time stamp can: the signer says when it was.
TEST(SigningTime, IsBelievedAlsoWhenTheSignerLies) {
  EXPECT_TRUE(verify(signed_at("expired", kJune2020), policy_by(JudgedAt::signing_time)).has_value());
}

TEST(TimeStamp, StandsForADeadClock) {
  for (const std::string name : {"p256", "p384", "rsa3072", "brainpool"}) {
    const auto cms = stamp(signed_by(name));
    for (const std::int64_t clock : {std::int64_t{0}, kFarAway}) {
      const auto verified = verify(cms, policy_by(JudgedAt::time_stamp, clock));
      ASSERT_TRUE(verified.has_value()) << name << ": " << verified.error().message;
      EXPECT_NEAR(static_cast<double>(verified.value()[0].judged_at.seconds), static_cast<double>(std::time(nullptr)),
                  300);
    }
    // Whoever does not ask for it is not disturbed by it, OpenSSL's program neither.
    EXPECT_TRUE(verify(cms, policy_with()).has_value());
    EXPECT_EQ(OpensslProgram().verify(cms), kSignedText);
  }
}

/// The key of a certificate that ended was stolen afterwards. Its signature says 2020; the authority saw it now.
TEST(TimeStamp, KeepsAnExpiredKeyFromDatingBack) {
  const auto cms = stamp(signed_at("expired", kJune2020));
  EXPECT_TRUE(verify(cms, policy_by(JudgedAt::signing_time, kMiddleOf2020)).has_value());
  for (const std::int64_t clock : {std::int64_t{0}, kMiddleOf2020, kFarAway}) {
    expect_failure(verify(cms, policy_by(JudgedAt::time_stamp, clock)), Errc::untrusted,
                   "it expired on Dec 31 23:59:59 2020 GMT, before the signature was made");
  }
}

/// The other side of it: what was signed and stamped in time stays good for ever.
TEST(TimeStamp, KeepsASignatureGoodThatWasMadeInTime) {
  const auto cms = stamp(signed_at("expired", kJune2020), "tsa", kJune2020);
  const auto verified = verify(cms, policy_by(JudgedAt::time_stamp, kFarAway));
  ASSERT_TRUE(verified.has_value()) << verified.error().message;
  EXPECT_NEAR(static_cast<double>(verified.value()[0].judged_at.seconds), static_cast<double>(kMiddleOf2020), 86400.0);
  // The authority's own certificate begins in 2020: it cannot have stamped before.
  expect_failure(
      verify(stamp(signed_at("p256", kJune2020), "tsa", "2019-06-01 12:00:00"), policy_by(JudgedAt::time_stamp)),
      Errc::untrusted, "not by an authority");
}

TEST(TimeStamp, MissingIsUntrusted) {
  expect_failure(verify(signed_by("p256"), policy_by(JudgedAt::time_stamp)), Errc::untrusted, "has no time stamp");
}

TEST(TimeStamp, OfAnotherAuthorityIsUntrusted) {
  const auto cms = signed_by("p256");
  expect_failure(verify(stamp(cms, "other-tsa"), policy_by(JudgedAt::time_stamp)), Errc::untrusted,
                 "not by an authority that this device trusts (time stamp anchors: /etc/slotkeeper/tsa.pem)");
  expect_failure(verify(stamp(cms, "tsa-rsa"), policy_by(JudgedAt::time_stamp)), Errc::untrusted,
                 "certificate 'CN=Slotkeeper test tsa-rsa': RSA with PKCS#1 v1.5 padding is not allowed");
  // A signer of firmware is no authority for time, nor the other way round.
  auto policy = policy_by(JudgedAt::time_stamp);
  policy.time_stamp_anchors->pem = read_file(certificate_path("ca"));
  expect_failure(verify(stamp(cms), policy), Errc::untrusted, "not by an authority");
  expect_failure(sign_manifest(kSignedText, identity_of("tsa")), Errc::config, "codeSigning");
}

TEST(TimeStamp, OfARevokedAuthorityIsUntrusted) {
  auto policy = policy_by(JudgedAt::time_stamp);
  policy.revocation_lists = PemFile{.pem = read_file(key_folder() + "/ca.crl"), .origin = "/etc/crl.pem"};
  const auto good = stamp(signed_by("p256"));
  expect_failure(verify(good, policy), Errc::untrusted, "'CN=Slotkeeper test tsa-ca' has no revocation list here");
  policy.revocation_lists->pem += read_file(key_folder() + "/tsa-ca.crl");
  const auto verified = verify(good, policy);
  EXPECT_TRUE(verified.has_value()) << verified.error().message;
  expect_failure(verify(stamp(signed_by("p256"), "revoked-tsa"), policy), Errc::untrusted,
                 "'CN=Slotkeeper test revoked-tsa': it was revoked on ");
  EXPECT_TRUE(verify(stamp(signed_by("p256"), "revoked-tsa"), policy_by(JudgedAt::time_stamp)).has_value());
}

/// A list that was issued after the signature counts: it is what the device has.
TEST(TimeStamp, RevocationListsNewerThanTheSignatureCount) {
  auto policy = policy_by(JudgedAt::signing_time);
  policy.revocation_lists = PemFile{.pem = read_file(key_folder() + "/ca-future.crl"), .origin = "/etc/crl.pem"};
  EXPECT_TRUE(verify(signed_by("p256"), policy).has_value());
  expect_failure(verify(signed_by("revoked"), policy), Errc::untrusted, "it was revoked on ");
  policy.revocation_lists->pem = read_file(key_folder() + "/ca-before.crl");
  expect_failure(verify(signed_by("p256"), policy), Errc::untrusted, "ended on Dec 31 23:59:59 2021");
  EXPECT_TRUE(verify(signed_at("expired", kJune2020), policy).has_value());
}

TEST(TimeStamp, IsAskedOfEverySignatureThatCounts) {
  auto policy = policy_by(JudgedAt::time_stamp);
  policy.signatures_required = 2;
  auto cms = add_signature(kSignedText, stamp(signed_by("p256")), identity_of("p384")).value();
  expect_failure(verify(cms, policy), Errc::untrusted, "'CN=Slotkeeper test p384': its signature has no time stamp");
  cms = stamp(cms);
  EXPECT_EQ(time_stamp_request(cms).value(), std::nullopt);
  const auto verified = verify(cms, policy);
  EXPECT_TRUE(verified.has_value()) << verified.error().message;
}

TEST(TimeStamp, IsOnlyAddedToTheSignatureItIsFor) {
  const auto cms = signed_by("p256");
  const auto request = time_stamp_request(cms).value().value();
  const auto response = test::answer_time_stamp_request(request, key_folder(), "tsa");
  expect_failure(add_time_stamp(signed_by("p256"), response), Errc::config, "for none of the bundle's signatures");
  const auto stamped = add_time_stamp(cms, response).value();
  expect_failure(add_time_stamp(stamped, response), Errc::config, "has a time stamp already");
  expect_failure(add_time_stamp(cms, "junk"), Errc::config, "not the answer of a time stamp authority");
  expect_failure(add_time_stamp(cms, request), Errc::config, "not the answer of a time stamp authority");
  expect_failure(add_time_stamp(cms, response + "x"), Errc::config, "not the answer of a time stamp authority");
  // An authority that refuses: it does not know the digest.
  const test::TemporaryDirectory folder;
  write_file(folder / "data", "x");
  run_tool({"openssl", "ts", "-query", "-data", folder / "data", "-sha1", "-out", folder / "query"});
  expect_failure(add_time_stamp(cms, test::answer_time_stamp_request(read_file(folder / "query"), key_folder(), "tsa")),
                 Errc::config, "refused the request (status 2)");
}

/// Where the value of the signature begins, which is the last element of a CMS of one signer without a time stamp.
std::size_t value_begins(const std::string& cms) {
  for (std::size_t length = 60; length < 80; ++length) {
    const std::size_t at = cms.size() - length;
    if (cms[at - 2] == 0x04 && cms[at - 1] == static_cast<char>(length) && cms[at] == 0x30) return at;
  }
  throw std::runtime_error("there is no signature at the end");
}

/// The token of another signature by the same signer over the same text in the same second, put there by hand.
TEST(TimeStamp, OfAnotherSignatureDoesNotCount) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    const std::string one = signed_at("p256", kJune2026);
    const std::string other = signed_at("p256", kJune2026);
    if (one.size() != other.size()) continue;  // ECDSA's numbers are now and then a byte shorter
    const std::string value = one.substr(value_begins(one));
    auto swapped = stamp(one);
    const std::size_t at = swapped.find(value);
    ASSERT_NE(at, std::string::npos);
    swapped.replace(at, value.size(), other.substr(value_begins(other)));
    EXPECT_TRUE(verify(swapped, policy_with()).has_value());
    expect_failure(verify(swapped, policy_by(JudgedAt::time_stamp)), Errc::signature, "it is for another signature");
    return;
  }
  FAIL() << "no two signatures of one length";
}

TEST(TimeStamp, RequestIsWhatOpensslMakesOfTheSignature) {
  const auto cms = signed_by("p256");
  const test::TemporaryDirectory folder;
  write_file(folder / "query", time_stamp_request(cms).value().value());
  const auto text = run_tool({"openssl", "ts", "-query", "-in", folder / "query", "-text"});
  EXPECT_NE(text.find("Hash Algorithm: sha256"), std::string::npos) << text;
  EXPECT_NE(text.find("Certificate required: yes"), std::string::npos) << text;
}

TEST(TimeStamp, AnchorsThatCannotBeReadAreAConfigurationError) {
  auto policy = policy_by(JudgedAt::time_stamp);
  policy.time_stamp_anchors->pem = "junk";
  expect_failure(verify(stamp(signed_by("p256")), policy), Errc::config, "/etc/slotkeeper/tsa.pem");
  policy.time_stamp_anchors.reset();
  expect_failure(verify(stamp(signed_by("p256")), policy), Errc::config, "trust.timestamp-anchors");
}

}  // namespace
}  // namespace slotkeeper::bundle

#include "engine/bundle/signature.hpp"

#include <ctime>

#include <gtest/gtest.h>

#include "tests/unit/engine/bundle/openssl_program.hpp"

namespace slotkeeper::bundle {
namespace {

using test::certificate_path;
using test::expect_failure;
using test::identity_of;
using test::key_path;
using test::policy_with;
using test::read_file;
using test::run_tool;
using test::write_file;

using Program = test::OpensslProgram;
const std::string& kText = test::kSignedText;

const std::vector<std::string> kPss = {"-md", "sha256", "-keyopt", "rsa_padding_mode:pss"};

class GoodSigner : public testing::TestWithParam<const char*> {};

TEST_P(GoodSigner, IsAcceptedByUsAndByOpenssl) {
  const auto cms = sign_manifest(kText, identity_of(GetParam()));
  ASSERT_TRUE(cms.has_value()) << cms.error().message;
  const auto signers = verify_manifest_signature(kText, cms.value(), policy_with());
  ASSERT_TRUE(signers.has_value()) << signers.error().message;
  ASSERT_EQ(signers.value().size(), 1u);
  EXPECT_EQ(signers.value()[0].subject, "CN=Slotkeeper test " + std::string(GetParam()));
  EXPECT_EQ(Program().verify(cms.value()), kText);
}

TEST_P(GoodSigner, IsAcceptedWhenItsOwnCertificateIsTheAnchor) {
  const auto cms = sign_manifest(kText, identity_of(GetParam())).value();
  EXPECT_TRUE(verify_manifest_signature(kText, cms, policy_with(GetParam())).has_value());
}

TEST_P(GoodSigner, IsUnknownToAnotherAuthority) {
  const auto cms = sign_manifest(kText, identity_of(GetParam())).value();
  expect_failure(verify_manifest_signature(kText, cms, policy_with("other-ca")), Errc::untrusted,
                 "its issuer 'CN=Slotkeeper test ca' is unknown");
}

TEST_P(GoodSigner, DoesNotSpeakForOtherBytes) {
  const auto cms = sign_manifest(kText, identity_of(GetParam())).value();
  expect_failure(verify_manifest_signature(kText + " ", cms, policy_with()), Errc::signature, "does not match");
  expect_failure(verify_manifest_signature("", cms, policy_with()), Errc::signature, "does not match");
}

INSTANTIATE_TEST_SUITE_P(Signers, GoodSigner, testing::Values("p256", "p384", "rsa3072", "brainpool"));

TEST(Signature, UsesSha384WithP384AndPssWithRsa) {
  Program program;
  EXPECT_NE(program.describe(sign_manifest(kText, identity_of("p384")).value()).find("ecdsa-with-SHA384"),
            std::string::npos);
  const std::string rsa = program.describe(sign_manifest(kText, identity_of("rsa3072")).value());
  EXPECT_NE(rsa.find("rsassaPss"), std::string::npos);
  EXPECT_NE(rsa.find("INTEGER           :20"), std::string::npos) << rsa;  // the salt has 0x20 bytes
  EXPECT_EQ(rsa.find("smimeCapabilities"), std::string::npos);
}

TEST(Signature, AcceptsWhatOpensslSigned) {
  Program program;
  for (const std::string name : {"p256", "p384"}) {
    const auto cms = program.sign(Program::by(name));
    const auto signers = verify_manifest_signature(kText, cms, policy_with());
    EXPECT_TRUE(signers.has_value()) << signers.error().message;
  }
  const auto signers = verify_manifest_signature(kText, program.sign(Program::by("rsa3072", kPss)), policy_with());
  EXPECT_TRUE(signers.has_value()) << signers.error().message;
}

TEST(Signature, AcceptsARsaPssKey) {
  test::TemporaryDirectory folder;
  run_tool({"openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa-pss",
            "-pkeyopt",
            "rsa_keygen_bits:3072",
            "-nodes",
            "-subj",
            "/CN=pss",
            "-days",
            "3650",
            "-addext",
            "keyUsage=digitalSignature",
            "-addext",
            "extendedKeyUsage=codeSigning",
            "-keyout",
            folder / "key",
            "-out",
            folder / "certificate"});
  const SigningIdentity identity{.certificate_pem = read_file(folder / "certificate"),
                                 .key_pem = read_file(folder / "key"),
                                 .intermediates_pem = {}};
  const auto cms = sign_manifest(kText, identity);
  ASSERT_TRUE(cms.has_value()) << cms.error().message;
  auto policy = policy_with();
  policy.anchors_pem = identity.certificate_pem;
  policy.now.seconds = std::time(nullptr) + 60;  // its certificate was made just now
  const auto signers = verify_manifest_signature(kText, cms.value(), policy);
  EXPECT_TRUE(signers.has_value()) << signers.error().message;
}

struct BadSigner {
  const char* name;
  const char* gist;
};
void PrintTo(const BadSigner& signer, std::ostream* out) { *out << signer.name; }

class BadSigners : public testing::TestWithParam<BadSigner> {};

TEST_P(BadSigners, AreUntrusted) {
  const std::string name = GetParam().name;
  std::vector<std::string> more = name == "rsa2048" ? kPss : std::vector<std::string>{"-md", "sha256"};
  const std::string issuer = name.substr(0, 3) == "by-" ? name.substr(3) : "";
  if (!issuer.empty()) {
    const std::string certificate = issuer == "signer" ? "p256" : issuer;
    more.insert(more.end(), {"-certfile", certificate_path(certificate)});
  }
  const auto cms = Program().sign(Program::by(name, more));
  const auto verified = verify_manifest_signature(kText, cms, policy_with());
  expect_failure(verified, Errc::untrusted, GetParam().gist);
  if (!verified.has_value()) {
    EXPECT_NE(verified.error().message.find("CN=Slotkeeper test "), std::string::npos) << verified.error().message;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Signers, BadSigners,
    testing::Values(BadSigner{"unknown", "its issuer 'CN=Slotkeeper test other-ca' is unknown"},
                    BadSigner{"impostor", "not signed by the 'CN=Slotkeeper test ca' that is trusted"},
                    BadSigner{"expired", "expired on Dec 31 23:59:59 2020"},
                    BadSigner{"not-yet-valid", "valid only from Jan  1 00:00:00 2048"},
                    BadSigner{"wrong-purpose", "extendedKeyUsage does not have codeSigning"},
                    BadSigner{"no-purpose", "extendedKeyUsage does not have codeSigning"},
                    BadSigner{"no-usage", "keyUsage does not have digitalSignature"},
                    BadSigner{"rsa2048", "only 2048 bits"}, BadSigner{"p521", "curve secp521r1 is not allowed"},
                    BadSigner{"explicit", "explicit curve parameters"}, BadSigner{"sha1", "signed with SHA1"},
                    BadSigner{"by-weak-ca", "only 2048 bits"}, BadSigner{"by-signer", "'CN=Slotkeeper test p256'"},
                    BadSigner{"by-server-ca", "extendedKeyUsage does not have codeSigning"}));

/// What devices refuse for ever is refused when it is signed; what depends on their anchors and clocks is not.
TEST(Signature, IsNotMadeWithWhatDevicesRefuse) {
  for (const std::string name : {"wrong-purpose", "no-purpose", "no-usage", "rsa2048", "p521", "explicit", "sha1"}) {
    expect_failure(sign_manifest(kText, identity_of(name)), Errc::config, "devices would refuse");
  }
  for (const std::string authority : {"weak-ca", "server-ca", "p256"}) {
    auto identity = identity_of("p384");
    identity.intermediates_pem.push_back(read_file(certificate_path(authority)));
    expect_failure(sign_manifest(kText, identity), Errc::config, "intermediate");
  }
  EXPECT_TRUE(sign_manifest(kText, identity_of("expired")).has_value());
  EXPECT_TRUE(sign_manifest(kText, identity_of("unknown")).has_value());
}

TEST(Signature, IsNotMadeWithoutAKeyAndItsCertificate) {
  auto identity = identity_of("p256");
  identity.key_pem = read_file(key_path("p384"));
  expect_failure(sign_manifest(kText, identity), Errc::config, "does not belong to");
  identity.key_pem = "nothing";
  expect_failure(sign_manifest(kText, identity), Errc::config, "private key");
  identity = identity_of("p256");
  identity.certificate_pem = "";
  expect_failure(sign_manifest(kText, identity), Errc::config, "holds no certificate");
  identity.certificate_pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  expect_failure(sign_manifest(kText, identity), Errc::config, "not a certificate");
}

TEST(Signature, KeyWithAPassphraseIsRefusedWithoutAsking) {
  test::TemporaryDirectory folder;
  run_tool({"openssl", "pkey", "-in", key_path("p256"), "-aes256", "-passout", "pass:x", "-out", folder / "key"});
  auto identity = identity_of("p256");
  identity.key_pem = read_file(folder / "key");
  expect_failure(sign_manifest(kText, identity), Errc::config, "passphrase");
}

TEST(Signature, Pkcs1PaddingIsUntrusted) {
  expect_failure(verify_manifest_signature(kText, Program().sign(Program::by("rsa3072")), policy_with()),
                 Errc::untrusted, "PKCS#1 v1.5");
}

TEST(Signature, WeakDigestsAreUntrusted) {
  Program program;
  expect_failure(verify_manifest_signature(kText, program.sign(Program::by("p256", {"-md", "sha1"})), policy_with()),
                 Errc::untrusted, "the digest is none of");
  expect_failure(verify_manifest_signature(kText, program.sign(Program::by("p256", {"-md", "sha224"})), policy_with()),
                 Errc::untrusted, "the digest is none of");
  const auto weak_mask = program.sign(
      Program::by("rsa3072", {"-md", "sha256", "-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_mgf1_md:sha1"}));
  expect_failure(verify_manifest_signature(kText, weak_mask, policy_with()), Errc::untrusted, "RSA-PSS parameters");
  const auto short_salt = program.sign(
      Program::by("rsa3072", {"-md", "sha256", "-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_pss_saltlen:8"}));
  expect_failure(verify_manifest_signature(kText, short_salt, policy_with()), Errc::untrusted, "RSA-PSS parameters");
}

TEST(Signature, MissingIntermediateIsNamed) {
  expect_failure(verify_manifest_signature(kText, Program().sign(Program::by("brainpool")), policy_with()),
                 Errc::untrusted, "its issuer 'CN=Slotkeeper test intermediate' is unknown");
}

TEST(Signature, OneGoodSignerOfTwoIsEnough) {
  Program program;
  for (const std::string other : {"unknown", "expired", "wrong-purpose"}) {
    auto options = Program::by("p256");
    const auto second = Program::by(other, {});
    options.insert(options.end(), second.begin(), second.end());
    const auto cms = program.sign(options);
    const auto signers = verify_manifest_signature(kText, cms, policy_with());
    ASSERT_TRUE(signers.has_value()) << signers.error().message;
    ASSERT_EQ(signers.value().size(), 1u);
    EXPECT_EQ(signers.value()[0].subject, "CN=Slotkeeper test p256");
    auto policy = policy_with();
    policy.signatures_required = 2;
    expect_failure(verify_manifest_signature(kText, cms, policy), Errc::untrusted, "Slotkeeper test " + other);
  }
}

TEST(Signature, TwoSignersCountAndOneKeyTwiceDoesNot) {
  Program program;
  auto policy = policy_with();
  policy.signatures_required = 2;
  auto options = Program::by("p256");
  const auto second = Program::by("p384", {});
  options.insert(options.end(), second.begin(), second.end());
  const auto signers = verify_manifest_signature(kText, program.sign(options), policy);
  ASSERT_TRUE(signers.has_value()) << signers.error().message;
  EXPECT_EQ(signers.value().size(), 2u);

  // Two SignerInfos by the same key.
  const std::string once = program.sign(Program::by("p256"));
  expect_failure(verify_manifest_signature(kText, once, policy), Errc::untrusted, "2 are required");
  test::TemporaryDirectory folder;
  write_file(folder / "once", once);
  write_file(folder / "text", kText);
  run_tool({"openssl", "cms", "-resign", "-inform", "DER", "-in", folder / "once", "-binary", "-outform", "DER", "-out",
            folder / "twice", "-signer", certificate_path("p256"), "-inkey", key_path("p256"), "-nocerts"});
  expect_failure(verify_manifest_signature(kText, read_file(folder / "twice"), policy), Errc::untrusted,
                 "signed more than once");
  EXPECT_TRUE(verify_manifest_signature(kText, read_file(folder / "twice"), policy_with()).has_value());
}

/// Somebody with an old and a renewed certificate is one signer where signers have names.
TEST(Signature, ANameCountsOnceWhereSignersAreNamed) {
  auto options = Program::by("p256");
  const auto second = Program::by("p256-renewed", {});
  options.insert(options.end(), second.begin(), second.end());
  const auto cms = Program().sign(options);
  auto policy = policy_with();
  policy.signatures_required = 2;
  EXPECT_TRUE(verify_manifest_signature(kText, cms, policy).has_value());
  policy.signers = {"Slotkeeper test p384", "Slotkeeper test p256"};
  expect_failure(verify_manifest_signature(kText, cms, policy), Errc::untrusted,
                 "the bundle has 1 good signature, 2 are required: certificate 'CN=Slotkeeper test p256': 'Slotkeeper "
                 "test p256' has signed more than once");
  policy.signatures_required = 1;
  EXPECT_TRUE(verify_manifest_signature(kText, cms, policy).has_value());
}

TEST(Signature, IsGoodUnderEveryNameOfItsSigner) {
  const auto cms = sign_manifest(kText, identity_of("named")).value();
  auto policy = policy_with();
  for (const std::string name :
       {"Slotkeeper test named", "release@vendor.example", "build.vendor.example", "urn:vendor:release"}) {
    policy.signers = {"somebody else", name};
    EXPECT_TRUE(verify_manifest_signature(kText, cms, policy).has_value()) << name;
  }
  for (const std::string name : {"slotkeeper test named", "Slotkeeper test", "CN=Slotkeeper test named", "*",
                                 "RELEASE@vendor.example", "vendor.example", "Slotkeeper test ca"}) {
    policy.signers = {name};
    expect_failure(verify_manifest_signature(kText, cms, policy), Errc::untrusted, "none of its names");
  }
  // The name alone is not enough.
  policy.signers = {"Slotkeeper test unknown"};
  expect_failure(verify_manifest_signature(kText, sign_manifest(kText, identity_of("unknown")).value(), policy),
                 Errc::untrusted, "is unknown");
}

/// An authority changes its key and keeps its name: both are anchors until nobody signs below the old one any more.
TEST(Signature, AnchorsOfTheOldAndTheNewAuthorityStandSideBySide) {
  const auto before = sign_manifest(kText, identity_of("p256")).value();
  const auto after = sign_manifest(kText, identity_of("successor")).value();
  auto policy = policy_with("ca");
  EXPECT_TRUE(verify_manifest_signature(kText, before, policy).has_value());
  expect_failure(verify_manifest_signature(kText, after, policy), Errc::untrusted);
  for (const auto& [first, second] : {std::pair("ca", "impostor-ca"), std::pair("impostor-ca", "ca")}) {
    policy.anchors_pem = read_file(certificate_path(first)) + "\n# and\n" + read_file(certificate_path(second));
    EXPECT_TRUE(verify_manifest_signature(kText, before, policy).has_value());
    EXPECT_TRUE(verify_manifest_signature(kText, after, policy).has_value());
  }
  policy = policy_with("impostor-ca");
  expect_failure(verify_manifest_signature(kText, before, policy), Errc::untrusted);
  EXPECT_TRUE(verify_manifest_signature(kText, after, policy).has_value());
}

TEST(Signature, RefusesAnotherKindOfCms) {
  Program program;
  expect_failure(verify_manifest_signature(kText, program.sign(Program::by("p256", {"-md", "sha256", "-nodetach"})),
                                           policy_with()),
                 Errc::signature, "not detached");
  expect_failure(
      verify_manifest_signature(kText, program.sign(Program::by("p256", {"-md", "sha256", "-noattr"})), policy_with()),
      Errc::signature, "no signed attributes");
  // Without the certificate nobody knows who it was, unless the device has it as an anchor.
  const auto without = program.sign(Program::by("p256", {"-md", "sha256", "-nocerts"}));
  expect_failure(verify_manifest_signature(kText, without, policy_with()), Errc::untrusted, "neither in the signature");
  EXPECT_TRUE(verify_manifest_signature(kText, without, policy_with("p256")).has_value());
}

TEST(Signature, RefusesWhatIsNotExactlyOneCms) {
  const auto cms = sign_manifest(kText, identity_of("p256")).value();
  for (const std::string& bytes : {std::string(), std::string("x"), std::string(100, '\0'), cms + '\0', cms + cms,
                                   std::string(kSignatureMaxBytes + 1, '0')}) {
    expect_failure(verify_manifest_signature(kText, bytes, policy_with()), Errc::signature);
  }
  for (std::size_t length = 0; length < cms.size(); ++length) {
    expect_failure(verify_manifest_signature(kText, cms.substr(0, length), policy_with()), Errc::signature);
  }
}

/// Wherever a bit is turned over, nobody trusted has signed any more.
TEST(Signature, RefusesATurnedBitInEveryByte) {
  const auto cms = sign_manifest(kText, identity_of("brainpool")).value();
  const auto policy = policy_with();
  for (std::size_t i = 0; i < cms.size(); ++i) {
    auto turned = cms;
    turned[i] = static_cast<char>(turned[i] ^ (1 << (i % 8)));
    const auto verified = verify_manifest_signature(kText, turned, policy);
    ASSERT_FALSE(verified.has_value()) << "byte " << i << " of " << cms.size();
    EXPECT_TRUE(verified.error().code == Errc::signature || verified.error().code == Errc::untrusted);
  }
}

/// The bytes that no signature covers and OpenSSL does not compare, and the bits that tell DER from other spellings.
TEST(Signature, RefusesTurnedBitsOutsideWhatIsSigned) {
  const auto policy = policy_with();
  for (const std::string name : {"p256", "rsa3072"}) {
    const auto cms = sign_manifest(kText, identity_of(name)).value();
    const std::size_t signer = cms.rfind(std::string("\x02\x01\x01\x30", 4));  // SignerInfo: version, then the issuer
    ASSERT_NE(signer, std::string::npos);
    std::vector<std::size_t> places = {signer + 2, signer + 3};
    for (std::size_t i = 20; i < 60; ++i) places.push_back(i);              // version, digests, content type
    for (std::size_t i = 0; i < 60; ++i) places.push_back(signer + 3 + i);  // the issuer's name
    for (const std::size_t place : places) {
      for (int bit = 0; bit < 8; ++bit) {
        auto turned = cms;
        turned[place] = static_cast<char>(turned[place] ^ (1 << bit));
        EXPECT_FALSE(verify_manifest_signature(kText, turned, policy).has_value())
            << name << ": byte " << place << ", bit " << bit;
      }
    }
  }
}

TEST(Signature, AnchorsThatCannotBeReadAreAConfigurationError) {
  const auto cms = sign_manifest(kText, identity_of("p256")).value();
  auto policy = policy_with();
  for (const std::string& anchors :
       {std::string(), std::string("junk"), read_file(key_path("p256")),
        policy.anchors_pem + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}) {
    policy.anchors_pem = anchors;
    expect_failure(verify_manifest_signature(kText, cms, policy), Errc::config, "/etc/slotkeeper/trust.pem");
  }
}

TEST(Signature, LooksAtTheClockOfThePolicy) {
  const auto cms = sign_manifest(kText, identity_of("expired")).value();
  auto policy = policy_with();
  policy.now.seconds = 1590000000;  // May 2020
  EXPECT_TRUE(verify_manifest_signature(kText, cms, policy).has_value());
  policy.now.seconds = 0;
  expect_failure(verify_manifest_signature(kText, cms, policy), Errc::untrusted, "check the device's clock");
}

}  // namespace
}  // namespace slotkeeper::bundle

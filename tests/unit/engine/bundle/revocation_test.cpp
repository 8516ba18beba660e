#include <gtest/gtest.h>

#include "tests/unit/engine/bundle/openssl_program.hpp"

namespace slotkeeper::bundle {
namespace {

using test::certificate_path;
using test::expect_failure;
using test::identity_of;
using test::kSignedText;
using test::policy_with;
using test::read_file;
using test::run_tool;

constexpr std::int64_t kMiddleOf2021 = 1625000000;

std::string list_path(const std::string& name) { return test::key_folder() + "/" + name + ".crl"; }

TrustPolicy policy_with_lists(const std::vector<std::string>& names, const std::string& anchor = "ca") {
  auto policy = policy_with(anchor);
  PemFile lists{.pem = {}, .origin = "/etc/slotkeeper/crl.pem"};
  for (const auto& name : names) lists.pem += read_file(list_path(name));
  policy.revocation_lists = lists;
  return policy;
}

Result<std::vector<Signer>> verify(const std::string& signer, const TrustPolicy& policy) {
  auto identity = identity_of(signer);
  if (signer.starts_with("by-")) identity.intermediates_pem = {read_file(certificate_path(signer.substr(3)))};
  return verify_manifest_signature(kSignedText, sign_manifest(kSignedText, identity).value(), policy);
}

TEST(Revocation, LeavesAloneWhoIsNotRevoked) {
  for (const std::string name : {"p256", "p384", "rsa3072"}) {
    const auto verified = verify(name, policy_with_lists({"ca"}));
    EXPECT_TRUE(verified.has_value()) << verified.error().message;
  }
  EXPECT_TRUE(verify("brainpool", policy_with_lists({"ca", "intermediate"})).has_value());
  EXPECT_TRUE(verify("brainpool", policy_with_lists({"intermediate", "impostor-ca", "ca"})).has_value());
}

TEST(Revocation, OfASignerIsNamedWithDateAndReason) {
  EXPECT_TRUE(verify("revoked", policy_with()).has_value());
  const auto verified = verify("revoked", policy_with_lists({"ca"}));
  expect_failure(verified, Errc::untrusted, "certificate 'CN=Slotkeeper test revoked': it was revoked on ");
  expect_failure(verified, Errc::untrusted, "its key is in other hands");
}

TEST(Revocation, OfAnAuthorityCountsForAllItSigned) {
  EXPECT_TRUE(verify("by-revoked-ca", policy_with()).has_value());
  expect_failure(verify("by-revoked-ca", policy_with_lists({"ca", "revoked-ca"})), Errc::untrusted,
                 "certificate 'CN=Slotkeeper test revoked-ca': it was revoked on ");
}

TEST(Revocation, IsAskedOfEveryAuthorityOfTheChain) {
  expect_failure(verify("brainpool", policy_with_lists({"ca"})), Errc::untrusted,
                 "its issuer 'CN=Slotkeeper test intermediate' has no revocation list here");
  expect_failure(verify("brainpool", policy_with_lists({"intermediate"})), Errc::untrusted,
                 "certificate 'CN=Slotkeeper test intermediate': its issuer 'CN=Slotkeeper test ca' has no");
  // Of the same name, but by another key.
  expect_failure(verify("p256", policy_with_lists({"impostor-ca"})), Errc::untrusted, "has no revocation list here");
}

TEST(Revocation, OfAnAnchorIsNobodysToSay) {
  EXPECT_TRUE(verify("p256", policy_with_lists({"intermediate"}, "p256")).has_value());
  EXPECT_TRUE(verify("brainpool", policy_with_lists({"intermediate"}, "intermediate")).has_value());
}

TEST(Revocation, ListsOutOfTheirTimeAreNotEnough) {
  expect_failure(verify("p256", policy_with_lists({"ca-before"})), Errc::untrusted,
                 "ended on Dec 31 23:59:59 2021 GMT; the device needs a newer one (revocation lists: "
                 "/etc/slotkeeper/crl.pem)");
  expect_failure(verify("p256", policy_with_lists({"ca-future"})), Errc::untrusted,
                 "valid only from Jan  1 00:00:00 2048 GMT; check the device's clock");
  EXPECT_TRUE(verify("p256", policy_with_lists({"ca-before", "ca"})).has_value());
}

/// A list that was exchanged for an older one which still holds, or a file to which new lists are only added.
TEST(Revocation, CountsInWhateverListItStands) {
  for (const auto& order : {std::vector<std::string>{"ca-before", "ca-future"}, {"ca-future", "ca-before"}}) {
    auto policy = policy_with_lists(order);
    policy.now.seconds = kMiddleOf2021;  // the older one is the one that is valid now
    EXPECT_TRUE(verify("p256", policy).has_value());
    expect_failure(verify("revoked", policy), Errc::untrusted, "it was revoked on ");
  }
}

TEST(Revocation, ForgedListsDoNotCount) {
  const test::TemporaryDirectory folder;
  run_tool({"openssl", "crl", "-in", list_path("ca-before"), "-outform", "DER", "-out", folder / "list"});
  std::string list = read_file(folder / "list");
  list.back() = static_cast<char>(list.back() ^ 1);
  test::write_file(folder / "list", list);
  auto policy = policy_with_lists({});
  policy.revocation_lists->pem = run_tool({"openssl", "crl", "-inform", "DER", "-in", folder / "list"});
  policy.now.seconds = kMiddleOf2021;
  expect_failure(verify("p256", policy), Errc::untrusted, "CRL signature failure");
}

TEST(Revocation, FilesThatCannotBeReadAreAConfigurationError) {
  const std::string good = read_file(list_path("ca"));
  for (const std::string& text : {std::string(), std::string("junk"), read_file(certificate_path("ca")),
                                  good + "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
                                  good.substr(0, good.size() / 2), read_file(list_path("ca-sha1"))}) {
    auto policy = policy_with_lists({});
    policy.revocation_lists->pem = text;
    expect_failure(verify("p256", policy), Errc::config, "/etc/slotkeeper/crl.pem");
  }
  expect_failure(verify("p256", policy_with_lists({"ca", "ca-sha1"})), Errc::config, "is signed with SHA1");
}

/// `openssl verify -crl_check_all` comes to the same.
TEST(Revocation, OpensslSaysTheSame) {
  for (const std::string name : {"p256", "brainpool", "revoked", "by-revoked-ca"}) {
    std::vector<std::string> command = {"openssl", "verify", "-crl_check_all", "-CAfile", certificate_path("ca")};
    for (const std::string list : {"ca", "intermediate", "revoked-ca"}) {
      command.insert(command.end(), {"-CRLfile", list_path(list)});
    }
    for (const std::string authority : {"intermediate", "revoked-ca"}) {
      command.insert(command.end(), {"-untrusted", certificate_path(authority)});
    }
    command.push_back(certificate_path(name));
    bool accepted = true;
    try {
      run_tool(command);
    } catch (const std::runtime_error&) {
      accepted = false;
    }
    EXPECT_EQ(verify(name, policy_with_lists({"ca", "intermediate", "revoked-ca"})).has_value(), accepted) << name;
    EXPECT_EQ(accepted, name == "p256" || name == "brainpool") << name;
  }
}

}  // namespace
}  // namespace slotkeeper::bundle

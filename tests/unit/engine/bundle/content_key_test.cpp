#include "engine/bundle/content_key.hpp"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/engine/bundle/bundle_workshop.hpp"

namespace slotkeeper::bundle {
namespace {

using test::certificate_path;
using test::expect_failure;
using test::key_path;
using test::read_file;
using test::recipient_of;
using test::run_tool;

Result<std::string> wrap(const ContentKey& key, const std::vector<std::string>& names) {
  std::vector<std::string> certificates;
  for (const auto& name : names) certificates.push_back(read_file(certificate_path(name)));
  return wrap_content_key(key, certificates);
}
Result<std::string> wrap(const std::vector<std::string>& names) { return wrap(*make_content_key().value(), names); }

std::string wrapped_for(const ContentKey& key, const std::vector<std::string>& names) {
  return wrap(key, names).value();
}

/// Wraps the way openssl cms does, by hand.
std::string wrapped_by_openssl(const std::string& content, const std::string& recipient,
                               const std::vector<std::string>& options) {
  const test::TemporaryDirectory folder;
  test::write_file(folder / "key", content);
  std::vector<std::string> command = {"openssl",
                                      "cms",
                                      "-encrypt",
                                      "-binary",
                                      "-outform",
                                      "DER",
                                      "-aes256",
                                      "-in",
                                      folder / "key",
                                      "-out",
                                      folder / "cms",
                                      "-recip",
                                      certificate_path(recipient)};
  command.insert(command.end(), options.begin(), options.end());
  run_tool(command);
  return read_file(folder / "cms");
}

TEST(ContentKey, EachRecipientUnwrapsIt) {
  const auto key = make_content_key().value();
  const std::string wrapped = wrapped_for(*key, {"device", "device-rsa", "group"});
  EXPECT_LE(wrapped.size(), kWrappedKeyMaxBytes);
  for (const char* name : {"device", "device-rsa", "group"}) {
    const auto unwrapped = unwrap_content_key(wrapped, recipient_of(name));
    ASSERT_TRUE(unwrapped.has_value()) << name << ": " << unwrapped.error().message;
    EXPECT_EQ(unwrapped.value()->bytes, key->bytes) << name;
  }
}

TEST(ContentKey, IsAnotherOneEachTime) {
  EXPECT_NE(make_content_key().value()->bytes, make_content_key().value()->bytes);
}

TEST(ContentKey, OthersDoNotUnwrapIt) {
  const std::string wrapped = wrap({"device", "device-rsa"}).value();
  expect_failure(unwrap_content_key(wrapped, recipient_of("stranger")), Errc::incompatible,
                 "not for 'CN=Slotkeeper test stranger'");
  // Who only has the certificate has nothing.
  auto thief = recipient_of("stranger");
  thief.certificate_pem = read_file(certificate_path("device"));
  expect_failure(unwrap_content_key(wrapped, thief), Errc::config, "do not belong together");
}

TEST(ContentKey, IsUnwrappedByHand) {
  const auto key = make_content_key().value();
  const std::string wrapped = wrapped_for(*key, {"device", "device-rsa"});
  const test::TemporaryDirectory folder;
  test::write_file(folder / "cms", wrapped);
  for (const char* name : {"device", "device-rsa"}) {
    run_tool({"openssl", "cms", "-decrypt", "-inform", "DER", "-in", folder / "cms", "-binary", "-recip",
              certificate_path(name), "-inkey", key_path(name), "-out", folder / name});
    EXPECT_EQ(read_file(folder / name), io::as_text(key->bytes)) << name;
  }
  const auto printed =
      run_tool({"openssl", "cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", folder / "cms"});
  for (const char* gist : {"rsaesOaep", "sha256", "id-aes256-wrap", "aes-256-cbc"}) {
    EXPECT_THAT(printed, testing::HasSubstr(gist));
  }
}

TEST(ContentKey, WhatWasWrappedByHandIsUnwrapped) {
  const std::string content(kContentKeyBytes, 'k');
  const auto by_hand = wrapped_by_openssl(content, "device-rsa", {"-keyopt", "rsa_padding_mode:oaep"});
  const auto unwrapped = unwrap_content_key(by_hand, recipient_of("device-rsa"));
  ASSERT_TRUE(unwrapped.has_value()) << unwrapped.error().message;
  EXPECT_EQ(io::as_text(unwrapped.value()->bytes), content);
  const auto by_key_id = wrapped_by_openssl(content, "device", {"-keyid"});
  EXPECT_TRUE(unwrap_content_key(by_key_id, recipient_of("device")).has_value());
}

TEST(ContentKey, RefusesOtherFormsAndLengths) {
  const std::string content(kContentKeyBytes, 'k');
  expect_failure(unwrap_content_key(wrapped_by_openssl(content, "device-rsa", {}), recipient_of("device-rsa")),
                 Errc::unsupported, "OAEP");
  for (const std::string& other : {content + "k", content.substr(1), std::string("k")}) {
    expect_failure(unwrap_content_key(wrapped_by_openssl(other, "device", {}), recipient_of("device")), Errc::corrupt,
                   "another length");
  }
  const std::string wrapped = wrap({"device"}).value();
  for (const std::string& other : {std::string(), std::string("x"), wrapped + "x", wrapped.substr(1)}) {
    expect_failure(unwrap_content_key(other, recipient_of("device")), Errc::corrupt, "EnvelopedData");
    expect_failure(recipients_of(other), Errc::corrupt, "EnvelopedData");
  }
  const std::string signature = sign_manifest("{}", test::identity_of("p256")).value();
  expect_failure(unwrap_content_key(signature, recipient_of("device")), Errc::corrupt, "EnvelopedData");
}

/// What is between the sender and the recipient is covered by the manifest's signature. Damage must still end well.
TEST(ContentKey, DamageNeverGivesTheKeyToAnother) {
  const auto key = make_content_key().value();
  const std::string wrapped = wrapped_for(*key, {"device"});
  for (std::size_t at = 0; at < wrapped.size(); ++at) {
    std::string damaged = wrapped;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    static_cast<void>(recipients_of(damaged).has_value());
    EXPECT_FALSE(unwrap_content_key(damaged, recipient_of("stranger")).has_value()) << at;
  }
}

TEST(ContentKey, IsWrappedForUsableCertificatesOnly) {
  expect_failure(wrap({}), Errc::config, "1 to 64 recipients");
  expect_failure(wrap({"device", "group", "device"}), Errc::config, "stands twice");
  expect_failure(wrap({"p256"}), Errc::config, "keyAgreement");
  expect_failure(wrap({"rsa3072"}), Errc::config, "keyEncipherment");
  expect_failure(wrap({"rsa2048"}), Errc::config, "cannot be encrypted for");
  expect_failure(wrap({"p521"}), Errc::config, "cannot be encrypted for");
  expect_failure(wrap_content_key(*make_content_key().value(), {"no certificate"}), Errc::config, "certificate");
}

TEST(ContentKey, RefusesAKeyThatCannotBeRead) {
  const std::string wrapped = wrap({"device"}).value();
  auto identity = recipient_of("device");
  identity.key_pem = "nothing";
  expect_failure(unwrap_content_key(wrapped, identity), Errc::config, "not a private key in PEM form");
  const test::TemporaryDirectory folder;
  run_tool({"openssl", "pkey", "-in", key_path("device"), "-aes256", "-passout", "pass:x", "-out", folder / "key"});
  identity.key_pem = read_file(folder / "key");
  expect_failure(unwrap_content_key(wrapped, identity), Errc::config, "without a passphrase");
}

TEST(ContentKey, NamesItsRecipients) {
  const auto recipients = recipients_of(wrap({"device", "device-rsa"}).value()).value();
  ASSERT_EQ(recipients.size(), 2u);
  EXPECT_EQ(recipients[0].issuer, "CN=Slotkeeper test ca");
  const auto serial_of = [](const std::string& name) {
    std::string text = run_tool({"openssl", "x509", "-noout", "-serial", "-in", certificate_path(name)});
    text = text.substr(text.find('=') + 1);
    text.erase(std::remove(text.begin(), text.end(), '\n'), text.end());
    std::ranges::transform(text, text.begin(), [](char c) { return c >= 'A' && c <= 'F' ? char(c + 'a' - 'A') : c; });
    return text;
  };
  // DER sorts them.
  EXPECT_THAT((std::vector{recipients[0].serial, recipients[1].serial}),
              testing::UnorderedElementsAre(serial_of("device"), serial_of("device-rsa")));
  const auto by_key_id = recipients_of(wrapped_by_openssl("k", "device", {"-keyid"})).value();
  ASSERT_EQ(by_key_id.size(), 1u);
  EXPECT_EQ(by_key_id[0].issuer, "");
  EXPECT_EQ(by_key_id[0].serial.size(), 40u);
}

}  // namespace
}  // namespace slotkeeper::bundle

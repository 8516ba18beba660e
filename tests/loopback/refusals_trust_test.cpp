// Exit 4 and 2: what `[trust]` asks for beyond a chain to an anchor.
#include <filesystem>

#include "tests/loopback/refusals.hpp"
#include "tests/support/time_stamp_authority.hpp"

namespace slotkeeper::test {
namespace {

/// One more signature beside those in the bundle, by the openssl program.
void sign_also(BundleFile& bundle, Signer signer) {
  const TemporaryDirectory folder;
  write_file(folder / "manifest", bundle.member("manifest.json").data);
  write_file(folder / "one", bundle.member("manifest.cms").data);
  std::vector<std::string> command = {"openssl",  "cms",
                                      "-resign",  "-binary",
                                      "-inform",  "DER",
                                      "-in",      folder / "one",
                                      "-md",      "sha256",
                                      "-signer",  Material::get().certificate(signer),
                                      "-inkey",   Material::get().key(signer),
                                      "-outform", "DER",
                                      "-out",     folder / "two"};
  if (signer == Signer::good) command.emplace_back("-nocerts");  // it is there already
  run_tool(command);
  bundle.replace("manifest.cms", contents_of(folder / "two"));
}

const std::string kTimeStamps = "time = \"timestamp\"\ntimestamp-anchors = \"$tsa-ca.pem\"";

/// By the signer `expired` under a clock that was set back.
void sign_in_2020(BundleFile& bundle) {
  const TemporaryDirectory folder;
  write_file(folder / "manifest", bundle.member("manifest.json").data);
  run_tool({"faketime", "2020-06-12 12:00:00", "openssl", "cms", "-sign", "-binary", "-md", "sha256", "-in",
            folder / "manifest", "-signer", Material::get().certificate(Signer::expired), "-inkey",
            Material::get().key(Signer::expired), "-outform", "DER", "-out", folder / "cms"});
  bundle.replace("manifest.cms", contents_of(folder / "cms"));
}

/// Asks an authority of fixtures/keys/make-keys for a time stamp, with the program's own commands.
void stamp_file(const std::string& path, const std::string& authority) {
  const TemporaryDirectory folder;
  const auto run = [&](const std::vector<std::string>& arguments) {
    std::vector<std::string> command = {program_path(), "--json", "bundle", "timestamp"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    const Answer answer = run_program(command);
    if (answer.exit_status != 0) throw std::runtime_error(answer.story());
  };
  run({"--request", folder / "request", path});
  const std::string keys = Material::get().key_file("");
  write_file(folder / "response", answer_time_stamp_request(contents_of(folder / "request"), keys, authority));
  run({"--response", folder / "response", path});
}

void stamp(BundleFile& bundle, const std::string& authority) {
  const TemporaryDirectory folder;
  bundle.write(folder / "bundle");
  stamp_file(folder / "bundle", authority);
  bundle = BundleFile::read(folder / "bundle");
}

INSTANTIATE_TEST_SUITE_P(
    Trust, Refuses,
    testing::Values(
        Refusal{"RevokedSigner",
                with_trust("crl = \"$ca.crl\"", signed_by(Signer::revoked)),
                4,
                "untrusted",
                "Slotkeeper test revoked.*it was revoked on",
                {}},
        Refusal{"NoListOfTheIssuer",
                with_trust("crl = \"$intermediate.crl\""),
                4,
                "untrusted",
                "Slotkeeper test ca.*has no revocation list",
                {}},
        Refusal{"ListOutOfDate",
                with_trust("crl = \"$ca-before.crl\""),
                4,
                "untrusted",
                "revocation list.*ended on Dec 31 23:59:59 2021",
                {}},
        Refusal{
            "MissingList", with_trust("crl = \"/nowhere/crl.pem\""), 2, "config", "trust.crl.*/nowhere/crl.pem", {}},
        Refusal{"DamagedList",
                with_trust("crl = \"$HEREbad.crl\"",
                           [](DeviceRig& device) {
                             std::string text = contents_of(Material::get().key_file("ca.crl"));
                             text.resize(text.size() / 2);
                             write_file(device.path("bad.crl"), text);
                             return install_good();
                           }),
                2,
                "config",
                "bad.crl holds something that is not a revocation list",
                {}},
        Refusal{"ListOfCertificates", with_trust("crl = \"$ca.pem\""), 2, "config", "holds no revocation list", {}},
        Refusal{"TooFewSignatures",
                with_trust("signatures-required = 2"),
                4,
                "untrusted",
                "the bundle has 1 good signature, 2 are required",
                {}},
        Refusal{"SameKeyTwice",
                with_trust("signatures-required = 2",
                           with_bundle([](BundleFile& bundle) { sign_also(bundle, Signer::good); })),
                4,
                "untrusted",
                "1 good signature, 2 are required.*has signed more than once",
                {}},
        Refusal{"SecondSignatureOfAStranger",
                with_trust("signatures-required = 2",
                           with_bundle([](BundleFile& bundle) { sign_also(bundle, Signer::unknown); })),
                4,
                "untrusted",
                "1 good signature, 2 are required.*other-ca' is unknown",
                {}},
        Refusal{"TwoSignaturesOfOneName",
                with_trust("signatures-required = 2\nsigners = [\"Slotkeeper test p256\", \"Slotkeeper test p384\"]",
                           with_bundle([](BundleFile& bundle) { sign_also(bundle, Signer::renewed); })),
                4,
                "untrusted",
                "'Slotkeeper test p256' has signed more than once",
                {}},
        Refusal{"NoTimeStamp", with_trust(kTimeStamps), 4, "untrusted", "Slotkeeper test p256.*has no time stamp", {}},
        Refusal{"TimeStampOfAStranger",
                with_trust(kTimeStamps, with_bundle([](BundleFile& bundle) { stamp(bundle, "other-tsa"); })),
                4,
                "untrusted",
                "time stamp.*not by an authority that this device trusts",
                {}},
        Refusal{"ExpiredKeyThatDatesBack",
                with_trust(kTimeStamps, with_bundle([](BundleFile& bundle) {
                             sign_in_2020(bundle);
                             stamp(bundle, "tsa");
                           })),
                4,
                "untrusted",
                "Slotkeeper test expired.*expired on Dec 31 23:59:59 2020.*before the signature was made",
                {}},
        Refusal{"MissingTimeStampAnchors",
                with_trust("time = \"timestamp\"\ntimestamp-anchors = \"/nowhere/tsa.pem\""),
                2,
                "config",
                "trust.timestamp-anchors.*/nowhere/tsa.pem",
                {}},
        Refusal{"SignedAfterTheCertificateEnded",
                with_trust("time = \"signing-time\"", signed_by(Signer::expired)),
                4,
                "untrusted",
                "expired on Dec 31 23:59:59 2020.*before the signature was made",
                {}},
        Refusal{"SignerOfAnotherName",
                with_trust("signers = [\"Slotkeeper test p384\", \"release@vendor.example\"]"),
                4,
                "untrusted",
                "Slotkeeper test p256.*none of its names is among",
                {}}),
    name_of_refusal);

/// The controls: what these settings ask for is there.
TEST(RefusesTrust, ButTakesWhatTheSettingsAskFor) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  const auto arguments = with_trust("crl = \"$ca.crl\"\nsigners = [\"Slotkeeper test p256\"]")(device);
  EXPECT_EQ(device.run(arguments).outcome(), "armed");
}

/// Two people sign one after the other, each with an own key.
TEST(RefusesTrust, ButTakesABundleThatAsManySigned) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  const Material& material = Material::get();
  const auto arguments = with_trust("signatures-required = 2", with_bundle([](BundleFile&) {}))(device);
  EXPECT_EQ(device.run(arguments).code(), "untrusted");
  const Answer signed_twice =
      device.run({"bundle", "sign", "--append", "--cert", material.certificate(Signer::second), "--key",
                  material.key(Signer::second), "--trust", material.anchors(), arguments.back()});
  EXPECT_EQ(signed_twice.text("signers"), R"(["CN=Slotkeeper test p256","CN=Slotkeeper test p384"])")
      << signed_twice.story();
  EXPECT_EQ(device.run({"bundle", "info", arguments.back()}).text("trusted"), "true");
  EXPECT_EQ(device.run(arguments).outcome(), "armed");
}

/// The clock of this device stands at its beginning, and later far beyond all certificates.
TEST(RefusesTrust, ButTakesAStampedBundleWhateverTheClockSays) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  const auto arguments = with_trust(kTimeStamps, with_bundle([](BundleFile&) {}))(device);
  const std::vector<std::string> question = device.command({"bundle", "info", arguments.back()});
  const auto trusted_in = [&](const std::string& year) {
    // What faketime loads comes before the sanitizer's library, where there is one.
    std::vector<std::string> command = {"env", "ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0", "faketime",
                                        year + "-01-02 00:00:00"};
    command.insert(command.end(), question.begin(), question.end());
    return run_program(command).text("trusted");
  };
  EXPECT_EQ(trusted_in("1970"), "false");
  stamp_file(arguments.back(), "tsa");
  EXPECT_EQ(trusted_in("1970"), "true");
  EXPECT_EQ(trusted_in("2090"), "true");
  EXPECT_EQ(device.run({"bundle", "timestamp", "--request", device.path("again"), arguments.back()}).outcome(),
            "nothing-to-do");
  EXPECT_EQ(device.run(arguments).outcome(), "armed");
}

/// The signer's authority is no longer trusted: the bundle is signed anew, and only after a look at who signed it.
TEST(RefusesTrust, ButTakesABundleThatWasSignedAnew) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  const Material& material = Material::get();
  const auto install = with_bundle([](BundleFile& bundle) { bundle.sign(Signer::unknown); })(device);
  const std::vector<std::string> resign = {
      "bundle",      "resign", "--cert", material.certificate(Signer::good), "--key", material.key(Signer::good),
      install.back()};
  const std::string before = contents_of(install.back());
  // The device's own configuration does not know who signed it.
  expect_refusal(device.run(resign), 4, "untrusted", "other-ca' is unknown");
  EXPECT_TRUE(contents_of(install.back()) == before);
  std::vector<std::string> with_anchor = resign;
  with_anchor.insert(with_anchor.end(), {"--trust", material.key_file("other-ca.pem")});
  EXPECT_EQ(device.run(with_anchor).outcome(), "ok");
  EXPECT_EQ(device.run(install).outcome(), "armed");
}

/// Key rotation: a device that got the new authority beside the old one takes bundles of both.
TEST(RefusesTrust, ButTakesBothAuthoritiesWhileOneFollowsTheOther) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  const auto install = with_bundle([](BundleFile& bundle) { bundle.sign(Signer::unknown); })(device);
  EXPECT_EQ(device.run(install).code(), "untrusted");
  write_file(device.path("trust.pem"),
             contents_of(Material::get().anchors()) + contents_of(Material::get().key_file("other-ca.pem")));
  EXPECT_EQ(device.run(install).outcome(), "armed");
  EXPECT_EQ(device.run({"rollback"}).outcome(), "rolled-back");
  EXPECT_EQ(device.run(install_good()).outcome(), "armed");
}

}  // namespace
}  // namespace slotkeeper::test

// Exit 4 and 2: what `[trust]` asks for beyond a chain to an anchor.
#include <filesystem>

#include "tests/loopback/refusals.hpp"

namespace slotkeeper::test {
namespace {

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

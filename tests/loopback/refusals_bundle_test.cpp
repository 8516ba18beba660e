// Exit 4: the bundle is refused.
#include <filesystem>

#include "tests/loopback/refusals.hpp"

namespace slotkeeper::test {
namespace {

INSTANTIATE_TEST_SUITE_P(
    Bundle, Refuses,
    testing::Values(
        Refusal{"Empty",
                [](DeviceRig& device) {
                  write_file(device.path("empty.skb"), "");
                  return std::vector<std::string>{"install", device.path("empty.skb")};
                },
                4,
                "corrupt",
                ".",
                {}},
        Refusal{"NoArchive",
                [](DeviceRig& device) {
                  write_file(device.path("text.skb"), std::string(4096, 'x'));
                  return std::vector<std::string>{"install", device.path("text.skb")};
                },
                4,
                "corrupt",
                ".",
                {}},
        Refusal{"FlippedManifest",
                with_bundle([](BundleFile& bundle) {
                  std::string& data = bundle.member("manifest.json").data;
                  data[data.find("2.0.0")] = '3';
                }),
                4,
                "signature",
                ".",
                {}},
        Refusal{"FlippedSignature",
                with_bundle([](BundleFile& bundle) {
                  // The last bytes of the CMS are the signature value itself.
                  std::string& data = bundle.member("manifest.cms").data;
                  data.back() = static_cast<char>(data.back() ^ 1);
                }),
                4,
                "signature",
                ".",
                {}},
        Refusal{"BrokenSignature",
                with_bundle([](BundleFile& bundle) { bundle.replace("manifest.cms", "not a CMS structure"); }),
                4,
                "signature",
                ".",
                {}},
        Refusal{"FlippedIndex",
                with_bundle([](BundleFile& bundle) { flip_in_middle(bundle.member("index/rootfs").data); }),
                4,
                "corrupt",
                "index",
                {}},
        Refusal{"FlippedHeader",
                with_bundle([](BundleFile& bundle) { flip_in_middle(bundle.members()[1].header); }),
                4,
                "corrupt",
                ".",
                {}},
        Refusal{"TrailingData",
                [](DeviceRig& device) {
                  write_file(device.path("long.skb"), contents_of(Material::get().bundle("2.0.0")) + "more");
                  return std::vector<std::string>{"install", device.path("long.skb")};
                },
                4,
                "corrupt",
                ".",
                {}},
        Refusal{"TrailingZeros",
                [](DeviceRig& device) {
                  write_file(device.path("long.skb"),
                             contents_of(Material::get().bundle("2.0.0")) + std::string(512, '\0'));
                  return std::vector<std::string>{"install", device.path("long.skb")};
                },
                4,
                "corrupt",
                ".",
                {}},
        Refusal{"MembersOutOfOrder",
                with_bundle([](BundleFile& bundle) { std::swap(bundle.members()[2], bundle.members()[3]); }),
                4,
                "corrupt",
                ".",
                {}},
        Refusal{"SignatureBeforeManifest",
                with_bundle([](BundleFile& bundle) { std::swap(bundle.members()[0], bundle.members()[1]); }),
                4,
                "corrupt",
                ".",
                {}},
        Refusal{"MemberTwice",
                with_bundle([](BundleFile& bundle) { bundle.members().push_back(bundle.members().back()); }),
                4,
                "corrupt",
                ".",
                {}},
        Refusal{"MemberMissing",
                with_bundle([](BundleFile& bundle) { bundle.members().pop_back(); }),
                4,
                "corrupt",
                ".",
                {}},
        Refusal{"UnknownSigner", signed_by(Signer::unknown), 4, "untrusted", ".", {}},
        Refusal{"ExpiredSigner", signed_by(Signer::expired), 4, "untrusted", "expired", {}},
        Refusal{"SignerOfTheFuture", signed_by(Signer::not_yet_valid), 4, "untrusted", "valid", {}},
        Refusal{"WrongPurpose", signed_by(Signer::wrong_purpose), 4, "untrusted", "[uU]sage|purpose", {}},
        Refusal{"NoPurpose", signed_by(Signer::no_purpose), 4, "untrusted", "[uU]sage|purpose", {}},
        Refusal{"ImpostorOfTheAuthority", signed_by(Signer::impostor), 4, "untrusted", ".", {}},
        Refusal{"NoSignatureUsage", signed_by(Signer::no_usage), 4, "untrusted", "[uU]sage|purpose", {}},
        Refusal{"ShortRsaKey", signed_by(Signer::short_rsa), 4, "untrusted", "2048|RSA", {}},
        Refusal{"OtherCurve", signed_by(Signer::other_curve), 4, "untrusted", "curve|521", {}},
        Refusal{"ExplicitCurve", signed_by(Signer::explicit_curve), 4, "untrusted", "curve|explicit", {}},
        Refusal{"CertificateWithSha1",
                signed_by(Signer::sha1_certificate),
                4,
                "untrusted",
                "SHA-?1|sha1|digest|algorithm",
                {}},
        Refusal{"MissingIntermediate", signed_by(Signer::below_intermediate), 4, "untrusted", ".", {}},
        Refusal{"OtherDevice",
                with_recipe([](DeviceRig&, BundleRecipe& recipe) { recipe.compatible = "konnektor-y9"; }),
                4,
                "incompatible",
                "konnektor-y9.*konnektor-x1",
                {}},
        Refusal{"ImageLargerThanSlot",
                with_recipe([](DeviceRig& device, BundleRecipe& recipe) {
                  make_file(device.path("large"), (16 << 20) + 4096);
                  recipe.images = {{"rootfs", device.path("large")}};
                }),
                4,
                "incompatible",
                "16781312",
                {}},
        Refusal{"MissingVolume",
                [](DeviceRig&) { return install_good(); },
                4,
                "incompatible",
                "data",
                {.second_volume = true}},
        Refusal{"UnknownVolume",
                with_recipe([](DeviceRig&, BundleRecipe& recipe) {
                  recipe.images.emplace_back("modem", Material::get().image("3.0.0"));
                }),
                4,
                "incompatible",
                "modem",
                {}},
        Refusal{"RecordsOfAnotherEngine",
                with_recipe([](DeviceRig&, BundleRecipe& recipe) { recipe.more = "[engine]\nrecords = [2, 3]\n"; }),
                4,
                "incompatible",
                "record",
                {}},
        Refusal{"FormatOfTheFuture", with_manifest("\"format\":1", "\"format\":99"), 4, "unsupported", "99", {}}),
    name_of_refusal);

/// The control for `signed_by`: a bundle that the openssl program signed with the good signer is installed.
TEST(RefusesBundle, ButTakesOneThatTheOpensslProgramSigned) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  const Answer answer = device.run(signed_by(Signer::good)(device));
  EXPECT_EQ(answer.outcome(), "armed") << answer.story();
}

/// The control for `MissingIntermediate`.
TEST(RefusesBundle, ButTakesASignerWhoseIntermediateComesAlong) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  BundleRecipe recipe;
  recipe.signer = Signer::below_intermediate;
  recipe.with_intermediate = true;
  make_bundle(recipe, device.path("below.skb"));
  EXPECT_EQ(device.install(device.path("below.skb")).outcome(), "armed");
}

/// A flipped byte in an image's frames is found before or while staging; the booted slot, the boot order of what runs
/// and the permanent partition stay, and the target cannot come up.
TEST(RefusesBundle, WithAFlippedByteInAFrame) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  const Fingerprint before = device.fingerprint();
  const Answer answer = device.run(
      with_bundle([](BundleFile& bundle) { flip_in_middle(bundle.member("image/rootfs.zst").data); })(device));
  expect_refusal(answer, 4, "corrupt", ".");
  const std::vector<std::string> kept = {"slot A", "permanent"};
  EXPECT_EQ(difference(only(before, kept), only(device.fingerprint(), kept)), "");
  EXPECT_EQ(device.variable("BOOT_ORDER").substr(0, 1), "A");
  EXPECT_FALSE(device.comes_up('B'));
  EXPECT_EQ(device.boot(), 'A');
  EXPECT_EQ(device.run({"recover"}).exit_status, 0);
  EXPECT_EQ(device.install(Material::get().bundle("2.0.0")).outcome(), "armed");
}

TEST(RefusesBundle, TruncatedAnywhere) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  const std::string whole = contents_of(Material::get().bundle("2.0.0"));
  std::vector<std::uint64_t> places;
  const auto boundaries = BundleFile::read(Material::get().bundle("2.0.0")).boundaries();
  for (std::size_t i = 0; i < boundaries.size(); ++i) {
    places.push_back(boundaries[i]);        // between two members
    places.push_back(boundaries[i] + 100);  // inside a header, or inside the end of the archive
    if (i + 1 < boundaries.size()) places.push_back((boundaries[i] + 512 + boundaries[i + 1]) / 2);  // inside the data
  }
  places.push_back(whole.size() - 512);
  places.push_back(whole.size() - 1);
  const Fingerprint before = without(device.fingerprint(), {"store history"});
  for (const std::uint64_t place : places) {
    SCOPED_TRACE("cut at " + std::to_string(place) + " of " + std::to_string(whole.size()));
    write_file(device.path("short.skb"), whole.substr(0, place));
    const Answer answer = device.install(device.path("short.skb"));
    expect_refusal(answer, 4, "corrupt", ".");
    EXPECT_EQ(difference(before, without(device.fingerprint(), {"store history"})), "");
  }
}

TEST(RefusesBundle, AlsoWhenAskedForInformationOnly) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  static_cast<void>(signed_by(Signer::unknown)(device));
  const Answer untrusted = device.run({"bundle", "info", device.path("changed.skb")});
  EXPECT_EQ(untrusted.exit_status, 0) << untrusted.story();
  EXPECT_EQ(untrusted.text("trusted"), "false") << untrusted.story();
  write_file(device.path("text.skb"), std::string(4096, 'x'));
  const Answer garbage = device.run({"bundle", "info", device.path("text.skb")});
  EXPECT_EQ(garbage.exit_status, 4) << garbage.story();
}

}  // namespace
}  // namespace slotkeeper::test

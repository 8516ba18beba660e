// What bad input gets: exit status, code, the message's gist, and a device that is byte for byte what it was.
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sys/file.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"

namespace slotkeeper::test {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

struct Refusal {
  std::string name;
  /// Makes one thing wrong; returns the arguments of the command that is to be refused.
  std::function<std::vector<std::string>(DeviceRig&)> prepare;
  int exit_status = 0;
  std::string code;
  std::string gist;  ///< regular expression that the message matches
  RigSettings settings;
};

void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }

std::vector<std::string> install_good() { return {"install", Material::get().bundle("2.0.0")}; }

std::string outcome_of(int exit_status) {
  return exit_status == 3 ? "postponed" : exit_status == 4 ? "refused" : "failed";
}

void expect_refusal(const Answer& answer, int exit_status, const std::string& code, const std::string& gist) {
  EXPECT_EQ(answer.exit_status, exit_status) << answer.story();
  EXPECT_EQ(answer.code(), code) << answer.story();
  EXPECT_THAT(answer.message(), ContainsRegex(gist));
  EXPECT_EQ(answer.outcome(), outcome_of(exit_status)) << answer.story();
  EXPECT_NE(answer.message().empty() ? '.' : answer.message().back(), '.');
}

/// Exits 3 and 4 may add to the history, all others write nothing at all.
void expect_unchanged(const Fingerprint& before, const DeviceRig& device, int exit_status) {
  const bool may_note = exit_status == 3 || exit_status == 4;
  const std::vector<std::string> ignored =
      may_note ? std::vector<std::string>{"store history"} : std::vector<std::string>{};
  EXPECT_EQ(difference(without(before, ignored), without(device.fingerprint(), ignored)), "");
}

class Refuses : public testing::TestWithParam<Refusal> {};

TEST_P(Refuses, AndChangesNothing) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  const Refusal& refusal = GetParam();
  DeviceRig device(refusal.settings);
  const std::vector<std::string> arguments = refusal.prepare(device);
  const Fingerprint before = device.fingerprint();
  const Answer answer = device.run(arguments);
  expect_refusal(answer, refusal.exit_status, refusal.code, refusal.gist);
  expect_unchanged(before, device, refusal.exit_status);
  // Once more with the same answer: the refusal itself left nothing behind.
  EXPECT_EQ(device.run(arguments).code(), refusal.code);
}

std::string name_of_refusal(const testing::TestParamInfo<Refusal>& info) { return info.param.name; }

// ---- 4: the bundle
// ---------------------------------------------------------------------------------------------------

/// Installs a copy of the good bundle that was changed by `change`.
std::function<std::vector<std::string>(DeviceRig&)> with_bundle(std::function<void(BundleFile&)> change) {
  return [change = std::move(change)](DeviceRig& device) {
    BundleFile bundle = BundleFile::read(Material::get().bundle("2.0.0"));
    change(bundle);
    bundle.write(device.path("changed.skb"));
    return std::vector<std::string>{"install", device.path("changed.skb")};
  };
}

std::function<std::vector<std::string>(DeviceRig&)> signed_by(Signer signer) {
  return with_bundle([signer](BundleFile& bundle) { bundle.sign(signer); });
}

std::function<std::vector<std::string>(DeviceRig&)> with_recipe(std::function<void(DeviceRig&, BundleRecipe&)> change) {
  return [change = std::move(change)](DeviceRig& device) {
    BundleRecipe recipe;
    change(device, recipe);
    make_bundle(recipe, device.path("changed.skb"));
    return std::vector<std::string>{"install", device.path("changed.skb")};
  };
}

/// A manifest with a piece replaced, signed by the trusted signer.
std::function<std::vector<std::string>(DeviceRig&)> with_manifest(std::string piece, std::string by) {
  return with_bundle([piece = std::move(piece), by = std::move(by)](BundleFile& bundle) {
    std::string manifest = bundle.member("manifest.json").data;
    const std::size_t at = manifest.find(piece);
    if (at == std::string::npos) throw std::runtime_error("the manifest has no " + piece + ": " + manifest);
    bundle.replace("manifest.json", manifest.replace(at, piece.size(), by));
    bundle.sign(Signer::good);
  });
}

void flip_in_middle(std::string& data) {
  char& byte = data.at(data.size() / 2);
  byte = static_cast<char>(byte ^ 0x10);
}

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
                  write_file(device.path("long.skb"), read_file(Material::get().bundle("2.0.0")) + "more");
                  return std::vector<std::string>{"install", device.path("long.skb")};
                },
                4,
                "corrupt",
                ".",
                {}},
        Refusal{"TrailingZeros",
                [](DeviceRig& device) {
                  write_file(device.path("long.skb"),
                             read_file(Material::get().bundle("2.0.0")) + std::string(512, '\0'));
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
  const std::string whole = read_file(Material::get().bundle("2.0.0"));
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

// ---- 2: usage, configuration, environment
// ----------------------------------------------------------------------------

std::function<std::vector<std::string>(DeviceRig&)> with_configuration(std::string piece, std::string by) {
  return [piece = std::move(piece), by = std::move(by)](DeviceRig& device) {
    device.edit_configuration(piece, by);
    return install_good();
  };
}

std::function<std::vector<std::string>(DeviceRig&)> with_command(std::vector<std::string> arguments) {
  return [arguments = std::move(arguments)](DeviceRig&) { return arguments; };
}

INSTANTIATE_TEST_SUITE_P(
    Environment, Refuses,
    testing::Values(
        Refusal{"UnknownCommand", with_command({"explode"}), 2, "usage", "explode", {}},
        Refusal{"MissingArgument", with_command({"install"}), 2, "usage", ".", {}},
        Refusal{"UnknownOption", with_command({"status", "--frobnicate"}), 2, "usage", "frobnicate", {}},
        Refusal{"UnknownKey",
                with_configuration("[state]", "[state]\nstroe = \"x\""),
                2,
                "config",
                "system.toml:5.*stroe",
                {}},
        Refusal{"BrokenToml", with_configuration("[state]", "[state"), 2, "config", "system.toml:4", {}},
        Refusal{"MissingConfiguration",
                [](DeviceRig& device) {
                  std::filesystem::remove(device.path("system.toml"));
                  return install_good();
                },
                2,
                "config",
                "system.toml",
                {}},
        Refusal{"UnmountedPermanentPartition",
                [](DeviceRig& device) {
                  device.unmount_permanent();
                  return install_good();
                },
                2,
                "config",
                "mounted",
                {}},
        Refusal{
            "MissingPermanentPartition", with_configuration("/permanent\"", "/nowhere\""), 2, "config", "nowhere", {}},
        Refusal{"EmptyHealthDirectory",
                [](DeviceRig& device) {
                  std::filesystem::remove(device.path("health.d/10-configuration"));
                  return install_good();
                },
                2,
                "config",
                "health",
                {}},
        Refusal{"HealthCheckOfAnotherOwner",
                [](DeviceRig& device) {
                  if (::chown(device.path("health.d/10-configuration").c_str(), 1000, 1000) != 0) std::abort();
                  return install_good();
                },
                2,
                "config",
                "10-configuration.*root",
                {}},
        Refusal{"HealthCheckWritableByAll",
                [](DeviceRig& device) {
                  std::filesystem::permissions(device.path("health.d/10-configuration"), std::filesystem::perms(0777));
                  return install_good();
                },
                2,
                "config",
                "10-configuration",
                {}},
        Refusal{"MissingTrustAnchors",
                [](DeviceRig& device) {
                  std::filesystem::remove(device.path("trust.pem"));
                  return install_good();
                },
                2,
                "config",
                "trust",
                {}},
        Refusal{"NotProvisioned",
                [](DeviceRig&) { return install_good(); },
                2,
                "not-provisioned",
                ".",
                {.provisioned = false}},
        Refusal{"GarbageStateStore",
                [](DeviceRig& device) {
                  write_file(device.store(), std::string(8 << 20, 'g'));
                  return install_good();
                },
                2,
                "state-store",
                "state.store",
                {}},
        Refusal{"BootEnvironmentDamagedTwice",
                [](DeviceRig& device) {
                  device.damage_environment_copy(0);
                  device.damage_environment_copy(1);
                  return install_good();
                },
                2,
                "boot-environment",
                ".",
                {}},
        Refusal{"UnknownSlot",
                [](DeviceRig& device) {
                  device.booted = 0;
                  return install_good();
                },
                2,
                "unknown-slot",
                ".",
                {}},
        Refusal{"SlotC",
                [](DeviceRig& device) {
                  device.booted = 'C';
                  return std::vector<std::string>{"status"};
                },
                2,
                "usage",
                "C",
                {}}),
    name_of_refusal);

/// A kernel command line that contradicts --booted-slot, in a mount namespace of its own.
TEST(RefusesEnvironment, AKernelCommandLineThatContradictsTheOption) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  write_file(device.path("cmdline"), "console=ttyS0 slotkeeper.slot=B quiet\n");
  std::vector<std::string> command = {"unshare",
                                      "--mount",
                                      "sh",
                                      "-c",
                                      "mount --bind \"$1\" /proc/cmdline && shift && exec \"$@\"",
                                      "sh",
                                      device.path("cmdline")};
  const auto words = device.command(install_good());
  command.insert(command.end(), words.begin(), words.end());
  const Fingerprint before = device.fingerprint();
  const Answer answer = run_program(command);
  expect_refusal(answer, 2, "unknown-slot", "A.*B|B.*A");
  expect_unchanged(before, device, 2);
}

// ---- 2: not supported yet
// --------------------------------------------------------------------------------------------

INSTANTIATE_TEST_SUITE_P(
    NotYet, Refuses,
    testing::Values(
        Refusal{"HttpSource",
                with_command({"install", "http://127.0.0.1:9/update.skb"}),
                2,
                "not-supported-yet",
                "http",
                {}},
        Refusal{"QuarantineList", with_command({"quarantine", "list"}), 2, "not-supported-yet", "quarantine", {}},
        Refusal{"QuarantineClear", with_command({"quarantine", "clear"}), 2, "not-supported-yet", "quarantine", {}},
        Refusal{"Grub", with_configuration("\"uboot\"", "\"grub\""), 2, "not-supported-yet", "grub", {}},
        Refusal{"Efi", with_configuration("\"uboot\"", "\"efi\""), 2, "not-supported-yet", "efi", {}},
        Refusal{"RevocationList",
                with_configuration("[trust]", "[trust]\ncrl = \"/etc/crl.pem\""),
                2,
                "not-supported-yet",
                "crl",
                {}},
        Refusal{"TwoSignatures",
                with_configuration("[trust]", "[trust]\nsignatures-required = 2"),
                2,
                "not-supported-yet",
                "signatures-required",
                {}},
        Refusal{"EventHook",
                [](DeviceRig& device) {
                  write_file(device.path("hooks.d/event"), "#!/bin/sh\n", 0755);
                  return install_good();
                },
                2,
                "not-supported-yet",
                "event",
                {}},
        Refusal{"TokenKey",
                [](DeviceRig& device) {
                  write_file(device.path("m.toml"),
                             "version = \"1\"\ncompatible = \"x\"\n[[image]]\nvolume = \"rootfs\"\n"
                             "file = \"" +
                                 Material::get().image("2.0.0") + "\"\n");
                  return std::vector<std::string>{"bundle",     "create",
                                                  "--manifest", device.path("m.toml"),
                                                  "--cert",     Material::get().certificate(Signer::good),
                                                  "--key",      "pkcs11:object=signer",
                                                  "--output",   device.path("out.skb")};
                },
                2,
                "not-supported-yet",
                "pkcs11",
                {}},
        Refusal{"FirmwareGroup",
                [](DeviceRig& device) {
                  write_file(device.path("m.toml"),
                             "version = \"1\"\ncompatible = \"x\"\n[firmware-group]\nversion = 7\n"
                             "admits = [\"1\"]\n[[image]]\nvolume = \"rootfs\"\nfile = \"" +
                                 Material::get().image("2.0.0") + "\"\n");
                  return std::vector<std::string>{"bundle",     "create",
                                                  "--manifest", device.path("m.toml"),
                                                  "--cert",     Material::get().certificate(Signer::good),
                                                  "--key",      Material::get().key(Signer::good),
                                                  "--output",   device.path("out.skb")};
                },
                2,
                "not-supported-yet",
                "firmware-group",
                {}}),
    name_of_refusal);

// ---- 3: postponed
// ----------------------------------------------------------------------------------------------------

INSTANTIATE_TEST_SUITE_P(
    Gate, Refuses,
    testing::Values(Refusal{"FillLevel",
                            [](DeviceRig& device) {
                              device.fill_permanent(61);
                              return install_good();
                            },
                            3,
                            "fill-level",
                            "54",
                            {}},
                    Refusal{"FillLevelBeforeAnythingElseIsBad",  // a bundle that is refused goes before a gate
                            [](DeviceRig& device) {
                              device.fill_permanent(61);
                              return signed_by(Signer::unknown)(device);
                            },
                            4,
                            "untrusted",
                            ".",
                            {}},
                    Refusal{"NoSpaceGoesFirst",
                            [](DeviceRig& device) {
                              device.fill_permanent(97);
                              return install_good();
                            },
                            3,
                            "no-space",
                            ".",
                            {}},
                    Refusal{"DamagedFallback",
                            [](DeviceRig& device) {
                              std::fstream slot(device.slot_device('A'),
                                                std::ios::binary | std::ios::in | std::ios::out);
                              slot.seekp(5 << 20);
                              slot << "damage";
                              return install_good();
                            },
                            3,
                            "fallback-damaged",
                            "rootfs",
                            {}}),
    name_of_refusal);

TEST(RefusesGate, LeavesDisposableFilesThatSomebodyHasOpen) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  device.add_disposable("firmware-0.9.skb", 2 << 20);
  device.fill_permanent(61);
  const int held = ::open(device.permanent("download/firmware-0.9.skb").c_str(), O_RDONLY | O_CLOEXEC);
  const Fingerprint before = device.fingerprint();
  const Answer answer = device.run(install_good());
  expect_refusal(answer, 3, "fill-level", ".");
  expect_unchanged(before, device, 3);
  ::close(held);
  EXPECT_EQ(device.run(install_good()).outcome(), "armed");
}

// ---- 6, 8: not now, no source
// ----------------------------------------------------------------------------------------

INSTANTIATE_TEST_SUITE_P(
    Moment, Refuses,
    testing::Values(
        Refusal{"ProvisionTwice", with_command({"provision"}), 6, "wrong-state", "--force", {}},
        Refusal{"NothingToRollBack", with_command({"rollback"}), 6, "wrong-state", ".", {}},
        Refusal{"NothingPreviousToReturnTo", with_command({"rollback", "--to-previous"}), 6, "wrong-state", ".", {}},
        Refusal{"UnknownSlotActive", with_command({"mark", "B", "active"}), 6, "wrong-state", "B", {}},
        Refusal{"OnlySlotBad", with_command({"mark", "A", "bad"}), 6, "wrong-state", "only", {}},
        Refusal{"BlankSlotGood", with_command({"mark", "B", "good"}), 6, "wrong-state", "no complete firmware", {}},
        Refusal{"MarkWhileArmed",
                [](DeviceRig& device) {
                  if (device.run(install_good()).outcome() != "armed") std::abort();
                  return std::vector<std::string>{"mark", "B", "bad"};
                },
                6,
                "wrong-state",
                "armed",
                {}},
        Refusal{"CompactWhileArmed",
                [](DeviceRig& device) {
                  if (device.run(install_good()).outcome() != "armed") std::abort();
                  return std::vector<std::string>{"compact"};
                },
                6,
                "wrong-state",
                ".",
                {}},
        Refusal{"MissingBundle",
                with_command({"install", "/nonexistent/update.skb"}),
                8,
                "source-unreachable",
                "/nonexistent/update.skb",
                {}},
        Refusal{"FolderAsBundle", with_command({"install", "/"}), 8, "source-unreachable", ".", {}}),
    name_of_refusal);

TEST(RefusesMoment, AMountedTarget) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  run_tool({"dd", "if=" + Material::get().image("3.0.0"), "of=" + device.slot_device('B'), "bs=1M", "status=none"});
  const MountedFilesystem mounted(device.slot_device('B'), device.path("mounted"), "ro");
  const Fingerprint before = device.fingerprint();
  const Answer answer = device.run(install_good());
  expect_refusal(answer, 6, "wrong-state", "mounted");
  EXPECT_THAT(answer.message(), HasSubstr(device.slot_device('B')));
  expect_unchanged(before, device, 6);
}

TEST(RefusesMoment, ATargetThatIsThePermanentPartition) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  device.edit_configuration("rootfs = \"" + device.slot_device('B') + "\"",
                            "rootfs = \"" + device.permanent_device() + "\"");
  const Fingerprint before = device.fingerprint();
  const Answer answer = device.run(install_good());
  EXPECT_NE(answer.exit_status, 0) << answer.story();
  expect_unchanged(before, device, 6);
}

TEST(RefusesMoment, ATargetThatIsTheBootedSlot) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  device.edit_configuration("rootfs = \"" + device.slot_device('B') + "\"",
                            "rootfs = \"" + device.slot_device('A') + "\"");
  const Fingerprint before = device.fingerprint();
  const Answer answer = device.run(install_good());
  EXPECT_NE(answer.exit_status, 0) << answer.story();
  expect_unchanged(before, device, 6);
}

}  // namespace
}  // namespace slotkeeper::test

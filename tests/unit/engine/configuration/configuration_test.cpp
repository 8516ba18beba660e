#include "engine/configuration/configuration.hpp"

#include <gtest/gtest.h>

#include "partitions/io/host.hpp"

namespace slotkeeper {
namespace {

using std::chrono::milliseconds;

// Each section by itself, so that a test replaces one and leaves the rest alone. `document` puts one on each line.
struct Sections {
  std::string device = "[device]\ncompatible = \"konnektor-x1\"\n";
  std::string state = "[state]\nstore = \"/dev/state\"\n";
  std::string slots = "[slots.A]\nrootfs = \"/dev/a\"\n[slots.B]\nrootfs = \"/dev/b\"\n";
  std::string boot = "[boot]\nbackend = \"uboot\"\n";
  std::string permanent = "[permanent]\npath = \"/mnt/permanent\"\n";
  std::string trust = "[trust]\nanchors = \"/etc/trust.pem\"\n";
  std::string more;

  [[nodiscard]] std::string document() const { return device + state + slots + boot + permanent + trust + more; }
};

Error refusal_of(const std::string& text) {
  auto parsed = parse_configuration(text, "system.toml");
  EXPECT_FALSE(parsed.has_value()) << text;
  return parsed.has_value() ? Error{} : parsed.assume_error();
}

Configuration accepted(const std::string& text) {
  auto parsed = parse_configuration(text, "system.toml");
  EXPECT_TRUE(parsed.has_value()) << (parsed.has_value() ? "" : parsed.assume_error().message);
  return parsed.has_value() ? std::move(parsed).assume_value() : Configuration{};
}

TEST(ParseConfiguration, AcceptsTheLeastAndFillsInDefaults) {
  const Configuration configuration = accepted(Sections{}.document());
  EXPECT_EQ(configuration.path, "system.toml");
  EXPECT_EQ(configuration.compatible, "konnektor-x1");
  EXPECT_EQ(configuration.store_path, "/dev/state");
  EXPECT_EQ(configuration.store_size_bytes, 32u << 20);
  ASSERT_EQ(configuration.slots.b.volumes.size(), 1u);
  EXPECT_EQ(configuration.slots.b.volumes[0].device_path, "/dev/b");
  EXPECT_EQ(configuration.slots.a.volumes[0].check, VolumeCheck::image);
  EXPECT_EQ(configuration.boot_backend, BootBackend::uboot);
  EXPECT_EQ(configuration.fw_env_config, "/etc/fw_env.config");
  EXPECT_EQ(configuration.attempts, 3u);
  EXPECT_EQ(configuration.max_fill_percent, 54u);
  EXPECT_EQ(configuration.reserve_bytes, 2u << 20);
  EXPECT_EQ(configuration.storm_probe, milliseconds(2000));
  EXPECT_TRUE(configuration.classes.rules.empty());
  EXPECT_EQ(configuration.trust.signatures_required, 1u);
  EXPECT_EQ(configuration.health_directory, "/etc/slotkeeper/health.d");
  EXPECT_EQ(configuration.health_timeout, milliseconds(120'000));
  EXPECT_EQ(configuration.confirm_within, milliseconds(900'000));
  EXPECT_FALSE(configuration.health_allow_empty);
  EXPECT_EQ(configuration.hooks_directory, "/etc/slotkeeper/hooks.d");
  EXPECT_EQ(configuration.source.ca, "");
  EXPECT_EQ(configuration.source.client_certificate, "");
  EXPECT_EQ(configuration.source.proxy, "");
  EXPECT_EQ(configuration.source.max_rate, std::nullopt);
  EXPECT_EQ(configuration.source.timeout, milliseconds(30'000));
  EXPECT_EQ(configuration.source.retries, 8u);
}

TEST(ParseConfiguration, ReadsEveryKeyThatThisVersionKnows) {
  const Configuration configuration = accepted(R"(
[device]
compatible = "konnektor-x1"
[state]
store = "/var/lib/store/"
size = "8 MiB"
[slots]
A = { rootfs = "/dev/ra", boot = "/dev/ba" }
B.rootfs = "/dev/rb"
B.boot = "/dev/bb"
[volumes.boot]
verify = "none"
[boot]
backend = "custom"
fw-env-config = "/etc/other.config"
command = "/usr/lib/vendor/boot-hook"
attempts = 9
[permanent]
path = "/etc/conf.d/conf.d-permanent"
max-fill = 80
reserve = "512 KiB"
storm-probe = "0s"
[[permanent.class]]
name = "security"
kind = "security-log"
match = ["log/security/**", "audit/*"]
keep-days = 365
[[permanent.class]]
name = "packages"
kind = "disposable"
match = ["packages/**"]
[trust]
anchors = "/etc/slotkeeper/trust.pem"
crl = "/etc/slotkeeper/crl.pem"
signers = ["release@vendor.example", "Vendor QA"]
signatures-required = 2
time = "timestamp"
timestamp-anchors = "/etc/slotkeeper/tsa.pem"
[health]
directory = "/h"
timeout = "30s"
confirm-within = "1h"
allow-empty = true
[hooks]
directory = "/k"
[encryption]
key = "/etc/slotkeeper/decryption.key"
certificate = "/etc/slotkeeper/decryption.pem"
[source]
ca = "/etc/slotkeeper/ca.pem"
client-certificate = "/etc/slotkeeper/client.pem"
client-key = "/etc/slotkeeper/client.key"
proxy = "http://proxy.example:3128"
max-rate = "2 MiB"
timeout = "10s"
retries = 0
[install]
max-write-rate = "8 MiB"
nice = 10
ionice = "best-effort:6"
gentle = true
)");
  EXPECT_EQ(configuration.store_path, "/var/lib/store");
  EXPECT_EQ(configuration.store_size_bytes, 8u << 20);
  ASSERT_EQ(configuration.slots.a.volumes.size(), 2u);
  EXPECT_EQ(configuration.slots.a.volumes[0].name, "boot");
  EXPECT_EQ(configuration.slots.a.volumes[0].check, VolumeCheck::none);
  EXPECT_EQ(configuration.slots.b.volumes[0].check, VolumeCheck::none);
  EXPECT_EQ(configuration.slots.b.volumes[1].device_path, "/dev/rb");
  EXPECT_EQ(configuration.slots.b.volumes[1].check, VolumeCheck::image);
  EXPECT_EQ(configuration.boot_backend, BootBackend::custom);
  EXPECT_EQ(configuration.boot_command, "/usr/lib/vendor/boot-hook");
  EXPECT_EQ(configuration.install.max_write_rate, std::uint64_t{8} << 20U);
  EXPECT_EQ(configuration.install.nice, 10);
  EXPECT_EQ(configuration.install.io_priority, io::io_best_effort(6));
  EXPECT_TRUE(configuration.install.gentle);
  EXPECT_EQ(configuration.fw_env_config, "/etc/other.config");
  EXPECT_EQ(configuration.attempts, 9u);
  EXPECT_EQ(configuration.max_fill_percent, 80u);
  EXPECT_EQ(configuration.reserve_bytes, 512u << 10);
  EXPECT_EQ(configuration.storm_probe, milliseconds(0));
  ASSERT_EQ(configuration.classes.rules.size(), 2u);
  EXPECT_EQ(configuration.classes.rules[0].kind, permanent::ClassKind::security_log);
  EXPECT_EQ(configuration.classes.rules[0].match, (std::vector<std::string>{"log/security/**", "audit/*"}));
  EXPECT_EQ(configuration.classes.rules[0].keep_days, 365u);
  EXPECT_EQ(configuration.classes.rules[1].keep_days, std::nullopt);
  EXPECT_EQ(configuration.health_timeout, milliseconds(30'000));
  EXPECT_EQ(configuration.confirm_within, milliseconds(3'600'000));
  EXPECT_TRUE(configuration.health_allow_empty);
  EXPECT_EQ(configuration.trust.anchors, "/etc/slotkeeper/trust.pem");
  EXPECT_EQ(configuration.trust.crl, "/etc/slotkeeper/crl.pem");
  EXPECT_EQ(configuration.trust.signers, (std::vector<std::string>{"release@vendor.example", "Vendor QA"}));
  EXPECT_EQ(configuration.trust.signatures_required, 2u);
  EXPECT_EQ(configuration.trust.judged_at, bundle::JudgedAt::time_stamp);
  EXPECT_EQ(configuration.trust.time_stamp_anchors, "/etc/slotkeeper/tsa.pem");
  EXPECT_EQ(configuration.health_directory, "/h");
  EXPECT_EQ(configuration.hooks_directory, "/k");
  EXPECT_EQ(configuration.source.ca, "/etc/slotkeeper/ca.pem");
  EXPECT_EQ(configuration.source.client_certificate, "/etc/slotkeeper/client.pem");
  EXPECT_EQ(configuration.source.client_key, "/etc/slotkeeper/client.key");
  EXPECT_EQ(configuration.encryption_key, "/etc/slotkeeper/decryption.key");
  EXPECT_EQ(configuration.encryption_certificate, "/etc/slotkeeper/decryption.pem");
  EXPECT_EQ(configuration.source.proxy, "http://proxy.example:3128");
  EXPECT_EQ(configuration.source.max_rate, 2u << 20);
  EXPECT_EQ(configuration.source.timeout, milliseconds(10'000));
  EXPECT_EQ(configuration.source.retries, 0u);
}

TEST(ParseConfiguration, NamesFileLineKeyAndTheLikelyWordForAnUnknownKey) {
  Sections sections;
  sections.permanent += "max-fil = 54\n";
  const Error error = refusal_of(sections.document());
  EXPECT_EQ(error.code, Errc::config);
  EXPECT_EQ(error.message, "system.toml:13: permanent.max-fil: unknown key (did you mean max-fill?)");
}

struct Refusal {
  const char* what;
  std::string Sections::*section;
  const char* text;
  const char* message;
};

class RefusedConfiguration : public testing::TestWithParam<Refusal> {};

TEST_P(RefusedConfiguration, IsAConfigErrorThatNamesThePlace) {
  Sections sections;
  sections.*GetParam().section = GetParam().text;
  const Error error = refusal_of(sections.document());
  EXPECT_EQ(error.code, Errc::config);
  EXPECT_EQ(error.message, GetParam().message);
}

constexpr auto kDevice = &Sections::device;
constexpr auto kState = &Sections::state;
constexpr auto kSlots = &Sections::slots;
constexpr auto kBoot = &Sections::boot;
constexpr auto kPermanent = &Sections::permanent;
constexpr auto kTrust = &Sections::trust;
constexpr auto kMore = &Sections::more;

INSTANTIATE_TEST_SUITE_P(
    UnknownKeys, RefusedConfiguration,
    testing::Values(
        Refusal{"section", kMore, "[helth]\ntimeout = \"1s\"\n",
                "system.toml:15: helth: unknown key (did you mean health?)"},
        Refusal{"device", kDevice, "[device]\ncompatible = \"x\"\nzzzzzz = 1\n",
                "system.toml:3: device.zzzzzz: unknown key"},
        Refusal{"state", kState, "[state]\nstor = \"/s\"\n",
                "system.toml:4: state.stor: unknown key (did you mean store?)"},
        Refusal{"slots", kSlots, "[slots.A]\nr = \"/a\"\n[slots.B]\nr = \"/b\"\n[slots.C]\nr = \"/c\"\n",
                "system.toml:9: slots.C: unknown key"},
        Refusal{"volumes", kMore, "[volumes.rootfs]\nverity = \"none\"\n",
                "system.toml:16: volumes.rootfs.verity: unknown key (did you mean verify?)"},
        Refusal{"boot", kBoot, "[boot]\nbackend = \"uboot\"\nfw_env_config = \"/f\"\n",
                "system.toml:11: boot.fw_env_config: unknown key (did you mean fw-env-config?)"},
        Refusal{"class", kPermanent,
                "[permanent]\npath = \"/p\"\n[[permanent.class]]\nname = \"a\"\nkind = \"log\"\nmatch = [\"a\"]\n"
                "[[permanent.class]]\nname = \"b\"\nkind = \"log\"\nmatches = [\"a\"]\n",
                "system.toml:20: permanent.class[2].matches: unknown key (did you mean match?)"},
        Refusal{"trust", kTrust, "[trust]\nanchor = \"/t\"\n",
                "system.toml:14: trust.anchor: unknown key (did you mean anchors?)"},
        Refusal{"health", kMore, "[health]\ntime-out = \"1s\"\n",
                "system.toml:16: health.time-out: unknown key (did you mean timeout?)"},
        Refusal{"encryption", kMore, "[encryption]\ncert = \"/c\"\n", "system.toml:16: encryption.cert: unknown key"},
        Refusal{"source", kMore, "[source]\nmax-rat = \"1 MiB\"\n",
                "system.toml:16: source.max-rat: unknown key (did you mean max-rate?)"},
        Refusal{"install", kMore, "[install]\nmax-rate = \"1 MiB\"\n", "system.toml:16: install.max-rate: unknown key"},
        Refusal{"hooks", kMore, "[hooks]\ndir = \"/h\"\n", "system.toml:16: hooks.dir: unknown key"},
        Refusal{"escaped", kMore, "\"\\u001b[31m\" = 1\n", "system.toml:15: trust.\x1b[31m: unknown key"}),
    [](const auto& refusal) { return std::string(refusal.param.what); });

INSTANTIATE_TEST_SUITE_P(
    Missing, RefusedConfiguration,
    testing::Values(
        Refusal{"device", kDevice, "", "system.toml: device: is missing"},
        Refusal{"compatible", kDevice, "[device]\n", "system.toml:1: device.compatible: is missing"},
        Refusal{"state", kState, "", "system.toml: state: is missing"},
        Refusal{"store", kState, "[state]\nsize = \"8 MiB\"\n", "system.toml:3: state.store: is missing"},
        Refusal{"slots", kSlots, "", "system.toml: slots: is missing"},
        Refusal{"slotB", kSlots, "[slots.A]\nrootfs = \"/a\"\n", "system.toml:5: slots.B: is missing"},
        Refusal{"volumeless", kSlots, "[slots.A]\n[slots.B]\n",
                "system.toml:5: slots.A: must name at least one volume"},
        Refusal{"boot", kBoot, "", "system.toml: boot: is missing"},
        Refusal{"backend", kBoot, "[boot]\n", "system.toml:9: boot.backend: is missing"},
        Refusal{"command", kBoot, "[boot]\nbackend = \"custom\"\n",
                "system.toml:9: boot.command: is missing; the backend \"custom\" needs it"},
        Refusal{"permanent", kPermanent, "", "system.toml: permanent: is missing"},
        Refusal{"path", kPermanent, "[permanent]\nmax-fill = 54\n", "system.toml:11: permanent.path: is missing"},
        Refusal{"className", kPermanent, "[permanent]\npath = \"/p\"\n[[permanent.class]]\nkind = \"log\"\n",
                "system.toml:13: permanent.class[1].name: is missing"},
        Refusal{"classKind", kPermanent, "[permanent]\npath = \"/p\"\n[[permanent.class]]\nname = \"a\"\n",
                "system.toml:13: permanent.class[1].kind: is missing"},
        Refusal{"classMatch", kPermanent,
                "[permanent]\npath = \"/p\"\n[[permanent.class]]\nname = \"a\"\nkind = \"log\"\n",
                "system.toml:13: permanent.class[1].match: is missing"},
        Refusal{"trust", kTrust, "", "system.toml: trust: is missing"},
        Refusal{"anchors", kTrust, "[trust]\n", "system.toml:13: trust.anchors: is missing"}),
    [](const auto& refusal) { return std::string(refusal.param.what); });

INSTANTIATE_TEST_SUITE_P(
    Values, RefusedConfiguration,
    testing::Values(
        Refusal{"typeString", kDevice, "[device]\ncompatible = 3\n",
                "system.toml:2: device.compatible: must be a string, not an integer"},
        Refusal{"emptyString", kDevice, "[device]\ncompatible = \"\"\n",
                "system.toml:2: device.compatible: must not be empty"},
        Refusal{"zeroByte", kDevice, "[device]\ncompatible = \"a\\u0000\"\n",
                "system.toml:2: device.compatible: must not hold a zero byte"},
        Refusal{"typeTable", kDevice, "device = 1\n", "system.toml:1: device: must be a table, not an integer"},
        Refusal{"relativeStore", kState, "[state]\nstore = \"var/store\"\n",
                "system.toml:4: state.store: \"var/store\" is a relative path, it must begin with '/'"},
        Refusal{"sizeText", kState, "[state]\nstore = \"/s\"\nsize = \"32 MB\"\n",
                "system.toml:5: state.size: \"32 MB\" is not a size such as \"4096\", \"512 KiB\" or \"2 MiB\""},
        Refusal{"sizeType", kState, "[state]\nstore = \"/s\"\nsize = 33554432\n",
                "system.toml:5: state.size: must be a string, not an integer"},
        Refusal{"sizeSmall", kState, "[state]\nstore = \"/s\"\nsize = \"1 MiB\"\n",
                "system.toml:5: state.size: \"1 MiB\" is not between 4194304 and 1099511627776 bytes"},
        Refusal{"sizeOdd", kState, "[state]\nstore = \"/s\"\nsize = \"8388609\"\n",
                "system.toml:5: state.size: must be a multiple of 4096 bytes"},
        Refusal{"relativeVolume", kSlots, "[slots.A]\nrootfs = \"dev/a\"\n[slots.B]\nrootfs = \"/dev/b\"\n",
                "system.toml:6: slots.A.rootfs: \"dev/a\" is a relative path, it must begin with '/'"},
        Refusal{"volumeType", kSlots, "[slots.A]\nrootfs = [\"/dev/a\"]\n[slots.B]\nrootfs = \"/dev/b\"\n",
                "system.toml:6: slots.A.rootfs: must be a string, not a list"},
        Refusal{"volumeName", kSlots, "[slots.A]\n\"a/b\" = \"/dev/a\"\n[slots.B]\n\"a/b\" = \"/dev/b\"\n",
                "system.toml:6: slots.A.a/b: is not a volume name: letters, digits, '-', '_' and '.', at most 64 of "
                "them"},
        Refusal{"volumesDiffer", kSlots, "[slots.A]\nr = \"/a\"\nx = \"/x\"\n[slots.B]\nr = \"/b\"\n",
                "system.toml:8: slots.B: the volume x of slot A is missing; both slots name the same volumes"},
        Refusal{"volumesDifferOther", kSlots, "[slots.A]\nr = \"/a\"\n[slots.B]\nr = \"/b\"\nx = \"/x\"\n",
                "system.toml:5: slots.A: the volume x of slot B is missing; both slots name the same volumes"},
        Refusal{"devicesSame", kSlots, "[slots.A]\nr = \"/a\"\n[slots.B]\nr = \"/a\"\n",
                "system.toml:7: slots.B: the path of volume r, /a, is used twice"},
        Refusal{"deviceIsStore", kSlots, "[slots.A]\nr = \"/a\"\n[slots.B]\nr = \"/dev/state\"\n",
                "system.toml:7: slots.B: the path of volume r, /dev/state, is used twice"},
        Refusal{"volumeUnknown", kMore, "[volumes.boot]\nverify = \"none\"\n",
                "system.toml:15: volumes.boot: the slots have no volume of this name"},
        Refusal{"verify", kMore, "[volumes.rootfs]\nverify = \"hash\"\n",
                "system.toml:16: volumes.rootfs.verify: \"hash\" is neither \"image\" nor \"none\""},
        Refusal{"backend", kBoot, "[boot]\nbackend = \"lilo\"\n",
                "system.toml:10: boot.backend: \"lilo\" is none of \"uboot\", \"grub\", \"efi\", \"custom\""},
        Refusal{"efiLoader", kBoot, "[boot]\nbackend = \"efi\"\nefi-loader = \"grub\"\n",
                "system.toml:11: boot.efi-loader: \"grub\" is neither \"systemd-boot\" nor \"firmware\""},
        Refusal{"grubenvRelative", kBoot, "[boot]\nbackend = \"grub\"\ngrubenv = \"grubenv\"\n",
                "system.toml:11: boot.grubenv: \"grubenv\" is a relative path, it must begin with '/'"},
        Refusal{"attemptsLow", kBoot, "[boot]\nbackend = \"uboot\"\nattempts = 0\n",
                "system.toml:11: boot.attempts: 0 is not between 1 and 9"},
        Refusal{"attemptsHigh", kBoot, "[boot]\nbackend = \"uboot\"\nattempts = 10\n",
                "system.toml:11: boot.attempts: 10 is not between 1 and 9"},
        Refusal{"attemptsFloat", kBoot, "[boot]\nbackend = \"uboot\"\nattempts = 3.0\n",
                "system.toml:11: boot.attempts: must be an integer, not a fraction, date or time"},
        Refusal{"permanentRoot", kPermanent, "[permanent]\npath = \"/\"\n",
                "system.toml:12: permanent.path: must not be the root directory"},
        Refusal{"permanentHoldsStore", kPermanent, "[permanent]\npath = \"/dev\"\n",
                "system.toml:12: permanent.path: the state store /dev/state must not lie on this partition"},
        Refusal{"maxFillLow", kPermanent, "[permanent]\npath = \"/p\"\nmax-fill = 0\n",
                "system.toml:13: permanent.max-fill: 0 is not between 1 and 100"},
        Refusal{"maxFillHigh", kPermanent, "[permanent]\npath = \"/p\"\nmax-fill = 101\n",
                "system.toml:13: permanent.max-fill: 101 is not between 1 and 100"},
        Refusal{"probe", kPermanent, "[permanent]\npath = \"/p\"\nstorm-probe = \"2 weeks\"\n",
                "system.toml:13: permanent.storm-probe: \"2 weeks\" is not a duration such as \"500ms\", \"2s\", "
                "\"15min\" or \"1h\""},
        Refusal{"clientKeyAlone", kMore, "[source]\nclient-key = \"/k\"\n",
                "system.toml:15: source.client-certificate: is missing; source.client-key needs it"},
        Refusal{"clientCertificateAlone", kMore, "[source]\nclient-certificate = \"/c\"\n",
                "system.toml:15: source.client-key: is missing; source.client-certificate needs it"},
        Refusal{"decryptionKeyAlone", kMore, "[encryption]\nkey = \"/k\"\n",
                "system.toml:15: encryption.certificate: is missing"},
        Refusal{"decryptionCertificateAlone", kMore, "[encryption]\ncertificate = \"/c\"\n",
                "system.toml:15: encryption.key: is missing"},
        Refusal{"caRelative", kMore, "[source]\nca = \"ca.pem\"\n",
                "system.toml:16: source.ca: \"ca.pem\" is a relative path, it must begin with '/'"},
        Refusal{"proxyWithoutScheme", kMore, "[source]\nproxy = \"user:word@proxy\"\n",
                "system.toml:16: source.proxy: must begin with http:// or https://, as in "
                "\"http://proxy.example:3128\""},
        Refusal{"rateSlow", kMore, "[source]\nmax-rate = \"1 KiB\"\n",
                "system.toml:16: source.max-rate: \"1 KiB\" is not between 16384 and 1099511627776 bytes"},
        Refusal{"writeRateSlow", kMore, "[install]\nmax-write-rate = \"1 KiB\"\n",
                "system.toml:16: install.max-write-rate: \"1 KiB\" is not between 16384 and 1099511627776 bytes"},
        Refusal{"niceNegative", kMore, "[install]\nnice = -1\n",
                "system.toml:16: install.nice: -1 is not between 0 and 19"},
        Refusal{"ioniceRealTime", kMore, "[install]\nionice = \"realtime\"\n",
                "system.toml:16: install.ionice: \"realtime\" is neither \"idle\" nor \"best-effort\", or "
                "\"best-effort:0\" to \":7\""},
        Refusal{"ioniceLevel", kMore, "[install]\nionice = \"best-effort:8\"\n",
                "system.toml:16: install.ionice: \"best-effort:8\" is neither \"idle\" nor \"best-effort\", or "
                "\"best-effort:0\" to \":7\""},
        Refusal{"sourceTimeout", kMore, "[source]\ntimeout = \"500ms\"\n",
                "system.toml:16: source.timeout: \"500ms\" is not between 1s and 600s"},
        Refusal{"retries", kMore, "[source]\nretries = 101\n",
                "system.toml:16: source.retries: 101 is not between 0 and 100"},
        Refusal{"probeLong", kPermanent, "[permanent]\npath = \"/p\"\nstorm-probe = \"61s\"\n",
                "system.toml:13: permanent.storm-probe: \"61s\" is not between 0s and 60s"},
        Refusal{"classNotList", kPermanent, "[permanent]\npath = \"/p\"\n[permanent.class]\nname = \"a\"\n",
                "system.toml:13: permanent.class: must be written as [[permanent.class]], not as a table"},
        Refusal{"timeoutZero", kMore, "[health]\ntimeout = \"0s\"\n",
                "system.toml:16: health.timeout: \"0s\" is not between 1ms and 86400s"},
        Refusal{"allowEmptyType", kMore, "[health]\nallow-empty = \"yes\"\n",
                "system.toml:16: health.allow-empty: must be true or false, not a string"},
        Refusal{"signaturesZero", kTrust, "[trust]\nanchors = \"/t\"\nsignatures-required = 0\n",
                "system.toml:15: trust.signatures-required: 0 is not between 1 and 9"},
        Refusal{"noSignerNames", kTrust, "[trust]\nanchors = \"/t\"\nsigners = []\n",
                "system.toml:15: trust.signers: must have 1 to 64 names"},
        Refusal{"signerTwice", kTrust, "[trust]\nanchors = \"/t\"\nsigners = [\"a\", \"b\", \"a\"]\n",
                "system.toml:15: trust.signers: has \"a\" twice"},
        Refusal{"emptySignerName", kTrust, "[trust]\nanchors = \"/t\"\nsigners = [\"\"]\n",
                "system.toml:15: trust.signers: has an empty name"},
        Refusal{
            "moreSignaturesThanSigners", kTrust,
            "[trust]\nanchors = \"/t\"\nsigners = [\"a\"]\nsignatures-required = 2\n",
            "system.toml:16: trust.signatures-required: is more than there are names in trust.signers, each of which "
            "counts once"},
        Refusal{"unknownTime", kTrust, "[trust]\nanchors = \"/t\"\ntime = \"sundial\"\n",
                "system.toml:15: trust.time: \"sundial\" is none of \"clock\", \"signing-time\" and \"timestamp\""},
        Refusal{"timestampWithoutAnchors", kTrust, "[trust]\nanchors = \"/t\"\ntime = \"timestamp\"\n",
                "system.toml:13: trust.timestamp-anchors: is missing; trust.time = \"timestamp\" needs it"},
        Refusal{"timestampAnchorsWithoutTimestamp", kTrust, "[trust]\nanchors = \"/t\"\ntimestamp-anchors = \"/a\"\n",
                "system.toml:15: trust.timestamp-anchors: says nothing without trust.time = \"timestamp\""},
        Refusal{"relativeCrl", kTrust, "[trust]\nanchors = \"/t\"\ncrl = \"c.pem\"\n",
                "system.toml:15: trust.crl: \"c.pem\" is a relative path, it must begin with '/'"},
        Refusal{"relativeAnchors", kTrust, "[trust]\nanchors = \"t.pem\"\n",
                "system.toml:14: trust.anchors: \"t.pem\" is a relative path, it must begin with '/'"}),
    [](const auto& refusal) { return std::string(refusal.param.what); });

std::string permanent_with_class(const std::string& body) {
  return "[permanent]\npath = \"/p\"\n[[permanent.class]]\n" + body;
}

TEST(ParseConfiguration, ReadsTheGrubBackend) {
  Sections sections;
  EXPECT_EQ(accepted(sections.document()).grubenv, "/boot/grub/grubenv");
  sections.boot = "[boot]\nbackend = \"grub\"\n";
  Configuration configuration = accepted(sections.document());
  EXPECT_EQ(configuration.boot_backend, BootBackend::grub);
  EXPECT_EQ(configuration.grubenv, "/boot/grub/grubenv");
  EXPECT_EQ(configuration.attempts, 3u);
  // Keys of other backends stand beside it in the usual file.
  sections.boot = "[boot]\nbackend = \"grub\"\nfw-env-config = \"/f\"\ngrubenv = \"/efi/grub/grubenv\"\nattempts = 9\n";
  configuration = accepted(sections.document());
  EXPECT_EQ(configuration.grubenv, "/efi/grub/grubenv");
  EXPECT_EQ(configuration.attempts, 9u);
}

TEST(ParseConfiguration, RefusesAGrubEnvironmentOnThePermanentPartition) {
  Sections sections;
  sections.permanent = "[permanent]\npath = \"/p\"\n";
  sections.boot = "[boot]\nbackend = \"grub\"\ngrubenv = \"/p/grubenv\"\n";
  const Error error = refusal_of(sections.document());
  EXPECT_EQ(error.code, Errc::config);
  EXPECT_NE(error.message.find("/p/grubenv must not lie on this partition"), std::string::npos) << error.message;
  sections.boot = "[boot]\nbackend = \"uboot\"\ngrubenv = \"/p/grubenv\"\n";
  accepted(sections.document());
}

TEST(ParseConfiguration, RefusesClassesThatCannotWork) {
  const std::pair<const char*, const char*> cases[] = {
      {"name = \"a b\"\nkind = \"log\"\nmatch = [\"x\"]\n", "permanent.class[1].name: \"a b\" is not a plain name"},
      {"name = \"config\"\nkind = \"log\"\nmatch = [\"x\"]\n", "the class \"config\" can only be of the kind"},
      {"name = \"a\"\nkind = \"logs\"\nmatch = [\"x\"]\n", "permanent.class[1].kind: \"logs\" is none of"},
      {"name = \"a\"\nkind = \"log\"\nmatch = []\n", "must hold at least one pattern"},
      {"name = \"a\"\nkind = \"log\"\nmatch = \"x\"\n", "must be a list, not a string"},
      {"name = \"a\"\nkind = \"log\"\nmatch = [1]\n", "must hold strings only, not an integer"},
      {"name = \"a\"\nkind = \"log\"\nmatch = [\"/x\"]\n", "permanent.class[1].match: \"/x\": "},
      {"name = \"a\"\nkind = \"log\"\nmatch = [\"x\", \"[a\"]\n", "permanent.class[1].match: \"[a\": "},
      {"name = \"a\"\nkind = \"log\"\nmatch = [\"a/../b\"]\n", "permanent.class[1].match: \"a/../b\": "},
      {"name = \"a\"\nkind = \"log\"\nmatch = [\"x\"]\nkeep-days = 0\n", "0 is not between 1 and 36500"},
      {"name = \"a\"\nkind = \"config\"\nmatch = [\"x\"]\nkeep-days = 5\n", "has a retention"},
      {"name = \"a\"\nkind = \"disposable\"\nmatch = [\"x\"]\nkeep-days = 5\n", "has a retention"},
      {"name = \"a\"\nkind = \"log\"\nmatch = [\"x\"]\n[[permanent.class]]\nname = \"a\"\nkind = \"log\"\nmatch = "
       "[\"y\"]\n",
       "system.toml:18: permanent.class[2].name: the class \"a\" is defined twice"},
  };
  for (const auto& [body, gist] : cases) {
    Sections sections;
    sections.permanent = permanent_with_class(body);
    const Error error = refusal_of(sections.document());
    EXPECT_EQ(error.code, Errc::config) << body;
    EXPECT_NE(error.message.find(gist), std::string::npos) << error.message;
  }
}

TEST(ParseConfiguration, ReadsTheEfiBackend) {
  Sections sections;
  sections.boot = "[boot]\nbackend = \"efi\"\n";
  Configuration configuration = accepted(sections.document());
  EXPECT_EQ(configuration.boot_backend, BootBackend::efi);
  EXPECT_EQ(configuration.efi_loader, EfiLoader::systemd_boot);
  EXPECT_EQ(configuration.efi_partition, "/boot/efi");
  sections.boot += "efi-loader = \"firmware\"\nefi-partition = \"/efi/\"\nattempts = 5\n";
  configuration = accepted(sections.document());
  EXPECT_EQ(configuration.efi_loader, EfiLoader::firmware);
  EXPECT_EQ(configuration.efi_partition, "/efi");
  sections.boot = "[boot]\nbackend = \"efi\"\nefi-loader = \"systemd-boot\"\n";
  EXPECT_EQ(accepted(sections.document()).efi_loader, EfiLoader::systemd_boot);
}

TEST(ParseConfiguration, AnswersNotSupportedYetForWhatLaterVersionsBring) {
  Sections sections;
  sections.*kMore = "[encryption]\nkey = \"pkcs11:token=x\"\ncertificate = \"/c\"\n";
  const Error error = refusal_of(sections.document());
  EXPECT_EQ(error.code, Errc::not_supported_yet);
  EXPECT_EQ(error.message, "system.toml:16: encryption.key: a key on a token is not supported yet by this version");
}

TEST(ParseConfiguration, NamesTheLineOfASyntaxError) {
  const std::pair<std::string, const char*> cases[] = {
      {"[device]\ncompatible = \n", "system.toml:2: the text is not valid TOML: "},
      {"a = 1\na = 2\n", "system.toml:2: the text is not valid TOML: "},
      {"[device]\n[device]\n", "system.toml:2: the text is not valid TOML: "},
      {"a = \"\xff\"\n", "system.toml:1: the text is not valid TOML: "},
      {"a = 99999999999999999999\n", "system.toml:1: the text is not valid TOML: "},
      {std::string("a = 1\n") + "b = " + std::string(40, '[') + std::string(40, ']') + "\n", "system.toml:2: "},
      {"[" + std::string(300, '.') + "a]\n", "system.toml:1: the line has too many dots"},
      {"[a.b.c.d.e.f.g.h.i.j.k]\nx = 1\n", "system.toml:1: the text is nested too deeply"},
      {"a = 1\n[+device]\ncompatible = 1\n", "system.toml:2: the text is not valid TOML"},
      {"[device]\ncompat\xC8\x8D = 1\n", "system.toml:2: the text is not valid TOML: "},
      {"[[[a]]]", "system.toml:1: the text is not valid TOML"},
      {std::string(70'000, '#'), "system.toml:1: the file is longer than the 65536 bytes allowed"},
  };
  for (const auto& [text, beginning] : cases) {
    const Error error = refusal_of(text);
    EXPECT_EQ(error.code, Errc::config);
    EXPECT_TRUE(error.message.starts_with(beginning)) << error.message;
  }
}

TEST(ParseSize, TakesExactMultiplesOnly) {
  EXPECT_EQ(parse_size("4096"), 4096u);
  EXPECT_EQ(parse_size("0"), 0u);
  EXPECT_EQ(parse_size("7 B"), 7u);
  EXPECT_EQ(parse_size("512 KiB"), 512u << 10);
  EXPECT_EQ(parse_size("2MiB"), 2u << 20);
  EXPECT_EQ(parse_size("3 GiB"), 3ull << 30);
  EXPECT_EQ(parse_size("9223372036854775807"), 9223372036854775807u);
  for (const char* text : {"", " ", "MiB", "-1", "+1", "1.5 MiB", "2 MB", "2 mib", "2  MiB", "2 MiB ", " 2 MiB", "0x10",
                           "9223372036854775808", "8589934592 GiB", "2 "})
    EXPECT_EQ(parse_size(text), std::nullopt) << text;
}

TEST(ParseDuration, NeedsAUnit) {
  EXPECT_EQ(parse_duration("500ms"), milliseconds(500));
  EXPECT_EQ(parse_duration("2s"), milliseconds(2000));
  EXPECT_EQ(parse_duration("0s"), milliseconds(0));
  EXPECT_EQ(parse_duration("15 min"), milliseconds(900'000));
  EXPECT_EQ(parse_duration("1h"), milliseconds(3'600'000));
  for (const char* text : {"", "2", "2 sec", "2m", "-2s", "1.5s", "9223372036854775807s", "s"})
    EXPECT_EQ(parse_duration(text), std::nullopt) << text;
}

}  // namespace
}  // namespace slotkeeper

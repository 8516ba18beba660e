// From TOML to a Configuration. One function per section; the limits stand beside the keys they belong to.
#include <algorithm>
#include <set>
#include <utility>

#include "engine/bundle/manifest.hpp"
#include "engine/configuration/configuration.hpp"
#include "engine/configuration/toml_document.hpp"
#include "engine/configuration/toml_reader.hpp"
#include "partitions/io/host.hpp"
#include "partitions/state_store.hpp"

namespace slotkeeper {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t kStoreSizeMaxBytes = 1ull << 40;
constexpr std::uint64_t kReserveMaxBytes = 1ull << 40;
constexpr std::int64_t kAttemptsMax = 9;       // one digit in the boot scripts
constexpr std::int64_t kKeepDaysMax = 36'500;  // a century
constexpr std::int64_t kSignaturesMax = 9;
constexpr std::size_t kSignerNamesMax = 64;
constexpr milliseconds kStormProbeMax{60'000};  // it delays every update
constexpr milliseconds kTrialMax{24 * 3'600'000};
constexpr std::size_t kClassesMax = 64;
constexpr std::uint64_t kMaxRateMinBytes = 16ull << 10;  // slower than this a line counts as dead now and then
constexpr std::uint64_t kMaxRateMaxBytes = 1ull << 40;
constexpr std::int64_t kQuarantineAfterMax = 100;
constexpr std::int64_t kNiceMax = 19;  // the kernel's
constexpr milliseconds kSourceTimeoutMax{600'000};
constexpr std::int64_t kRetriesMax = 100;

// Moves a value that was given; leaves the default otherwise.
template <class T, class U>
void take(T& target, std::optional<U>& given) {
  if (given) target = static_cast<T>(std::move(*given));
}

Result<void> read_device(const TomlTable& document, Configuration& configuration) {
  SK_TRY_ASSIGN(const TomlTable device, document.required_table("device"));
  SK_TRY(device.check_keys({"compatible"}));
  SK_TRY_ASSIGN(configuration.compatible, required<std::string>(device, "compatible", device.string("compatible")));
  return success();
}

Result<void> read_state(const TomlTable& document, Configuration& configuration) {
  SK_TRY_ASSIGN(const TomlTable state, document.required_table("state"));
  SK_TRY(state.check_keys({"store", "size"}));
  SK_TRY_ASSIGN(configuration.store_path, required<std::string>(state, "store", state.path("store")));
  SK_TRY_ASSIGN(auto size, state.size_bytes("size", kStoreSizeMinBytes, kStoreSizeMaxBytes));
  if (size && *size % kStoreBlockBytes != 0)
    return state.wrong("size", "must be a multiple of " + std::to_string(kStoreBlockBytes) + " bytes");
  take(configuration.store_size_bytes, size);
  return success();
}

Result<std::vector<Volume>> read_slot(const TomlTable& slots, std::string_view name) {
  SK_TRY_ASSIGN(const TomlTable slot, slots.required_table(name));
  std::vector<Volume> volumes;
  for (const std::string& key : slot.keys()) {
    if (!bundle::is_plain_name(key) || key.size() > bundle::kNameMaxBytes)
      return slot.wrong(key, "is not a volume name: letters, digits, '-', '_' and '.', at most " +
                                 std::to_string(bundle::kNameMaxBytes) + " of them");
    SK_TRY_ASSIGN(const auto path, required<std::string>(slot, key, slot.path(key)));
    volumes.push_back(Volume{.name = key, .device_path = path});
  }
  if (volumes.empty()) return slots.wrong(name, "must name at least one volume");
  if (volumes.size() > bundle::kImagesMax)
    return slots.wrong(name, "names more than " + std::to_string(bundle::kImagesMax) + " volumes");
  std::ranges::sort(volumes, {}, &Volume::name);
  return volumes;
}

Result<void> check_same_volumes(const TomlTable& slots, const Slot& here, const Slot& there) {
  for (const Volume& volume : there.volumes)
    if (std::ranges::find(here.volumes, volume.name, &Volume::name) == here.volumes.end())
      return slots.wrong(name_of(here.id), "the volume " + volume.name + " of slot " + std::string(name_of(there.id)) +
                                               " is missing; both slots name the same volumes");
  return success();
}

Result<void> check_distinct_devices(const TomlTable& slots, const Configuration& configuration) {
  std::set<std::string> taken{configuration.store_path};
  for (const Slot* slot : {&configuration.slots.a, &configuration.slots.b})
    for (const Volume& volume : slot->volumes)
      if (!taken.insert(volume.device_path).second)
        return slots.wrong(name_of(slot->id),
                           "the path of volume " + volume.name + ", " + volume.device_path + ", is used twice");
  return success();
}

Result<void> read_slots(const TomlTable& document, Configuration& configuration) {
  SK_TRY_ASSIGN(const TomlTable slots, document.required_table("slots"));
  SK_TRY(slots.check_keys({"A", "B"}));
  SK_TRY_ASSIGN(configuration.slots.a.volumes, read_slot(slots, "A"));
  SK_TRY_ASSIGN(configuration.slots.b.volumes, read_slot(slots, "B"));
  SK_TRY(check_same_volumes(slots, configuration.slots.b, configuration.slots.a));
  SK_TRY(check_same_volumes(slots, configuration.slots.a, configuration.slots.b));
  return check_distinct_devices(slots, configuration);
}

Result<void> read_volumes(const TomlTable& document, Configuration& configuration) {
  SK_TRY_ASSIGN(const auto volumes, document.table("volumes"));
  if (!volumes) return success();
  for (const std::string& name : volumes->keys()) {
    SK_TRY_ASSIGN(const TomlTable settings, volumes->required_table(name));
    const auto in_a = std::ranges::find(configuration.slots.a.volumes, name, &Volume::name);
    const auto in_b = std::ranges::find(configuration.slots.b.volumes, name, &Volume::name);
    if (in_a == configuration.slots.a.volumes.end() || in_b == configuration.slots.b.volumes.end())
      return volumes->wrong(name, "the slots have no volume of this name");
    SK_TRY(settings.check_keys({"verify"}));
    SK_TRY_ASSIGN(const auto verify, settings.string("verify"));
    if (verify && *verify != "image" && *verify != "none")
      return settings.wrong("verify", "\"" + *verify + R"(" is neither "image" nor "none")");
    const VolumeCheck check = verify && *verify == "none" ? VolumeCheck::none : VolumeCheck::image;
    in_a->check = check;
    in_b->check = check;
  }
  return success();
}

constexpr std::pair<std::string_view, BootBackend> kBackends[] = {{"uboot", BootBackend::uboot},
                                                                  {"grub", BootBackend::grub},
                                                                  {"efi", BootBackend::efi},
                                                                  {"custom", BootBackend::custom}};

Result<void> read_efi(const TomlTable& boot, Configuration& configuration) {
  SK_TRY_ASSIGN(const auto loader, boot.string("efi-loader"));
  if (loader && *loader != "systemd-boot" && *loader != "firmware")
    return boot.wrong("efi-loader", "\"" + *loader + R"(" is neither "systemd-boot" nor "firmware")");
  if (loader && *loader == "firmware") configuration.efi_loader = EfiLoader::firmware;
  SK_TRY_ASSIGN(auto partition, boot.path("efi-partition"));
  take(configuration.efi_partition, partition);
  return success();
}

// Keys of another backend are checked as well but have no effect: the usual file lists them side by side.
Result<void> read_boot(const TomlTable& document, Configuration& configuration) {
  SK_TRY_ASSIGN(const TomlTable boot, document.required_table("boot"));
  SK_TRY(
      boot.check_keys({"backend", "fw-env-config", "grubenv", "command", "attempts", "efi-loader", "efi-partition"}));
  SK_TRY_ASSIGN(const auto backend, required<std::string>(boot, "backend", boot.string("backend")));
  const auto known = std::ranges::find(kBackends, backend, &std::pair<std::string_view, BootBackend>::first);
  if (known == std::end(kBackends))
    return boot.wrong("backend", "\"" + backend + R"(" is none of "uboot", "grub", "efi", "custom")");
  configuration.boot_backend = known->second;
  SK_TRY_ASSIGN(auto fw_env_config, boot.path("fw-env-config"));
  take(configuration.fw_env_config, fw_env_config);
  SK_TRY_ASSIGN(auto grubenv, boot.path("grubenv"));
  take(configuration.grubenv, grubenv);
  SK_TRY_ASSIGN(auto command, boot.path("command"));
  if (!command && configuration.boot_backend == BootBackend::custom)
    return boot.wrong("command", "is missing; the backend \"custom\" needs it");
  take(configuration.boot_command, command);
  SK_TRY(read_efi(boot, configuration));
  SK_TRY_ASSIGN(auto attempts, boot.integer("attempts", 1, kAttemptsMax));
  take(configuration.attempts, attempts);
  return success();
}

Result<permanent::ClassRule> read_class(const TomlTable& table) {
  permanent::ClassRule rule;
  SK_TRY(table.check_keys({"name", "kind", "match", "keep-days"}));
  SK_TRY_ASSIGN(rule.name, required<std::string>(table, "name", table.string("name")));
  if (!bundle::is_plain_name(rule.name) || rule.name.size() > bundle::kNameMaxBytes)
    return table.wrong("name", "\"" + rule.name +
                                   "\" is not a plain name: letters, digits, '-', '_' and '.', at most " +
                                   std::to_string(bundle::kNameMaxBytes) + " of them");
  SK_TRY_ASSIGN(const auto kind, required<std::string>(table, "kind", table.string("kind")));
  const auto known = permanent::kind_from_name(kind);
  if (!known)
    return table.wrong("kind", "\"" + kind + R"(" is none of "config", "state", "log", "security-log", "disposable")");
  rule.kind = *known;
  // "config" is what every file without a class gets; another kind under that name would mislead.
  if (rule.name == "config" && rule.kind != permanent::ClassKind::config)
    return table.wrong("name", "the class \"config\" can only be of the kind \"config\"");
  SK_TRY_ASSIGN(rule.match, required<std::vector<std::string>>(table, "match", table.strings("match")));
  if (rule.match.empty()) return table.wrong("match", "must hold at least one pattern");
  for (const std::string& pattern : rule.match)
    if (const auto problem = permanent::glob_problem(pattern))
      return table.wrong("match", "\"" + pattern + "\": " + *problem);
  SK_TRY_ASSIGN(const auto keep_days, table.integer("keep-days", 1, kKeepDaysMax));
  if (keep_days) {
    if (rule.kind != permanent::ClassKind::log && rule.kind != permanent::ClassKind::security_log)
      return table.wrong("keep-days", "only a \"log\" or a \"security-log\" has a retention");
    rule.keep_days = static_cast<std::uint32_t>(*keep_days);
  }
  return rule;
}

Result<void> read_permanent(const TomlTable& document, Configuration& configuration) {
  SK_TRY_ASSIGN(const TomlTable permanent, document.required_table("permanent"));
  SK_TRY(permanent.check_keys({"path", "max-fill", "reserve", "storm-probe", "class"}));
  SK_TRY_ASSIGN(configuration.permanent_path, required<std::string>(permanent, "path", permanent.path("path")));
  if (configuration.permanent_path == "/") return permanent.wrong("path", "must not be the root directory");
  const std::string& store = configuration.store_path;
  if (store == configuration.permanent_path || store.starts_with(configuration.permanent_path + "/"))
    return permanent.wrong("path", "the state store " + store + " must not lie on this partition");
  const std::string& grubenv = configuration.grubenv;
  if (configuration.boot_backend == BootBackend::grub && grubenv.starts_with(configuration.permanent_path + "/"))
    return permanent.wrong("path", "the GRUB environment " + grubenv + " must not lie on this partition");
  SK_TRY_ASSIGN(auto max_fill, permanent.integer("max-fill", 1, 100));
  take(configuration.max_fill_percent, max_fill);
  SK_TRY_ASSIGN(auto reserve, permanent.size_bytes("reserve", 0, kReserveMaxBytes));
  take(configuration.reserve_bytes, reserve);
  SK_TRY_ASSIGN(auto probe, permanent.duration("storm-probe", milliseconds(0), kStormProbeMax));
  take(configuration.storm_probe, probe);
  SK_TRY_ASSIGN(const auto classes, permanent.tables("class"));
  if (classes.size() > kClassesMax)
    return permanent.wrong("class", "more than " + std::to_string(kClassesMax) + " classes");
  for (const TomlTable& table : classes) {
    SK_TRY_ASSIGN(auto rule, read_class(table));
    if (std::ranges::find(configuration.classes.rules, rule.name, &permanent::ClassRule::name) !=
        configuration.classes.rules.end())
      return table.wrong("name", "the class \"" + rule.name + "\" is defined twice");
    configuration.classes.rules.push_back(std::move(rule));
  }
  return success();
}

Result<void> read_signers(const TomlTable& trust, TrustSettings& settings) {
  SK_TRY_ASSIGN(auto names, trust.strings("signers"));
  if (!names) return success();
  if (names->empty() || names->size() > kSignerNamesMax)
    return trust.wrong("signers", "must have 1 to " + std::to_string(kSignerNamesMax) + " names");
  std::set<std::string> once;
  for (const std::string& name : *names) {
    if (name.empty()) return trust.wrong("signers", "has an empty name");
    if (!once.insert(name).second) return trust.wrong("signers", "has \"" + name + "\" twice");
  }
  settings.signers = std::move(*names);
  return success();
}

Result<void> read_judged_at(const TomlTable& trust, TrustSettings& settings) {
  SK_TRY_ASSIGN(const auto time, trust.string("time"));
  SK_TRY_ASSIGN(auto anchors, trust.path("timestamp-anchors"));
  if (time == "signing-time") {
    settings.judged_at = bundle::JudgedAt::signing_time;
  } else if (time == "timestamp") {
    settings.judged_at = bundle::JudgedAt::time_stamp;
  } else if (time && time != "clock") {
    return trust.wrong("time", "\"" + *time + R"(" is none of "clock", "signing-time" and "timestamp")");
  }
  const bool needs_anchors = settings.judged_at == bundle::JudgedAt::time_stamp;
  if (needs_anchors && !anchors)
    return trust.wrong("timestamp-anchors", R"(is missing; trust.time = "timestamp" needs it)");
  if (anchors && !needs_anchors)
    return trust.wrong("timestamp-anchors", R"(says nothing without trust.time = "timestamp")");
  take(settings.time_stamp_anchors, anchors);
  return success();
}

Result<void> read_trust(const TomlTable& document, Configuration& configuration) {
  SK_TRY_ASSIGN(const TomlTable trust, document.required_table("trust"));
  TrustSettings& settings = configuration.trust;
  SK_TRY(trust.check_keys({"anchors", "crl", "signers", "signatures-required", "time", "timestamp-anchors"}));
  SK_TRY_ASSIGN(settings.anchors, required<std::string>(trust, "anchors", trust.path("anchors")));
  SK_TRY_ASSIGN(auto crl, trust.path("crl"));
  take(settings.crl, crl);
  SK_TRY(read_signers(trust, settings));
  SK_TRY(read_judged_at(trust, settings));
  SK_TRY_ASSIGN(auto signatures, trust.integer("signatures-required", 1, kSignaturesMax));
  take(settings.signatures_required, signatures);
  if (!settings.signers.empty() && settings.signatures_required > settings.signers.size())
    return trust.wrong("signatures-required",
                       "is more than there are names in trust.signers, each of which counts once");
  return success();
}

Result<void> read_encryption(const TomlTable& document, Configuration& configuration) {
  SK_TRY_ASSIGN(const auto encryption, document.table("encryption"));
  if (!encryption) return success();
  SK_TRY(encryption->check_keys({"key", "certificate"}));
  SK_TRY_ASSIGN(const auto written, encryption->string("key"));
  if (written && written->starts_with("pkcs11:"))
    return encryption->wrong("key", "a key on a token is not supported yet by this version", Errc::not_supported_yet);
  SK_TRY_ASSIGN(configuration.encryption_key, required<std::string>(*encryption, "key", encryption->path("key")));
  SK_TRY_ASSIGN(configuration.encryption_certificate,
                required<std::string>(*encryption, "certificate", encryption->path("certificate")));
  return success();
}

Result<void> read_health(const TomlTable& document, Configuration& configuration) {
  SK_TRY_ASSIGN(const auto health, document.table("health"));
  if (!health) return success();
  SK_TRY(health->check_keys({"directory", "timeout", "confirm-within", "allow-empty"}));
  SK_TRY_ASSIGN(auto directory, health->path("directory"));
  take(configuration.health_directory, directory);
  SK_TRY_ASSIGN(auto timeout, health->duration("timeout", milliseconds(1), kTrialMax));
  take(configuration.health_timeout, timeout);
  SK_TRY_ASSIGN(auto confirm_within, health->duration("confirm-within", milliseconds(1), kTrialMax));
  take(configuration.confirm_within, confirm_within);
  SK_TRY_ASSIGN(auto allow_empty, health->boolean("allow-empty"));
  take(configuration.health_allow_empty, allow_empty);
  return success();
}

Result<void> read_hooks(const TomlTable& document, Configuration& configuration) {
  SK_TRY_ASSIGN(const auto hooks, document.table("hooks"));
  if (!hooks) return success();
  SK_TRY(hooks->check_keys({"directory"}));
  SK_TRY_ASSIGN(auto directory, hooks->path("directory"));
  take(configuration.hooks_directory, directory);
  return success();
}

Result<void> read_source(const TomlTable& document, Configuration& configuration) {
  SK_TRY_ASSIGN(const auto source, document.table("source"));
  if (!source) return success();
  SourceSettings& settings = configuration.source;
  SK_TRY(source->check_keys({"ca", "client-certificate", "client-key", "proxy", "max-rate", "timeout", "retries"}));
  SK_TRY_ASSIGN(auto ca, source->path("ca"));
  take(settings.ca, ca);
  SK_TRY_ASSIGN(auto certificate, source->path("client-certificate"));
  SK_TRY_ASSIGN(auto key, source->path("client-key"));
  if (certificate && !key) return source->wrong("client-key", "is missing; source.client-certificate needs it");
  if (key && !certificate) return source->wrong("client-certificate", "is missing; source.client-key needs it");
  take(settings.client_certificate, certificate);
  take(settings.client_key, key);
  SK_TRY_ASSIGN(auto proxy, source->string("proxy"));
  if (proxy && !proxy->starts_with("http://") && !proxy->starts_with("https://"))
    return source->wrong("proxy", "must begin with http:// or https://, as in \"http://proxy.example:3128\"");
  take(settings.proxy, proxy);
  SK_TRY_ASSIGN(auto max_rate, source->size_bytes("max-rate", kMaxRateMinBytes, kMaxRateMaxBytes));
  take(settings.max_rate, max_rate);
  SK_TRY_ASSIGN(auto timeout, source->duration("timeout", milliseconds(1000), kSourceTimeoutMax));
  take(settings.timeout, timeout);
  SK_TRY_ASSIGN(auto retries, source->integer("retries", 0, kRetriesMax));
  take(settings.retries, retries);
  return success();
}

/// "idle", "best-effort", "best-effort:0" to "best-effort:7", as ionice(1) numbers them.
std::optional<int> parse_io_priority(std::string_view text) {
  constexpr std::string_view kBestEffort = "best-effort";
  constexpr int kUsualLevel = 4;
  if (text == "idle") return io::kIoIdle;
  if (!text.starts_with(kBestEffort)) return std::nullopt;
  text.remove_prefix(kBestEffort.size());
  if (text.empty()) return io::io_best_effort(kUsualLevel);
  if (text.size() != 2 || text[0] != ':' || text[1] < '0' || text[1] > '7') return std::nullopt;
  return io::io_best_effort(text[1] - '0');
}

Result<void> read_install(const TomlTable& document, Configuration& configuration) {
  SK_TRY_ASSIGN(const auto install, document.table("install"));
  if (!install) return success();
  InstallSettings& settings = configuration.install;
  SK_TRY(install->check_keys({"max-write-rate", "nice", "ionice", "gentle", "quarantine-after"}));
  SK_TRY_ASSIGN(settings.max_write_rate, install->size_bytes("max-write-rate", kMaxRateMinBytes, kMaxRateMaxBytes));
  SK_TRY_ASSIGN(const auto nice, install->integer("nice", 0, kNiceMax));
  if (nice) settings.nice = static_cast<int>(*nice);
  SK_TRY_ASSIGN(const auto ionice, install->string("ionice"));
  if (ionice) {
    settings.io_priority = parse_io_priority(*ionice);
    if (!settings.io_priority)
      return install->wrong("ionice",
                            "\"" + *ionice + R"(" is neither "idle" nor "best-effort", or "best-effort:0" to ":7")");
  }
  SK_TRY_ASSIGN(auto quarantine_after, install->integer("quarantine-after", 0, kQuarantineAfterMax));
  take(settings.quarantine_after, quarantine_after);
  SK_TRY_ASSIGN(auto gentle, install->boolean("gentle"));
  take(settings.gentle, gentle);
  return success();
}

}  // namespace

Result<Configuration> parse_configuration(std::string_view text, const std::string& file_name) {
  SK_TRY_ASSIGN(const TomlValue root, parse_toml(text, file_name));
  const TomlTable document(root, file_name, "");
  SK_TRY(document.check_keys({"device", "state", "slots", "volumes", "boot", "permanent", "trust", "encryption",
                              "health", "hooks", "source", "install"}));
  Configuration configuration;
  configuration.path = file_name;
  SK_TRY(read_device(document, configuration));
  SK_TRY(read_state(document, configuration));
  SK_TRY(read_slots(document, configuration));
  SK_TRY(read_volumes(document, configuration));
  SK_TRY(read_boot(document, configuration));
  SK_TRY(read_permanent(document, configuration));
  SK_TRY(read_trust(document, configuration));
  SK_TRY(read_encryption(document, configuration));
  SK_TRY(read_health(document, configuration));
  SK_TRY(read_hooks(document, configuration));
  SK_TRY(read_source(document, configuration));
  SK_TRY(read_install(document, configuration));
  return configuration;
}

Result<Configuration> load_configuration(io::Storage& storage, const std::string& path) {
  auto text = storage.read_text(path, kTomlMaxBytes);
  if (text.has_error())
    return std::move(text).assume_error().with_code(Errc::config).with_context("the configuration cannot be read");
  return parse_configuration(text.assume_value(), path);
}

}  // namespace slotkeeper

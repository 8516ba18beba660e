#include "tests/crash/world.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "engine/bundle/bundle_writer.hpp"
#include "partitions/state_store.hpp"

namespace slotkeeper::test {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kImageBytes = 96 * 1024;
constexpr std::size_t kSlotBytes = 128 * 1024;
constexpr std::size_t kEnvironmentBytes = 4096;

std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void write_all(const std::string& path, const std::string& contents) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << contents;
  ASSERT_TRUE(file.good()) << path;
}

/// Reproducible contents with a run of zeros in the middle.
std::string image_of(int version) {
  std::mt19937 random(static_cast<unsigned>(version));
  std::string image(kImageBytes, '\0');
  for (std::size_t i = 0; i < image.size(); ++i) {
    if (i < 40 * 1024 || i > 56 * 1024) image[i] = static_cast<char>(random() & 0xff);
  }
  return image;
}

void shell(const std::string& command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }

void unwrap(Result<void> result) { ASSERT_TRUE(result.has_value()) << result.assume_error().message; }

std::string describe(const fs::path& path) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) return "gone";
  std::ostringstream text;
  text << std::oct << status.st_mode << std::dec << ' ' << status.st_uid << ':' << status.st_gid << ' ';
  if (S_ISLNK(status.st_mode)) {
    text << fs::read_symlink(path).string();
  } else if (S_ISREG(status.st_mode)) {
    text << status.st_mtim.tv_sec << '.' << status.st_mtim.tv_nsec << ' ' << read_all(path);
    char value[64];
    const auto length = getxattr(path.c_str(), "user.origin", value, sizeof value);
    if (length > 0) text << " xattr " << std::string(value, static_cast<std::size_t>(length));
  }
  return text.str();
}

}  // namespace

WorldHost::WorldHost() : real_(io::make_posix_host()) {}
io::TimeStamp WorldHost::now() { return real_->now(); }
// Every question takes a millisecond, so that what is done at intervals is done at the same calls in every run.
std::chrono::nanoseconds WorldHost::monotonic() { return time_ += std::chrono::milliseconds(1); }
std::chrono::nanoseconds WorldHost::since_boot() { return std::chrono::seconds(10); }
Result<void> WorldHost::random(io::Bytes into) { return real_->random(into); }
Result<void> WorldHost::ask_to_end(int process) { return real_->ask_to_end(process); }
Result<io::ProcessOutcome> WorldHost::run(const io::ProcessRequest& request) {
  const std::string name = fs::path(request.executable).filename();
  runs.push_back({.name = name, .environment = request.environment});
  if (during_run) during_run(name);
  if (name == "migrate-config" && migration) return migration(request);
  if (const auto found = outcomes.find(name); found != outcomes.end()) return found->second;
  io::ProcessOutcome outcome;
  outcome.exit_status = name == "check" ? health_exit_status : 0;
  return outcome;
}
std::vector<std::string> WorldHost::names_run() const {
  std::vector<std::string> names;
  for (const Run& one : runs) names.push_back(one.name);
  return names;
}

World::World() : folder_(temporary_.path() + "/world"), storage_(io::make_posix_storage()) {
  fs::create_directories(folder_);
  if (mount("slotkeeper-test", folder_.c_str(), "tmpfs", 0, "size=64m") != 0) std::abort();
  fs::create_directories(at("permanent"));
  if (mount("slotkeeper-test", at("permanent").c_str(), "tmpfs", 0, "size=4m") != 0) std::abort();
  fs::create_directories(at("health.d"));
  write_all(at("health.d/check"), "#!/bin/sh\n");
  chmod(at("health.d/check").c_str(), 0755);
  fs::create_directories(at("hooks.d"));
  make_keys();
  for (const int version : {1, 2, 3}) make_bundle(version);
  write_all(at("fw_env.config"), at("env.img") + " 0x0 0x1000\n" + at("env.img") + " 0x1000 0x1000\n");
  reset();
  save();
}

World::~World() {
  umount2(at("permanent").c_str(), MNT_DETACH);
  umount2(folder_.c_str(), MNT_DETACH);
}

void World::make_keys() const {
  shell("cd " + folder_ +
        " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout signer.key -out "
        "signer.pem -subj /CN=signer -days 3650 -addext keyUsage=critical,digitalSignature -addext "
        "extendedKeyUsage=codeSigning 2>/dev/null");
}

void World::make_bundle(int version) {
  const std::string name = std::to_string(version);
  write_all(at("v" + name + ".img"), image_of(version));
  bundle::CreateRequest request;
  request.description.version = "1.0." + name;
  request.description.compatible = {"world"};
  request.description.config = bundle::ConfigSchema{.schema = version, .readable_by = version};
  request.images = {{.volume = "rootfs", .path = at("v" + name + ".img")}};
  request.identity.certificate_pem = read_all(at("signer.pem"));
  request.identity.key_pem = read_all(at("signer.key"));
  request.output_path = at("v" + name + ".skb");
  request.compression_level = 1;
  request.chunk_bytes = 16 * 1024;
  SilentProgress silent;
  auto created = bundle::create_bundle(*storage_, request, silent);
  ASSERT_TRUE(created.has_value()) << created.assume_error().message;
}

void World::fill_permanent() const {
  const fs::path root = at("permanent");
  for (const auto& entry : fs::directory_iterator(root)) fs::remove_all(entry.path());
  fs::create_directories(root / "net");
  fs::create_directories(root / "log");
  fs::create_directories(root / "packages");
  write_all(root / "net/if.conf", "address = 10.0.0.1\n");
  write_all(root / "secret.key", "key material\n");
  write_all(root / "leases.state", "lease 1\n");
  write_all(root / "log/system.log", "1 first\n2 second\n");
  write_all(root / "packages/old.skb", std::string(9000, 'x'));
  chmod((root / "secret.key").c_str(), 0600);
  ASSERT_EQ(chown((root / "secret.key").c_str(), 12, 34), 0);
  ASSERT_EQ(setxattr((root / "net/if.conf").c_str(), "user.origin", "factory", 7, 0), 0);
  fs::create_symlink("net/if.conf", root / "current");
  fs::create_hard_link(root / "net/if.conf", root / "net/alias.conf");
}

void World::reset() {
  write_all(at("slot-a.img"), image_of(1) + std::string(kSlotBytes - kImageBytes, '\0'));
  write_all(at("slot-b.img"), std::string(kSlotBytes, 'r'));
  write_all(at("env.img"), std::string(2 * kEnvironmentBytes, '\xff'));
  fs::remove(at("store.img"));
  fs::remove(at("hooks.d/migrate-config"));
  host_.migration = nullptr;
  fill_permanent();
  const auto provisioned = run(SlotId::a, [&](Engine& engine) { return engine.provision(at("v1.skb"), false); });
  ASSERT_FALSE(provisioned.failure) << provisioned.failure->error.message;
}

void World::set_hook(const std::string& name, bool present) const {
  const std::string path = at("hooks.d/" + name);
  if (!present) {
    fs::remove(path);
    return;
  }
  write_all(path, "#!/bin/sh\n");
  chmod(path.c_str(), 0755);
}

void World::save() {
  fs::remove_all(at("saved"));
  fs::create_directories(at("saved"));
  for (const char* name : {"slot-a.img", "slot-b.img", "env.img", "store.img"}) fs::copy(at(name), at("saved/") + name);
  shell("cp -a " + at("permanent") + " " + at("saved/permanent"));
}

void World::load() {
  for (const char* name : {"slot-a.img", "slot-b.img", "env.img", "store.img"}) {
    fs::copy_file(at("saved/") + name, at(name), fs::copy_options::overwrite_existing);
  }
  for (const auto& entry : fs::directory_iterator(at("permanent"))) fs::remove_all(entry.path());
  shell("cp -a " + at("saved/permanent/.") + " " + at("permanent"));
}

Configuration World::configuration_of_device() const {
  Configuration configuration;
  configuration.path = at("system.toml");
  configuration.compatible = "world";
  configuration.store_path = at("store.img");
  configuration.store_size_bytes = kStoreSizeMinBytes;
  configuration.slots.a.volumes = {{.name = "rootfs", .device_path = at("slot-a.img")}};
  configuration.slots.b.volumes = {{.name = "rootfs", .device_path = at("slot-b.img")}};
  configuration.fw_env_config = at("fw_env.config");
  configuration.attempts = 2;
  configuration.permanent_path = at("permanent");
  configuration.reserve_bytes = 16 * 1024;
  configuration.classes.rules = {
      {.name = "log", .kind = permanent::ClassKind::log, .match = {"log/**"}, .keep_days = 180},
      {.name = "state", .kind = permanent::ClassKind::state, .match = {"*.state"}, .keep_days = {}},
      {.name = "packages", .kind = permanent::ClassKind::disposable, .match = {"packages/**"}, .keep_days = {}}};
  configuration.trust_anchors = at("signer.pem");
  configuration.health_directory = at("health.d");
  configuration.hooks_directory = at("hooks.d");
  return configuration;
}

CommandResult World::run(SlotId slot, const std::function<CommandResult(Engine&)>& command, io::Storage* storage) {
  sink_ = std::make_unique<RecordingSink>();
  Engine engine({.storage = storage != nullptr ? *storage : *storage_,
                 .host = host_,
                 .sink = *sink_,
                 .configuration = configuration_of_device(),
                 .assumed_slot = slot,
                 .make_boot_control = {}});
  return command(engine);
}

CommandResult World::install(SlotId slot, int version, io::Storage* storage) {
  return run(
      slot,
      [&](Engine& engine) {
        return engine.install(
            {.location = at("v" + std::to_string(version) + ".skb"), .reboot = false, .force = false});
      },
      storage);
}

CommandResult World::recover(SlotId slot, io::Storage* storage) {
  return run(
      slot, [](Engine& engine) { return engine.recover(); }, storage);
}

CommandResult World::confirm(SlotId slot, io::Storage* storage) {
  return run(
      slot, [](Engine& engine) { return engine.confirm(false); }, storage);
}

boot::BootState World::environment() {
  auto control = boot::make_uboot_control(*storage_, {.fw_env_config = at("fw_env.config"), .attempts = 2});
  if (!control.has_value()) {
    ADD_FAILURE() << control.assume_error().message;
    return {};
  }
  auto reading = control.assume_value()->read();
  if (!reading.has_value()) {
    ADD_FAILURE() << "boot environment: " << reading.assume_error().message;
    return {};
  }
  return reading.assume_value().state;
}

SlotId World::boot() {
  host_.reboot();
  auto control = boot::make_uboot_control(*storage_, {.fw_env_config = at("fw_env.config"), .attempts = 2});
  auto state = environment();
  for (const SlotId slot : state.order) {
    const auto tries = state[slot].tries_left.value_or(0);
    if (tries == 0) continue;
    const bool on_trial =
        state.mark && state.mark->stage == boot::TransactionMark::Stage::trial && slot == state.order.front();
    if (on_trial) {
      state[slot].tries_left = tries - 1;
      unwrap(control.assume_value()->store(state));
    }
    EXPECT_TRUE(version_in(slot).has_value()) << "slot " << name_of(slot) << " starts, but holds no whole firmware";
    return slot;
  }
  ADD_FAILURE() << "no slot can start";
  return SlotId::a;
}

std::optional<int> World::version_in(SlotId slot) const {
  const std::string contents = read_all(at(slot == SlotId::a ? "slot-a.img" : "slot-b.img"));
  for (const int version : {1, 2, 3}) {
    if (contents.compare(0, kImageBytes, image_of(version)) == 0) return version;
  }
  return std::nullopt;
}

std::map<std::string, std::string> World::configuration() const {
  std::map<std::string, std::string> found;
  const fs::path root = at("permanent");
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    const std::string path = fs::relative(entry.path(), root).string();
    if (path.starts_with("log") || path.starts_with("packages") || path.starts_with(".slotkeeper")) continue;
    found[path] = describe(entry.path());
  }
  return found;
}

std::string World::log() const { return read_all(at("permanent/log/system.log")); }

std::string World::everything() const {
  std::string all;
  for (const char* name : {"slot-a.img", "slot-b.img", "env.img", "store.img"}) all += read_all(at(name));
  for (const auto& [path, contents] : configuration()) all += path + contents;
  return all + log();
}

void World::write_file(const std::string& path, const std::string& contents) const {
  write_all(at("permanent/" + path), contents);
}
void World::remove_file(const std::string& path) const { fs::remove_all(at("permanent/" + path)); }
void World::append_log(const std::string& line) const {
  std::ofstream(at("permanent/log/system.log"), std::ios::app) << line << '\n';
}
void World::give_migration(std::function<io::ProcessOutcome(const io::ProcessRequest&)> migration) {
  write_all(at("hooks.d/migrate-config"), "#!/bin/sh\n");
  chmod(at("hooks.d/migrate-config").c_str(), 0755);
  host_.migration = std::move(migration);
}
bool World::own_directory_is_empty() const { return fs::is_empty(at("permanent/.slotkeeper")); }

}  // namespace slotkeeper::test

#include "tests/crash/world.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>
#include <stdexcept>
#include <zstd.h>

#include <gtest/gtest.h>

#include "engine/bundle/bundle_writer.hpp"
#include "partitions/state_store.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::test {
namespace {

constexpr std::size_t kImageBytes = 64 * 1024;
constexpr std::size_t kSlotBytes = 80 * 1024;
constexpr std::size_t kHeadBytes = 4096;
constexpr std::size_t kEnvironmentBytes = 2048;
constexpr std::uint64_t kConfirmedOffset = 4096;
constexpr int kVersions = 3;

std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw std::runtime_error("cannot read " + path);
  return text.str();
}

/// Reproducible contents with a run of zeros in the middle.
std::string make_image(int version) {
  std::mt19937 random(static_cast<unsigned>(version));
  std::string image(kImageBytes, '\0');
  for (std::size_t i = 0; i < image.size(); ++i) {
    if (i < 24 * 1024 || i > 40 * 1024) image[i] = static_cast<char>(random() & 0xffU);
  }
  return image;
}

/// Made once: keys, images and bundles.
struct Material {
  std::string certificate;
  std::string key;
  std::map<int, PagedBytes> images;
  std::map<int, std::string> bundles;

  static const Material& get() {
    static const Material material;
    return material;
  }

 private:
  Material() {
    const TemporaryDirectory folder;
    const std::string command =
        "cd " + folder.path() +
        " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout signer.key -out "
        "signer.pem -subj /CN=signer -days 3650 -addext keyUsage=critical,digitalSignature -addext "
        "extendedKeyUsage=codeSigning 2>/dev/null";
    if (std::system(command.c_str()) != 0) throw std::runtime_error("no keys: " + command);
    certificate = read_all(folder / "signer.pem");
    key = read_all(folder / "signer.key");
    const auto storage = io::make_posix_storage();
    for (int version = 1; version <= kVersions; ++version) {
      const std::string image = make_image(version);
      images.emplace(version, PagedBytes(io::as_bytes(image)));
      const std::string name = folder / ("v" + std::to_string(version));
      std::ofstream(name + ".img", std::ios::binary) << image;
      bundle::CreateRequest request;
      request.description.version = "1.0." + std::to_string(version);
      request.description.compatible = {"world"};
      request.description.config = bundle::ConfigSchema{.schema = version, .readable_by = version};
      request.images = {{.volume = "rootfs", .path = name + ".img"}};
      request.identity.certificate_pem = certificate;
      request.identity.key_pem = key;
      request.output_path = name + ".skb";
      request.compression_level = 1;
      request.chunk_bytes = 16 * 1024;
      SilentProgress silent;
      static_cast<void>(ok(bundle::create_bundle(*storage, request, silent)));
      bundles[version] = read_all(name + ".skb");
    }
  }
};

std::string decompress(const std::string& frame) {
  std::string text(std::size_t{1} << 17U, '\0');
  const std::size_t size = ZSTD_decompress(text.data(), text.size(), frame.data(), frame.size());
  if (ZSTD_isError(size) != 0) return "(damaged segment)\n";
  text.resize(size);
  return text;
}

std::string slot_path(SlotId slot) { return slot == SlotId::a ? "/dev/slot-a" : "/dev/slot-b"; }
SlotId slot_named(char name) { return name == 'A' ? SlotId::a : SlotId::b; }

/// A host on the state of a world; lives for one command.
class WorldHost final : public io::Host {
 public:
  explicit WorldHost(World& world) : world_(world), state_(world.host()) {}
  io::TimeStamp now() override { return world_.machine().clock; }
  // Every question takes a millisecond, so that what is done at intervals is done at the same calls in every run.
  std::chrono::nanoseconds monotonic() override { return state_.time += std::chrono::milliseconds(1); }
  std::chrono::nanoseconds since_boot() override { return std::chrono::seconds(10) + state_.slept; }
  void sleep(std::chrono::nanoseconds duration) override {
    state_.slept += duration;
    if (state_.during_sleep) state_.during_sleep();
  }
  Result<std::string> boot_id() override { return "boot-" + std::to_string(state_.boots); }
  Result<void> random(io::Bytes into) override {
    for (std::byte& byte : into) {
      state_.random = state_.random * 6'364'136'223'846'793'005U + 1'442'695'040'888'963'407U;
      byte = static_cast<std::byte>(state_.random >> 56U);
    }
    return success();
  }
  Result<void> ask_to_end(int) override { return make_error(Errc::io_error, "no such process", ESRCH); }
  Result<io::ProcessOutcome> run(const io::ProcessRequest& request) override {
    const std::string name = request.executable.substr(request.executable.rfind('/') + 1);
    state_.runs.push_back({.name = name, .arguments = request.arguments, .environment = request.environment});
    if (state_.during_run) state_.during_run(name);
    if (name == "migrate-config" && state_.migration) return state_.migration(world_, request);
    if (const auto found = state_.outcomes.find(name); found != state_.outcomes.end()) return found->second;
    io::ProcessOutcome outcome;
    outcome.exit_status = name == "check" ? state_.health_exit_status : 0;
    return outcome;
  }

 private:
  World& world_;
  HostState& state_;
};

SimulatedMachine make_machine() {
  const Material& material = Material::get();
  SimulatedMachine machine;
  for (const char* path : {"/dev", "/etc", "/etc/health.d", "/etc/hooks.d", "/data", "/var", "/var/lock"}) {
    machine.add_directory(path);
  }
  machine.add_device("/dev/slot-a", kSlotBytes);
  machine.add_device("/dev/slot-b", kSlotBytes);
  machine.add_device("/dev/env", 2 * kEnvironmentBytes);
  machine.add_device("/dev/store", kStoreSizeMinBytes);
  machine.root_device = slot_path(SlotId::a);
  const auto fill = [&](const std::string& path, const std::string& contents) {
    Change change;
    change.node = *machine.tree.seen().find(path);
    change.length = contents.size();
    const auto bytes = io::as_bytes(contents);
    change.data = std::make_shared<std::vector<std::byte>>(bytes.begin(), bytes.end());
    machine.tree.make(std::move(change));
  };
  fill("/dev/slot-a", make_image(1));
  fill("/dev/slot-b", std::string(kSlotBytes, 'r'));
  fill("/dev/env", std::string(2 * kEnvironmentBytes, '\xff'));
  machine.add_file("/etc/signer.pem", io::as_bytes(material.certificate));
  machine.add_file("/etc/health.d/check", io::as_bytes("#!/bin/sh\n"), 0755);
  static_assert(kEnvironmentBytes == 0x800);
  machine.add_file("/etc/fw_env.config", io::as_bytes("/dev/env 0x0 0x800\n/dev/env 0x800 0x800\n"));
  for (const auto& [version, bundle] : material.bundles) {
    machine.add_file("/data/v" + std::to_string(version) + ".skb", io::as_bytes(bundle));
  }
  machine.add_mount({.mount_point = "/permanent", .capacity_bytes = 4ull << 20, .nodes_max = 1000});
  for (const char* path : {"/permanent/net", "/permanent/log", "/permanent/packages"}) machine.add_directory(path);
  const NodeNumber interface = machine.add_file("/permanent/net/if.conf", io::as_bytes("address = 10.0.0.1\n"));
  const NodeNumber secret = machine.add_file("/permanent/secret.key", io::as_bytes("key material\n"), 0600);
  machine.add_file("/permanent/leases.state", io::as_bytes("lease 1\n"));
  machine.add_file("/permanent/log/system.log", io::as_bytes("1 first\n2 second\n"));
  std::string rotated;
  for (int line = 0; line < 600; ++line) rotated += "r" + std::to_string(line) + " of the rotated log\n";
  const NodeNumber segment = machine.add_file("/permanent/log/system.log.1", io::as_bytes(rotated));
  machine.add_file("/permanent/packages/old.skb", io::as_bytes(std::string(9000, 'x')));
  VolatileTree& tree = machine.tree;
  const io::TimeStamp long_ago{.seconds = machine.clock.seconds - 86'400, .nanoseconds = 0};
  tree.make({.kind = Change::Kind::times, .node = segment, .accessed = long_ago, .modified = long_ago});
  tree.make({.kind = Change::Kind::owner, .node = secret, .owner = 12, .group = 34});
  tree.make(
      {.kind = Change::Kind::attribute, .node = interface, .attribute = "user.origin", .attribute_value = "factory"});
  Node link;
  link.type = io::EntryType::symlink;
  link.mode = 0777;
  link.target = "net/if.conf";
  link.modified = machine.clock;
  link.filesystem = tree.seen().at(secret).filesystem;
  const NodeNumber current = tree.create(std::move(link));
  tree.make({.kind = Change::Kind::names, .names = {{*tree.seen().find("/permanent"), "current", current}}});
  tree.make({.kind = Change::Kind::names, .names = {{*tree.seen().find("/permanent/net"), "alias.conf", interface}}});
  tree.sync_all();
  return machine;
}

}  // namespace

std::vector<std::string> HostState::names_run() const {
  std::vector<std::string> names;
  for (const Run& one : runs) names.push_back(one.name);
  return names;
}

World::World() {
  reset();
  save();
}
World::World(SimulatedMachine machine) : machine_(std::move(machine)) {}
World::World(const World& other)
    : bootloader(other.bootloader),
      writers(other.writers),
      clock_jumps(other.clock_jumps),
      newer_differs(other.newer_differs),
      machine_(other.machine_),
      host_(other.host_),
      sink_(other.sink_) {}
World::World(const World& before, FileTree after_cut)
    : bootloader(before.bootloader),
      clock_jumps(before.clock_jumps),
      newer_differs(before.newer_differs),
      machine_{.tree = {},
               .mounts = before.machine_.mounts,
               .clock = before.machine_.clock,
               .root_device = before.machine_.root_device},
      host_(before.host_),
      sink_(before.sink_) {
  machine_.tree.restart_with(std::move(after_cut));
}
World::~World() = default;

void World::reset() {
  static const SimulatedMachine provisioned = [] {
    World fresh(make_machine());
    const auto result = fresh.run(SlotId::a, [](Engine& engine) { return engine.provision("/data/v1.skb", false); });
    if (result.failure) throw std::runtime_error("provision: " + result.failure->error.message);
    fresh.machine_.tree.sync_all();
    return fresh.machine_;
  }();
  machine_ = provisioned;
  host_ = HostState();
}

void World::load() { machine_ = *saved_; }

Configuration World::configuration_of_device(SlotId running) const {
  Configuration configuration;
  configuration.path = "/etc/system.toml";
  configuration.compatible = "world";
  configuration.store_path = "/dev/store";
  configuration.store_size_bytes = kStoreSizeMinBytes;
  configuration.slots.a.volumes = {{.name = "rootfs", .device_path = slot_path(SlotId::a)}};
  configuration.slots.b.volumes = {{.name = "rootfs", .device_path = slot_path(SlotId::b)}};
  configuration.fw_env_config = "/etc/fw_env.config";
  configuration.attempts = kAttempts;
  configuration.permanent_path = kPermanent;
  configuration.reserve_bytes = 16 * 1024;
  configuration.classes.rules = {
      {.name = "log", .kind = permanent::ClassKind::log, .match = {"log/**"}, .keep_days = 180},
      {.name = "state", .kind = permanent::ClassKind::state, .match = {"*.state"}, .keep_days = {}},
      {.name = "packages", .kind = permanent::ClassKind::disposable, .match = {"packages/**"}, .keep_days = {}}};
  if (newer_differs && running == SlotId::b) {
    configuration.reserve_bytes = 32 * 1024;
    configuration.attempts = kAttempts + 1;
    auto& rules = configuration.classes.rules;
    rules.insert(rules.begin(),
                 {.name = "caches", .kind = permanent::ClassKind::state, .match = {"net/alias.conf"}, .keep_days = {}});
    rules[1].keep_days = 30;
  }
  configuration.trust.anchors = "/etc/signer.pem";
  configuration.health_directory = "/etc/health.d";
  configuration.hooks_directory = "/etc/hooks.d";
  return configuration;
}

CommandResult World::run(SlotId slot, const std::function<CommandResult(Engine&)>& command, io::Storage* storage) {
  const auto sink = std::make_shared<RecordingSink>();  // another command may run in the middle of this one
  sink_ = sink;
  machine_.root_device = slot_path(slot);
  SimulatedStorage own(machine_);
  own.before_call = before_call;
  own.after_read = after_read;
  WorldHost host(*this);
  Engine engine({.storage = storage != nullptr ? *storage : own,
                 .host = host,
                 .sink = *sink,
                 .configuration = configuration_of_device(slot),
                 .assumed_slot = slot,
                 .make_boot_control = {}});
  return command(engine);
}

CommandResult World::install(SlotId slot, int version, io::Storage* storage) {
  const std::string bundle = "/data/v" + std::to_string(version) + ".skb";
  return run(
      slot, [&](Engine& engine) { return engine.install({.location = bundle, .reboot = false, .force = false}); },
      storage);
}
CommandResult World::recover(SlotId slot, io::Storage* storage) {
  return run(
      slot, [](Engine& engine) { return engine.recover({}); }, storage);
}
CommandResult World::confirm(SlotId slot, io::Storage* storage) {
  return run(
      slot, [](Engine& engine) { return engine.confirm({}); }, storage);
}
CommandResult World::rollback(SlotId slot, io::Storage* storage) {
  return run(
      slot, [](Engine& engine) { return engine.rollback(false); }, storage);
}

CommandResult World::revert(SlotId slot) {
  return run(slot, [](Engine& engine) { return engine.rollback(true); });
}

io::Storage& World::storage() {
  if (!storage_) storage_ = std::make_unique<SimulatedStorage>(machine_);
  return *storage_;
}

EnvironmentBytes World::environment_bytes() const {
  const std::string both = machine_.node("/dev/env").contents.text();
  return {.copies = {both.substr(0, kEnvironmentBytes), both.substr(kEnvironmentBytes)}};
}
BootVariables World::environment() const { return environment_bytes().variables(); }

BootDecision World::decide_boot() const {
  std::string sectors(1024, '\0');
  machine_.node("/dev/store").contents.read(kConfirmedOffset, std::as_writable_bytes(std::span(sectors)));
  return test::decide_boot(environment_bytes(), sectors, bootloader, kAttempts);
}

void World::write_boot_decision(const BootDecision& decision) {
  if (!decision.written_copy) return;
  const auto bytes = io::as_bytes(decision.written_bytes);
  Change change;
  change.node = *machine_.tree.seen().find("/dev/env");
  change.offset = *decision.written_copy * kEnvironmentBytes;
  change.length = bytes.size();
  change.data = std::make_shared<std::vector<std::byte>>(bytes.begin(), bytes.end());
  machine_.tree.make(std::move(change));
}

void World::damage_environment() {
  for (const unsigned int number : {0U, 1U}) {
    BootDecision decision;
    decision.written_copy = number;
    decision.written_bytes = std::string(kEnvironmentBytes, 'd');
    write_boot_decision(decision);
  }
}

void World::set_environment(const BootVariables& variables) {
  const std::string copy = encode_environment(variables, 1, kEnvironmentBytes);
  for (const unsigned int number : {0U, 1U}) {
    BootDecision decision;
    decision.written_copy = number;
    decision.written_bytes = copy;
    write_boot_decision(decision);
  }
  machine_.tree.sync_all();
}

BootedSlot World::start(const BootDecision& decision) {
  ++host_.boots;
  if (clock_jumps) {
    constexpr std::array<std::int64_t, 4> kJumps = {86'400, -400'000'000, 3'600, 900'000'000};
    machine_.clock.seconds += kJumps[static_cast<std::size_t>(host_.boots) % kJumps.size()];
    machine_.clock.seconds = std::clamp<std::int64_t>(machine_.clock.seconds, 1'850'000'000, 2'000'000'000);
  }
  machine_.tree.sync_all();
  if (storage_) storage_->restart();
  SlotId slot = slot_named(decision.slot);
  if (!comes_up(slot)) slot = slot == SlotId::a ? SlotId::b : SlotId::a;
  return {.slot = slot, .is_whole = comes_up(slot) && version_in(slot).has_value()};
}

SlotId World::boot() {
  const BootDecision decision = decide_boot();
  write_boot_decision(decision);
  const BootedSlot booted = start(decision);
  EXPECT_TRUE(booted.is_whole) << "slot " << name_of(booted.slot) << " starts, but holds no whole firmware";
  return booted.slot;
}

void World::damage_slot(SlotId slot, std::uint64_t offset) {
  Change change;
  change.node = *machine_.tree.seen().find(slot_path(slot));
  change.offset = offset;
  change.length = 1;
  change.data = std::make_shared<std::vector<std::byte>>(1, std::byte{0x5A});
  machine_.tree.make(std::move(change));
  machine_.tree.sync(*machine_.tree.seen().find(slot_path(slot)));
}

std::optional<int> World::version_in(SlotId slot) const {
  const PagedBytes& contents = machine_.node(slot_path(slot)).contents;
  for (const auto& [version, image] : Material::get().images) {
    if (contents.begins_like(image, kImageBytes)) return version;
  }
  return std::nullopt;
}
bool World::comes_up(SlotId slot) const {
  const PagedBytes& contents = machine_.node(slot_path(slot)).contents;
  const auto& images = Material::get().images;
  return std::ranges::any_of(images, [&](const auto& image) { return contents.begins_like(image.second, kHeadBytes); });
}

std::uint64_t World::everything_in(const FileTree& tree) {
  return tree.hash(*tree.find("/dev")) ^ tree.hash(*tree.find(kPermanent)) * 3;
}

TreeListing World::configuration() const {
  const FileTree& tree = machine_.tree.seen();
  TreeListing listing = tree.listing(*tree.find(kPermanent), {.takes = [](const std::string& path) {
    return path != "." && !path.ends_with(".new") && !path.starts_with("log") && !path.starts_with("packages") &&
           !path.starts_with(".slotkeeper");
  }});
  // Times of directories tell when something in them was replaced.
  for (auto& [path, line] : listing) {
    if (line.starts_with("mode=4"))
      line.erase(line.find(" mtime="), line.find(' ', line.find(" mtime=") + 1) - line.find(" mtime="));
  }
  return listing;
}
std::uint64_t World::situation() const {
  return everything() * 31 + static_cast<std::uint64_t>(machine_.clock.seconds) * 7 +
         (clock_jumps ? host_.boots % 4 : 0);
}

std::string World::log() const {
  const FileTree& tree = machine_.tree.seen();
  std::string text;
  for (const std::string name : {"/permanent/log/system.log.1", "/permanent/log/system.log"}) {
    if (tree.find(name)) {
      text += machine_.node(name).contents.text();
    }
    if (tree.find(name + ".zst")) {
      text += decompress(machine_.node(name + ".zst").contents.text());
    }
  }
  return text;
}

NodeNumber World::directory_of(const std::string& full) const {
  return machine_.tree.seen().find(full.substr(0, full.rfind('/'))).value();
}

void World::write_file(const std::string& path, const std::string& contents, Durability durability) {
  VolatileTree& tree = machine_.tree;
  const std::string full = std::string(kPermanent) + "/" + path;
  auto number = tree.seen().find(full);
  if (!number) {
    Node node;
    node.mode = 0644;
    node.links = 1;
    node.filesystem = tree.seen().at(directory_of(full)).filesystem;
    number = tree.create(std::move(node));
    tree.make(
        {.kind = Change::Kind::names, .names = {{directory_of(full), full.substr(full.rfind('/') + 1), *number}}});
  }
  io::TimeStamp time = machine_.clock;
  time.nanoseconds = ++host_.edits;
  const auto bytes = io::as_bytes(contents);
  tree.make({.kind = Change::Kind::size, .node = *number, .length = 0, .modified = time});
  tree.make({.kind = Change::Kind::size, .node = *number, .length = bytes.size(), .modified = time});
  tree.make({.kind = Change::Kind::write,
             .node = *number,
             .length = bytes.size(),
             .data = std::make_shared<std::vector<std::byte>>(bytes.begin(), bytes.end()),
             .modified = time});
  if (durability == Durability::unsynced) return;
  tree.sync(*number);
  tree.sync(directory_of(full));
}

void World::remove_file(const std::string& path, Durability durability) {
  VolatileTree& tree = machine_.tree;
  const std::string full = std::string(kPermanent) + "/" + path;
  const auto number = tree.seen().find(full);
  if (!number) return;
  const bool is_directory = tree.seen().at(*number).type == io::EntryType::directory;
  if (is_directory) {
    const auto entries = tree.seen().at(*number).entries;
    for (const auto& [name, child] : entries) remove_file(path + "/" + name, durability);
  }
  tree.make({.kind = Change::Kind::names, .names = {{directory_of(full), full.substr(full.rfind('/') + 1), 0}}});
  tree.count_link(*number, is_directory ? -2 : -1);
  if (tree.seen().at(*number).links == 0) tree.forget(*number);
  if (durability == Durability::synced) tree.sync(directory_of(full));
}

void World::give_mode(const std::string& path, std::uint32_t mode) {
  VolatileTree& tree = machine_.tree;
  const NodeNumber number = tree.seen().find(std::string(kPermanent) + "/" + path).value();
  tree.make({.kind = Change::Kind::mode, .node = number, .mode = mode});
  tree.sync_filesystem(tree.seen().at(number).filesystem);
}

void World::append_log(const std::string& line, Durability durability) {
  VolatileTree& tree = machine_.tree;
  const NodeNumber number = *tree.seen().find("/permanent/log/system.log");
  const std::string entry = line + "\n";
  const auto bytes = io::as_bytes(entry);
  const std::uint64_t size = tree.seen().at(number).contents.size();
  tree.make({.kind = Change::Kind::size, .node = number, .length = size + bytes.size(), .modified = machine_.clock});
  tree.make({.kind = Change::Kind::write,
             .node = number,
             .offset = size,
             .length = bytes.size(),
             .data = std::make_shared<std::vector<std::byte>>(bytes.begin(), bytes.end()),
             .modified = machine_.clock});
  if (durability == Durability::synced) tree.sync(number);
}

void World::replace_file(const std::string& path, const std::string& contents) {
  const std::string temporary = path + ".new";
  write_file(temporary, contents);
  VolatileTree& tree = machine_.tree;
  const std::string full = std::string(kPermanent) + "/" + path;
  const NodeNumber number = *tree.seen().find(full + ".new");
  const NodeNumber old = *tree.seen().find(full);
  const NodeNumber directory = directory_of(full);
  const std::string name = full.substr(full.rfind('/') + 1);
  tree.make({.kind = Change::Kind::names, .names = {{directory, name, number}, {directory, name + ".new", 0}}});
  tree.count_link(old, -1);
  if (tree.seen().at(old).links == 0) tree.forget(old);
}

void World::let_others_write() {
  const std::uint64_t step = writers.steps++;
  const std::string line = std::to_string(step) + " of a service";
  switch (step % 6) {
    case 0:
      append_log(line, Durability::unsynced);
      break;
    case 1:
      machine_.tree.sync(*machine_.tree.seen().find("/permanent/log/system.log"));
      writers.synced_lines.push_back(std::to_string(step - 1) + " of a service");
      break;
    case 2:
      write_file("leases.state", "lease " + std::to_string(step) + "\n");
      break;
    case 3:
      append_log(line);
      writers.synced_lines.push_back(line);
      break;
    case 4:
      // Rarely, as people do: more of it is drift, and the update is postponed.
      if (step % 150 == 4) replace_file("net/if.conf", "address = 10.0.1." + std::to_string(step) + "\n");
      break;
    default:
      machine_.tree.sync(*machine_.tree.seen().find("/permanent/net"));
      break;
  }
  if (step % 6 == 2 || step % 150 == 4) writers.configurations.push_back(configuration());
}

void World::give_migration(HostState::Migration migration) {
  set_hook("migrate-config");
  host_.migration = std::move(migration);
}
void World::set_hook(const std::string& name, bool present) {
  const std::string path = "/etc/hooks.d/" + name;
  const bool is_there = machine_.tree.seen().find(path).has_value();
  if (present && !is_there) machine_.add_file(path, io::as_bytes("#!/bin/sh\n"), 0755);
  if (present || !is_there) return;
  machine_.tree.make({.kind = Change::Kind::names, .names = {{*machine_.tree.seen().find("/etc/hooks.d"), name, 0}}});
  machine_.tree.sync_all();
}
bool World::own_directory_is_empty() const { return machine_.node("/permanent/.slotkeeper").entries.empty(); }

}  // namespace slotkeeper::test

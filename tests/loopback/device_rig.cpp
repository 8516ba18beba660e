#include "tests/loopback/device_rig.hpp"

#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "partitions/digest.hpp"

namespace slotkeeper::test {
namespace {

constexpr std::size_t kCrcBytes = 4;
constexpr std::size_t kEnvironmentHeader = kCrcBytes + 1;  // CRC, flag
constexpr std::uint64_t kSuperblockMagicOffset = 1024 + 56;
constexpr unsigned int kAttempts = 3;
constexpr std::uint64_t kDataVolumeBytes = 4ull << 20;

std::unique_ptr<LoopDevice> attach(const std::string& file) {
  auto device = std::make_unique<LoopDevice>(file);
  // Without it the page cache of the file below would answer read-backs.
  run_tool({"losetup", "--direct-io=on", device->path()});
  return device;
}

std::uint32_t stored_crc(const std::string& copy) {
  std::uint32_t crc = 0;
  for (std::size_t i = kCrcBytes; i-- > 0;) crc = crc << 8 | static_cast<unsigned char>(copy[i]);
  return crc;
}

std::uint32_t computed_crc(const std::string& copy) {
  return crc32(
      {reinterpret_cast<const std::byte*>(copy.data()) + kEnvironmentHeader, copy.size() - kEnvironmentHeader});
}

std::string environment_copy(const std::map<std::string, std::string>& variables, unsigned char flag) {
  std::string copy(kEnvironmentHeader, '\0');
  for (const auto& [name, value] : variables) copy += name + "=" + value + '\0';
  copy.resize(DeviceRig::kEnvironmentBytes, '\0');
  copy[kCrcBytes] = static_cast<char>(flag);
  const std::uint32_t crc = computed_crc(copy);
  for (std::size_t i = 0; i < kCrcBytes; ++i) copy[i] = static_cast<char>(crc >> (8 * i));
  return copy;
}

std::map<std::string, std::string> variables_of(const std::string& copy) {
  std::map<std::string, std::string> variables;
  for (std::size_t at = kEnvironmentHeader; at < copy.size() && copy[at] != '\0';) {
    const std::string line(copy.c_str() + at);
    variables[line.substr(0, line.find('='))] = line.substr(line.find('=') + 1);
    at += line.size() + 1;
  }
  return variables;
}

struct EnvironmentCopies {
  std::string bytes[2];
  std::optional<unsigned int> newest;  ///< nothing: both are damaged

  explicit EnvironmentCopies(const std::string& file) {
    const std::string all = contents_of(file);
    for (unsigned int i = 0; i < 2; ++i) {
      bytes[i] = all.substr(i * DeviceRig::kEnvironmentBytes, DeviceRig::kEnvironmentBytes);
    }
    const auto flag = [this](unsigned int i) { return static_cast<unsigned char>(bytes[i][kCrcBytes]); };
    if (valid(0) && valid(1)) {
      // As U-Boot: the higher flag, and 0 follows 255; the first where they are equal.
      const bool second = (flag(1) > flag(0) && !(flag(1) == 255 && flag(0) == 0)) || (flag(1) == 0 && flag(0) == 255);
      newest = second ? 1 : 0;
    } else if (valid(0) || valid(1)) {
      newest = valid(0) ? 0 : 1;
    }
  }
  [[nodiscard]] bool valid(unsigned int i) const {
    return bytes[i].size() == DeviceRig::kEnvironmentBytes && stored_crc(bytes[i]) == computed_crc(bytes[i]);
  }
};

void write_at(const std::string& path, std::uint64_t offset, const std::string& bytes) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(offset));
  file << bytes;
  if (!file.flush()) throw std::runtime_error(path + " cannot be written");
}

}  // namespace

DeviceRig::DeviceRig(const RigSettings& settings) {
  const Material& material = Material::get();
  const auto add_slot_device = [this](const std::string& name, const std::string& file) {
    slots_[name] = loops_.emplace_back(attach(file))->path();
  };
  for (const std::string slot : {"A", "B"}) {
    const std::string file = folder_ / ("slot-" + slot + ".img");
    make_file(file, settings.slot_bytes);
    if (slot == "A") write_at(file, 0, contents_of(material.image("1.0.0")));
    if (slot == "B" && settings.slow_target) {
      slow_disk_ = std::make_unique<FaultDisk>(std::vector<FaultDisk::Disk>{{"B", file}});
      FaultRule slow;
      slow.action = FaultAction::delay;
      slow.milliseconds = static_cast<std::uint64_t>(settings.slow_target->count());
      slow_disk_->set_rules({slow});
      slots_[slot] = slow_disk_->path("B");
    } else {
      add_slot_device(slot, file);
    }
    if (!settings.second_volume) continue;
    const std::string data = folder_ / ("slot-" + slot + "-data.img");
    make_file(data, kDataVolumeBytes);
    add_slot_device(slot + ".data", data);
  }
  make_permanent(settings);
  make_environment();
  make_configuration(settings);
  if (!settings.provisioned) return;
  const Answer answer = run({"provision"});
  if (answer.exit_status != 0) throw std::runtime_error("provision failed: " + answer.story());
}

DeviceRig::~DeviceRig() = default;

void DeviceRig::make_permanent(const RigSettings& settings) {
  make_ext4(folder_ / "permanent.img", settings.permanent_bytes, settings.reserved_percent);
  permanent_loop_ = attach(folder_ / "permanent.img");
  mount_permanent();
  for (const char* name : {"network", "network/vpn", "services", "terminals", "state", "log", "log/security",
                           "log/system", "download", "staging"}) {
    std::filesystem::create_directory(permanent(name));
  }
  write_file(permanent("network/interfaces.conf"), "lan0 inet static 192.168.178.40/24\n");
  write_file(permanent("network/vpn/client.key"), std::string(900, 'k') + "\n", 0600);
  write_file(permanent("services/ntp.conf"), "server ntp1.ti.example iburst\n");
  write_file(permanent("services/empty.conf"), "");
  write_file(permanent("terminals/kt-01.pairing"), std::string(70000, 'p'), 0640);
  write_file(permanent("state/dhcp.leases"), "lease 192.168.178.77\n");
  std::string security;
  std::string system;
  for (int line = 1; line <= 2000; ++line) security += "line " + std::to_string(line) + " of the security log\n";
  for (int line = 1; line <= 500; ++line) system += "line " + std::to_string(line) + " of the system log\n";
  write_file(permanent("log/security/security.log"), security, 0640);
  // Small enough that compressing it gains no block: a test that compares logs shall not depend on how long they were
  // quiet.
  write_file(permanent("log/system/system.log.1"), system.substr(0, 900), 0640);
  write_file(permanent("log/system/system.log"), system, 0640);
  std::filesystem::create_symlink("services/ntp.conf", permanent("time-source"));
  std::filesystem::create_hard_link(permanent("terminals/kt-01.pairing"), permanent("terminals/first.pairing"));
  const std::string schema = "4";
  if (::chown(permanent("terminals/kt-01.pairing").c_str(), 1301, 1300) != 0 ||
      ::setxattr(permanent("network/interfaces.conf").c_str(), "user.schema", schema.data(), schema.size(), 0) != 0) {
    throw std::runtime_error("the permanent partition does not take owners or attributes");
  }
  run_tool({"setfacl", "-m", "u:1301:r,g:1300:r", permanent("network/interfaces.conf")});
}

void DeviceRig::mount_permanent() {
  mount_.reset();
  mount_ = std::make_unique<MountedFilesystem>(permanent_loop_->path(), folder_ / "permanent", "noatime");
}

void DeviceRig::make_environment() const {
  const std::map<std::string, std::string> variables = {{"BOOT_ORDER", "A B"},
                                                        {"BOOT_A_LEFT", "3"},
                                                        {"BOOT_B_LEFT", "3"},
                                                        {"bootcmd", "run slotkeeper_boot"},
                                                        {"serial#", "K-000417"}};
  write_file(environment_file(), environment_copy(variables, 1) + environment_copy(variables, 0));
  // The U-Boot tools read the size as hexadecimal, with 0x or without.
  static_assert(kEnvironmentBytes == 0x2000);
  write_file(path("fw_env.config"), environment_file() + " 0x0 0x2000\n" + environment_file() + " 0x2000 0x2000\n");
}

void DeviceRig::make_configuration(const RigSettings& settings) const {
  for (const char* name : {"health.d", "hooks.d"}) {
    std::filesystem::create_directory(path(name));
    std::filesystem::permissions(path(name), std::filesystem::perms(0755));
  }
  write_file(path("health.d/10-configuration"), "#!/bin/sh\ntest -s '" + permanent("network/interfaces.conf") + "'\n",
             0755);
  write_file(path("hooks.d/reboot"), "#!/bin/sh\necho reboot >>'" + path("reboots") + "'\n", 0755);
  std::filesystem::copy_file(Material::get().anchors(), path("trust.pem"));
  std::string text = "[device]\ncompatible = \"konnektor-x1\"\n\n[state]\nstore = \"" + store() + "\"\nsize = \"" +
                     std::to_string(settings.store_bytes) + "\"\n\n";
  for (const std::string slot : {"A", "B"}) {
    text += "[slots." + slot + "]\nrootfs = \"" + slots_.at(slot) + "\"\n";
    if (settings.second_volume) text += "data = \"" + slots_.at(slot + ".data") + "\"\n";
  }
  text += "\n[volumes.rootfs]\nverify = \"image\"\n\n[boot]\nbackend = \"uboot\"\nfw-env-config = \"" +
          path("fw_env.config") + "\"\nattempts = " + std::to_string(kAttempts) + "\n\n[permanent]\npath = \"" +
          folder_ / "permanent" + "\"\nmax-fill = 54\nreserve = \"256 KiB\"\nstorm-probe = \"0s\"\n";
  text += R"(
[[permanent.class]]
name = "security"
kind = "security-log"
match = ["log/security/**"]
keep-days = 180
[[permanent.class]]
name = "system"
kind = "log"
match = ["log/**"]
keep-days = 180
[[permanent.class]]
name = "leases"
kind = "state"
match = ["state/**"]
[[permanent.class]]
name = "downloads"
kind = "disposable"
match = ["download/**", "staging/**"]

)";
  text += "[trust]\nanchors = \"" + path("trust.pem") + "\"\n\n[health]\ndirectory = \"" + path("health.d") +
          "\"\ntimeout = \"20s\"\nconfirm-within = \"15min\"\n\n[hooks]\ndirectory = \"" + path("hooks.d") + "\"\n";
  set_configuration(text);
}

std::vector<std::string> DeviceRig::command(const std::vector<std::string>& arguments) const {
  std::vector<std::string> words = {program_path(), "--config", path("system.toml"), "--json"};
  if (booted != 0) words.insert(words.end(), {"--booted-slot", std::string(1, booted)});
  words.insert(words.end(), arguments.begin(), arguments.end());
  return words;
}

std::string DeviceRig::slot_device(char slot) const { return slots_.at(std::string(1, slot)); }

std::optional<std::map<std::string, std::string>> DeviceRig::environment() const {
  const EnvironmentCopies copies(environment_file());
  if (!copies.newest) return std::nullopt;
  return variables_of(copies.bytes[*copies.newest]);
}

std::string DeviceRig::variable(const std::string& name) const {
  const auto variables = environment();
  if (!variables) return "(no valid copy)";
  const auto found = variables->find(name);
  return found == variables->end() ? "(unset)" : found->second;
}

bool DeviceRig::environment_copy_is_valid(unsigned int copy) const {
  return EnvironmentCopies(environment_file()).valid(copy);
}

void DeviceRig::damage_environment_copy(unsigned int copy) const {
  write_at(environment_file(), copy * kEnvironmentBytes + kEnvironmentHeader + 3, "\x5a\xa5");
}

std::optional<char> DeviceRig::bootloader_takes() {
  const EnvironmentCopies copies(environment_file());
  if (!copies.newest) return std::nullopt;
  auto variables = variables_of(copies.bytes[*copies.newest]);
  for (const char slot : variables["BOOT_ORDER"]) {
    if (slot != 'A' && slot != 'B') continue;
    std::string& left = variables[std::string("BOOT_") + slot + "_LEFT"];
    const int tries = left.empty() ? 0 : std::stoi(left);
    if (tries <= 0) continue;
    left = std::to_string(tries - 1);
    // U-Boot writes the copy that is not in use, with a flag that makes it the newest.
    const unsigned int next = 1 - *copies.newest;
    const auto flag = static_cast<unsigned char>(copies.bytes[*copies.newest][kCrcBytes] + 1);
    write_at(environment_file(), next * kEnvironmentBytes, environment_copy(variables, flag));
    return slot;
  }
  return std::nullopt;
}

bool DeviceRig::comes_up(char slot) const {
  try {
    const std::string device = slot_device(slot);
    run_tool({"blockdev", "--flushbufs", device});
    std::ifstream file(device, std::ios::binary);
    file.seekg(static_cast<std::streamoff>(kSuperblockMagicOffset));
    char magic[2] = {};
    file.read(magic, sizeof magic);
    if (!file || magic[0] != '\x53' || magic[1] != '\xef') return false;
    return run_tool({"debugfs", "-R", "stat /sbin/init", device}).find("Type: regular") != std::string::npos;
  } catch (const std::runtime_error&) {
    return false;
  }
}

char DeviceRig::boot() {
  constexpr int kBootsMax = 12;
  unmount_permanent();
  for (int count = 0; count < kBootsMax; ++count) {
    const auto slot = bootloader_takes();
    if (!slot) throw std::runtime_error("the bootloader finds nothing to start");
    if (!comes_up(*slot)) continue;
    mount_permanent();
    booted = *slot;
    return booted;
  }
  throw std::runtime_error("no slot comes up");
}

void DeviceRig::edit_configuration(const std::string& piece, const std::string& by) const {
  std::string text = configuration();
  const std::size_t at = text.find(piece);
  if (at == std::string::npos) throw std::runtime_error("the configuration has no piece '" + piece + "'");
  set_configuration(text.replace(at, piece.size(), by));
}

void DeviceRig::add_disposable(const std::string& name, std::uint64_t size_bytes) const {
  write_file(permanent("download/" + name), std::string(size_bytes, 'd'));
}

void DeviceRig::fill_permanent(unsigned int percent) const {
  struct statvfs space {};
  if (::statvfs(permanent().c_str(), &space) != 0) throw std::runtime_error("no figures for the permanent partition");
  const std::uint64_t used = space.f_blocks - space.f_bfree;
  const std::uint64_t wanted = space.f_blocks * percent / 100;
  if (wanted <= used) throw std::runtime_error("the permanent partition is fuller than that already");
  // Bytes that do not compress, or the next run would find room in it as soon as the segment is quiet.
  std::string bytes((wanted - used) * space.f_frsize, 0);
  std::minstd_rand random;
  for (char& byte : bytes) byte = static_cast<char>(random() >> 8U);
  write_file(permanent("log/system/system.log.2"), bytes);
  run_tool({"sync", "--file-system", permanent()});
}

Fingerprint DeviceRig::fingerprint() const {
  Fingerprint all = fingerprint_store(store());
  for (const auto& [name, device] : slots_) all["slot " + name] = hash_of(device);
  all["environment"] = hash_of(environment_file());
  if (mount_) all.merge(fingerprint_tree(folder_ / "permanent", "permanent"));
  return all;
}

Fingerprint DeviceRig::protected_files() const {
  return fingerprint_tree(folder_ / "permanent", "permanent",
                          {"log", "download", "staging", ".slotkeeper", "lost+found"});
}

std::string DeviceRig::slot_hash(char slot) const { return hash_of(slot_device(slot)); }

bool DeviceRig::holds(char slot, const std::string& version) const {
  return hash_of(slot_device(slot), Material::image_bytes()) == hash_of(Material::get().image(version));
}

}  // namespace slotkeeper::test

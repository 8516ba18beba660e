#include "tests/vm/material.hpp"

#include <algorithm>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "partitions/io/host.hpp"
#include "tests/support/fault_disk/direct_loop.hpp"
#include "tests/support/fault_disk/image_files.hpp"
#include "tests/support/file_contents.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/vm/machine_session.hpp"

namespace slotkeeper::test {
namespace {

constexpr std::uint64_t kSectorBytes = 512;

std::string chosen_or(const char* variable, const char* otherwise) {
  const char* const chosen = std::getenv(variable);
  return chosen != nullptr && *chosen != '\0' ? chosen : otherwise;
}

/// The programs that run in the machine. Sanitized ones are too large and too slow there: a sanitized test takes those
/// of another build, by these variables.
std::string program() { return chosen_or("SLOTKEEPER_PROGRAM", SLOTKEEPER_PROGRAM); }
std::string log_writer() { return chosen_or("SLOTKEEPER_LOG_WRITER", SLOTKEEPER_LOG_WRITER); }
std::string material_folder() { return chosen_or("SLOTKEEPER_VM_MATERIAL", SLOTKEEPER_VM_MATERIAL); }

/// Held by the process that makes something; gone with it.
class MakeLock {
 public:
  explicit MakeLock(const std::string& path) : file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    if (file_ < 0 || ::flock(file_, LOCK_EX) != 0) throw std::runtime_error("cannot lock " + path);
  }
  MakeLock(const MakeLock&) = delete;
  MakeLock& operator=(const MakeLock&) = delete;
  ~MakeLock() { ::close(file_); }

 private:
  int file_;
};

std::string stamp_of(const std::string& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0) throw std::runtime_error(path + " is not there");
  return path + " " + std::to_string(facts.st_size) + " " + std::to_string(facts.st_mtim.tv_sec) + "." +
         std::to_string(facts.st_mtim.tv_nsec) + "\n";
}

/// What the images are made of; when it changes they are made anew.
std::string stamp() {
  std::string text = stamp_of(program()) + stamp_of(log_writer());
  const std::string sources = SLOTKEEPER_SOURCE_DIR;
  std::vector<std::string> files = {sources + "/tests/vm/make-images", sources + "/tests/vm/material.cpp",
                                    sources + "/fixtures/keys/make-keys"};
  for (const char* package : {"/bin/busybox", "/usr/lib/grub/i386-pc/boot.img", "/usr/share/OVMF/OVMF_VARS_4M.fd",
                              "/usr/lib/systemd/boot/efi/systemd-bootx64.efi", "/usr/lib/u-boot/qemu-x86/u-boot.rom"}) {
    if (std::filesystem::exists(package)) files.emplace_back(package);  // else make-images installs it first
  }
  for (const char* folder : {"/tests/vm/guest", "/tests/vm/bootloaders", "/bootloader-hooks/scripts"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(sources + folder)) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
  }
  std::ranges::sort(files);
  for (const std::string& file : files) text += stamp_of(file);
  return text;
}

std::string name_of(DiskState state) {
  switch (state) {
    case DiskState::provisioned:
      return "provisioned";
    case DiskState::armed_good:
      return "armed-good";
    case DiskState::armed_unhealthy:
      return "armed-unhealthy";
    case DiskState::fallen:
      return "fallen";
  }
  throw std::logic_error("no such state");
}

}  // namespace

Material::Material(std::string bootloader)
    : bootloader_(std::move(bootloader)), folder_(material_folder() + "/" + bootloader_) {}

const Material& Material::of(const std::string& bootloader) {
  static std::map<std::string, Material> known;
  const auto found = known.find(bootloader);
  if (found != known.end()) return found->second;
  Material material(bootloader);
  std::filesystem::create_directories(material_folder());
  {
    // One lock for all bootloaders: they share the kernel.
    const MakeLock lock(material_folder() + "/lock");
    const std::string made_for = material.folder_ + "/made-for";
    if (!std::filesystem::exists(made_for) || contents_of(made_for) != stamp()) {
      std::filesystem::remove_all(material.folder_);
      material.make_images();
      std::ofstream(made_for) << stamp();
    }
  }
  material.load_layout();
  return known.emplace(bootloader, std::move(material)).first->second;
}

void Material::make_images() const {
  io::ProcessRequest request;
  request.executable = SLOTKEEPER_SOURCE_DIR "/tests/vm/make-images";
  request.arguments = {folder_, bootloader_, program(), log_writer()};
  request.time_limit = std::chrono::minutes(5);
  auto outcome = io::make_posix_host()->run(request);
  if (!outcome.has_value()) throw std::runtime_error(outcome.assume_error().message);
  if (outcome.assume_value().exit_status != 0) {
    throw std::runtime_error("make-images failed: " + outcome.assume_value().standard_error);
  }
}

void Material::load_layout() {
  std::ifstream layout(folder_ + "/layout");
  std::string name;
  unsigned int number = 0;
  for (std::uint64_t first = 0, sectors = 0; layout >> name >> number >> first >> sectors;) {
    partitions_[name] = {.offset_bytes = first * kSectorBytes, .size_bytes = sectors * kSectorBytes};
  }
}

std::vector<std::string> Material::qemu_arguments(const std::string& folder) const {
  std::vector<std::string> arguments;
  std::ifstream file(folder_ + "/qemu-arguments");
  for (std::string line; std::getline(file, line);) {
    // "@COPY:NAME@" is a file of OUT of which every machine has its own copy, "@OUT@" the folder itself.
    for (std::size_t at = 0; (at = line.find("@COPY:")) != std::string::npos;) {
      const std::size_t end = line.find('@', at + 1);
      const std::string name = line.substr(at + 6, end - at - 6);
      const std::string own = folder + "/" + name;
      if (!std::filesystem::exists(own)) copy_image(folder_ + "/" + name, own);
      line.replace(at, end + 1 - at, own);
    }
    for (std::size_t at = 0; (at = line.find("@OUT@")) != std::string::npos;) line.replace(at, 5, folder_);
    arguments.push_back(line);
  }
  return arguments;
}

std::string Material::disk(DiskState state) const {
  const std::string path = folder_ + "/" + name_of(state) + ".disk";
  const MakeLock lock(path + ".lock");
  if (!std::filesystem::exists(path)) {
    make_disk(state, path + ".new");
    std::filesystem::rename(path + ".new", path);
  }
  return path;
}

void Material::make_disk(DiskState state, const std::string& into) const {
  switch (state) {
    case DiskState::provisioned: {
      copy_image(folder_ + "/disk.img", into);
      MachineSession session(*this, {.file = into});
      session.wait_until_ready();
      session.must("slotkeeper --json provision");
      session.power_off();
      return;
    }
    case DiskState::armed_good:
    case DiskState::armed_unhealthy: {
      copy_image(disk(DiskState::provisioned), into);
      MachineSession session(*this, {.file = into});
      session.wait_until_ready();
      session.must(install_command(state == DiskState::armed_good ? "3.5.1" : "3.6.4"));
      session.must(edit_command(kPermanentPath));
      session.power_off();
      return;
    }
    case DiskState::fallen: {
      copy_image(disk(DiskState::armed_unhealthy), into);
      MachineSession session(*this, {.file = into});
      session.machine().wait_for("SK: restart: slotkeeper asks for it", kBootLimit);
      session.machine().wait_for("reboot: Restarting system", kBootLimit);
      session.machine().cut_power();
      return;
    }
  }
}

const TreeListing& Material::configuration(DiskState state) const {
  const bool is_edited = state != DiskState::provisioned;
  const auto found = configurations_.find(is_edited);
  if (found != configurations_.end()) return found->second;
  const TemporaryDirectory folder;
  extract_partition(folder_ + "/disk.img", partition("permanent"), folder / "permanent.img");
  const DirectLoop loop(folder / "permanent.img", DirectLoop::Access::cached);
  const PlainMount mounted(loop.path(), folder / "mounted");
  if (is_edited) {
    io::ProcessRequest request;
    request.executable = "/bin/sh";
    request.arguments = {"-c", edit_command(mounted.path())};
    auto outcome = io::make_posix_host()->run(request);
    if (!outcome.has_value() || outcome.assume_value().exit_status != 0) throw std::runtime_error("the edit failed");
  }
  return configurations_[is_edited] = list_configuration(mounted.path());
}

std::string Material::bootloader_marker() const {
  std::string text = contents_of(folder_ + "/bootloader-marker");
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::uint64_t Material::system_log_lines() const { return std::stoull(contents_of(folder_ + "/system-log-lines")); }

void extract_partition(const std::string& disk, const PartitionPlace& place, const std::string& file) {
  std::ifstream from(disk, std::ios::binary);
  from.seekg(static_cast<std::streamoff>(place.offset_bytes));
  std::string contents(place.size_bytes, '\0');
  if (!from.read(contents.data(), static_cast<std::streamsize>(contents.size()))) {
    throw std::runtime_error(disk + " is too short");
  }
  write_image(file, contents);
}

std::string edit_command(const std::string& permanent) {
  const std::string file = permanent + "/network/dns/resolv.conf";
  const std::string secret = permanent + "/terminals/kt-01.pairing";
  return "echo 'nameserver 10.30.0.3' >>" + file + " && touch -d '2026-02-03 04:05:06' " + file + " && chmod 0600 " +
         file + " && echo paired-again >" + secret + " && touch -d '2026-02-03 04:05:07' " + secret + " && sync";
}

TreeListing list_configuration(const std::string& mounted) {
  ListingOptions options;
  options.takes = [](const std::string& path) {
    for (const char* other : {"log", "download", ".slotkeeper", "lost+found"}) {
      if (path == other || path.starts_with(std::string(other) + "/")) return false;
    }
    return path != ".";
  };
  TreeListing listing = list_tree(mounted, options);
  for (auto& [path, line] : listing) {
    if (!line.starts_with("mode=4")) continue;  // S_IFDIR
    const std::size_t at = line.find(" mtime=");
    const std::size_t end = line.find(' ', at + 1);
    line.erase(at, (end == std::string::npos ? line.size() : end) - at);
  }
  return listing;
}

}  // namespace slotkeeper::test

// What only the device can answer about a configuration: is the permanent partition there, and who may change the
// programs that run as root.
#include <algorithm>
#include <array>
#include <cerrno>

#include "engine/configuration/configuration.hpp"
#include "engine/configuration/decryption_key.hpp"

namespace slotkeeper {
namespace {

constexpr std::uint32_t kWritableByOthers = 0022;
constexpr std::uint32_t kExecutable = 0111;
constexpr std::array<std::string_view, 1> kHooksNotYet = {"event"};

bool is_absent(const Error& error) { return error.os_errno == ENOENT || error.os_errno == ENOTDIR; }

// The mount table names a mount by one path; a configured path may lead there through a symbolic link.
Result<bool> is_mount_point(io::Storage& storage, const std::string& path, const io::EntryStatus& status) {
  SK_TRY_ASSIGN(const std::vector<io::Mount> mounts, storage.mounts());
  for (const io::Mount& mount : mounts)
    if (mount.mount_point == path) return true;
  for (const io::Mount& mount : mounts) {
    if (mount.device != status.device) continue;
    const auto root = storage.status_of(mount.mount_point);
    if (root.has_value() && root.assume_value().device == status.device && root.assume_value().inode == status.inode)
      return true;
  }
  return false;
}

Result<void> check_owner(const std::string& path, const io::EntryStatus& status) {
  if (status.owner != 0)
    return make_error(Errc::config, path + " belongs to user " + std::to_string(status.owner) +
                                        "; it must belong to root, because what is in it runs as root");
  if ((status.mode & kWritableByOthers) != 0)
    return make_error(Errc::config, path +
                                        " can be written by others than its owner root, who could run anything as "
                                        "root that way (chmod go-w)");
  return success();
}

struct Program {
  std::string name;
  bool executable = false;
};

// The regular files of a directory, all of them proven to be root's. Nothing when the directory is absent.
Result<std::optional<std::vector<Program>>> list_programs(io::Storage& storage, const std::string& path) {
  const auto nothing = std::optional<std::vector<Program>>();
  auto status = storage.status_of(path);
  if (status.has_error()) {
    if (is_absent(status.assume_error())) return nothing;
    return std::move(status).assume_error();
  }
  if (status.assume_value().type != io::EntryType::directory)
    return make_error(Errc::config, path + " is not a directory");
  SK_TRY(check_owner(path, status.assume_value()));
  SK_TRY_ASSIGN(const auto directory, storage.open_directory(path));
  std::vector<Program> programs;
  const auto visit = [&](const io::DirectoryEntry& entry) -> Result<void> {
    const std::string entry_path = path + "/" + entry.name;
    SK_TRY_ASSIGN(const io::EntryStatus entry_status, directory->status_of(entry.name));
    // A link would move the question of who may change the program to wherever it points.
    if (entry_status.type == io::EntryType::symlink)
      return make_error(Errc::config, entry_path + " is a symbolic link; put the program itself there");
    SK_TRY(check_owner(entry_path, entry_status));
    if (entry_status.type == io::EntryType::regular)
      programs.push_back(Program{entry.name, (entry_status.mode & kExecutable) != 0});
    return success();
  };
  SK_TRY(directory->visit_entries(visit));
  SK_TRY(directory->close());
  std::ranges::sort(programs, {}, &Program::name);
  return std::optional(std::move(programs));
}

Result<void> check_hooks(io::Storage& storage, const Configuration& configuration) {
  SK_TRY_ASSIGN(const auto programs,
                with_context(list_programs(storage, configuration.hooks_directory), "hooks.directory"));
  if (!programs) return success();
  for (const Program& program : *programs)
    if (program.executable && std::ranges::find(kHooksNotYet, program.name) != kHooksNotYet.end())
      return make_error(Errc::not_supported_yet, "the hook " + configuration.hooks_directory + "/" + program.name +
                                                     " is not supported yet by this version");
  return success();
}

}  // namespace

// Without its mount the path is an empty directory of the firmware's own filesystem: a snapshot of it would be empty
// and a restore would write into the slot.
Result<void> check_permanent_partition(io::Storage& storage, const Configuration& configuration) {
  const std::string& path = configuration.permanent_path;
  const std::string context = configuration.path + ": permanent.path: ";
  auto status = storage.status_of(path);
  if (status.has_error()) {
    if (is_absent(status.assume_error())) return make_error(Errc::config, context + path + " does not exist");
    return std::move(status).assume_error().with_context("the permanent partition");
  }
  if (status.assume_value().type != io::EntryType::directory)
    return make_error(Errc::config, context + path + " is not a directory");
  SK_TRY_ASSIGN(const bool mounted, is_mount_point(storage, path, status.assume_value()));
  if (!mounted)
    return make_error(Errc::config,
                      context + "nothing is mounted at " + path + "; the permanent partition must be mounted there");
  return success();
}

Result<void> check_configuration(io::Storage& storage, const Configuration& configuration) {
  SK_TRY(check_permanent_partition(storage, configuration));
  SK_TRY(check_hooks(storage, configuration));
  SK_TRY(check_decryption_key(storage, configuration));
  SK_TRY(with_context(list_programs(storage, configuration.health_directory), "health.directory"));
  return success();
}

Result<std::optional<std::string>> find_hook(io::Storage& storage, const Configuration& configuration,
                                             const std::string& name) {
  SK_TRY_ASSIGN(const auto programs,
                with_context(list_programs(storage, configuration.hooks_directory), "hooks.directory"));
  if (!programs) return std::optional<std::string>();
  for (const Program& program : *programs)
    if (program.executable && program.name == name) return std::optional(configuration.hooks_directory + "/" + name);
  return std::optional<std::string>();
}

Result<std::vector<std::string>> find_health_checks(io::Storage& storage, const Configuration& configuration) {
  SK_TRY_ASSIGN(const auto programs,
                with_context(list_programs(storage, configuration.health_directory), "health.directory"));
  std::vector<std::string> checks;
  if (programs) {
    for (const Program& program : *programs) {
      if (program.name.starts_with('.')) continue;
      const std::string path = configuration.health_directory + "/" + program.name;
      // A check that lost its permission must not pass by never being run.
      if (!program.executable) return make_error(Errc::config, path + " is not executable, so it checks nothing");
      checks.push_back(path);
    }
  }
  if (checks.empty() && !configuration.health_allow_empty)
    return make_error(Errc::config,
                      configuration.path + ": health.directory: " + configuration.health_directory +
                          (programs ? " is empty" : " does not exist") +
                          "; without a health check every trial would be confirmed unseen (health.allow-empty = true "
                          "permits that)");
  return checks;
}

}  // namespace slotkeeper

#include "tests/crash_kernel/scene.hpp"

#include <filesystem>
#include <random>
#include <stdexcept>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/partition_checker.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::test {

std::string marked_contents(const std::string& name, std::size_t size) {
  std::string line = std::string(kContentsMark) + " " + name + " ";
  line.resize(63, '.');
  line += '\n';
  std::string contents;
  while (contents.size() < size) contents += line;
  contents.resize(size);
  return contents;
}

std::unique_ptr<io::Directory> Machine::open_root() const { return ok(storage.open_directory(root)); }

void Scene::note_root(const Machine& machine) {
  root_ = ok(permanent::take_inventory(*machine.open_root(), classes_, permanent::HashScope::config, progress_))
              .config_root;
}

bool Scene::verify_finds_damage(const Machine& machine) {
  const auto root = machine.try_open_root();
  if (!root.has_value()) return true;
  const auto inventory =
      permanent::take_inventory(*root.assume_value(), classes_, permanent::HashScope::config, progress_);
  return !inventory.has_value() || inventory.assume_value().config_root != root_;
}

std::string name_of(const SceneOnDisk& one) {
  return one.filesystem == "ext4" ? one.scene : one.filesystem + "_" + one.scene;
}
void PrintTo(const SceneOnDisk& one, std::ostream* into) { *into << name_of(one); }

std::vector<SceneOnDisk> scenes_on_disks() {
  std::vector<SceneOnDisk> all;
  for (const char* const scene :
       {"compaction", "compression", "compression_in_place", "securing", "restore", "store", "environment"}) {
    all.push_back({"ext4", scene});
  }
  for (const char* const filesystem : {"xfs", "btrfs"}) {
    for (const char* const scene : {"compaction", "compression", "securing", "restore"}) {
      all.push_back({filesystem, scene});
    }
  }
  // Not on btrfs, which writes everything elsewhere and needs room for it.
  all.push_back({"xfs", "compression_in_place"});
  return all;
}

std::unique_ptr<Scene> make_scene(const std::string& name) {
  if (name == "compaction") return make_compaction_scene();
  if (name == "compression") return make_compression_scene(false);
  if (name == "compression_in_place") return make_compression_scene(true);
  if (name == "securing") return make_securing_scene();
  if (name == "restore") return make_restore_scene();
  if (name == "store") return make_store_scene();
  if (name == "environment") return make_environment_scene();
  throw std::runtime_error("there is no scene " + name);
}

void settle_times(const std::string& root, std::int64_t seconds) {
  std::vector<std::string> paths = {root};
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) paths.push_back(entry.path().string());
  for (const std::string& path : paths) put_time(path, seconds, 0);
}

void fill_partition(const std::string& root, std::uint64_t seed) {
  std::mt19937_64 generator(seed);
  // Seed 1 has files of a few blocks; others have empty ones, ones that end with a block, and larger ones.
  const auto size = [&](std::size_t usual) -> std::size_t {
    switch (seed == 1 ? 0 : generator() % 4) {
      case 1:
        return generator() % 3 * 1024;
      case 2:
        return generator() % 40'000;
      case 3:
        return usual + generator() % 2048;
      default:
        return usual;
    }
  };
  const auto at = [&](const std::string& path) { return root + "/" + path; };
  for (const char* folder : {"etc", "etc/gone", "etc/private", "state", "log", "log/security", "spool", "spool/deep"}) {
    std::filesystem::create_directories(at(folder));
  }
  put_file(at("etc/changed"), marked_contents("changed", size(3000)));
  put_file(at("etc/same"), marked_contents("same", size(5000)));
  put_file(at("etc/empty"), "");
  put_file(at("etc/mode"), marked_contents("mode", size(200)));
  put_file(at("etc/gone/file"), marked_contents("gone", size(1500)));
  put_file(at("etc/first"), marked_contents("first", size(700)));
  if (::link(at("etc/first").c_str(), at("etc/second").c_str()) != 0) throw std::runtime_error("link");
  if (::symlink("target", at("etc/link").c_str()) != 0) throw std::runtime_error("symlink");
  put_file(at("etc/becomes-folder"), marked_contents("becomes-folder", size(100)));
  put_file(at("etc/private/key"), marked_contents("key", size(300)));
  if (::chmod(at("etc/private/key").c_str(), 0400) != 0) throw std::runtime_error("chmod");
  put_attribute(at("etc/changed"), "trusted.a", "1");
  put_file(at("state/db"), marked_contents("db", size(9000)));
  put_file(at("log/system.log.2"), log_entries("system", 0, 100));
  put_file(at("log/system.log.1"), log_entries("system", 100, 100));
  put_file(at("log/system.log"), log_entries("system", 200, kSystemEntries - 200));
  put_file(at("log/security/audit.1"), log_entries("audit", 0, 40));
  put_file(at("log/security/audit"), log_entries("audit", 40, kSecurityEntries - 40));
}

Problems log_problems(const std::string& root, std::uint64_t system_entries, bool allows_copies) {
  Problems problems = missing_log_entries({.folder = root + "/log",
                                           .stream = "system",
                                           .first = 0,
                                           .count = system_entries,
                                           .allows_copies = allows_copies});
  const Problems security = missing_log_entries({.folder = root + "/log/security",
                                                 .stream = "audit",
                                                 .first = 0,
                                                 .count = kSecurityEntries,
                                                 .allows_copies = allows_copies});
  problems.insert(problems.end(), security.begin(), security.end());
  return problems;
}

std::string record_of(const Machine& machine) {
  const auto store = ok(machine.open_store(StateStore::Access::read));
  const auto record = ok(store->read_record(RecordKind::transaction));
  ok(store->close());
  return record ? record->payload : "";
}

}  // namespace slotkeeper::test

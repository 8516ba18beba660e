// An EFI system partition on a simulated machine, with the systemd-boot backend on it and the loader played.
#pragma once

#include <memory>
#include <string>

#include "bootloader-hooks/boot_control.hpp"
#include "tests/support/played_systemd_boot.hpp"
#include "tests/support/simulation/simulated_storage.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::boot {

using test::EntryFiles;
using test::error_of;
using test::ok;
using test::SimulatedMachine;
using test::SimulatedStorage;

inline constexpr std::uint32_t kAttempts = 3;
inline const std::string kPartition = "/efi";
inline const std::string kEntries = "/efi/loader/entries";
inline const std::string kVariables = "/vars";
inline const std::string kLoaderConf = "timeout 0\ndefault slotkeeper-*\neditor no\n";
inline const std::string kOther = "title Other\nsort-key aaa\nefi /other.efi\n";
inline const std::string kRescue = "title Rescue\nefi /rescue.efi\n";
inline const std::string kTransaction = "0123456789abcdef";

inline std::string body_of(SlotId slot) {
  const std::string name(name_of(slot));
  return "title Firmware " + name + "\nlinux /" + name +
         "/vmlinuz\noptions root=PARTLABEL=rootfs slotkeeper.slot=" + name + "\n";
}

inline SimulatedMachine factory_machine() {
  SimulatedMachine machine;
  machine.add_mount({.mount_point = kPartition, .type = "vfat", .magic = 0x4d44});
  machine.add_directory("/efi/loader");
  machine.add_directory(kEntries);
  machine.add_directory("/efi/loader/slotkeeper");
  machine.add_directory(kVariables);
  machine.add_file("/efi/loader/loader.conf", io::as_bytes(kLoaderConf));
  machine.add_file("/efi/loader/slotkeeper/a.conf", io::as_bytes(body_of(SlotId::a)));
  machine.add_file("/efi/loader/slotkeeper/b.conf", io::as_bytes(body_of(SlotId::b)));
  machine.add_file(kEntries + "/aaa.conf", io::as_bytes(kOther));
  machine.add_file(kEntries + "/slotkeeper-rescue.conf", io::as_bytes(kRescue));
  return machine;
}

inline std::unique_ptr<BootControl> control_on(io::Storage& storage) {
  return ok(
      make_systemd_boot_control(storage, {.partition = kPartition, .attempts = kAttempts, .variables = kVariables}));
}

inline EntryFiles files_of(const test::FileTree& tree) {
  EntryFiles files;
  for (const auto& [name, number] : tree.at(tree.find(kEntries).value()).entries) {
    files[name] = tree.at(number).contents.text();
  }
  return files;
}

inline void put_files(SimulatedMachine& machine, const EntryFiles& files) {
  test::FileTree tree = machine.tree.seen();
  auto& entries = tree.edit(*tree.find(kEntries)).entries;
  const auto before = files_of(tree);
  // A start only renames: the one name that is gone became the one that is new.
  for (const auto& [name, content] : files) {
    if (before.count(name) != 0) continue;
    for (const auto& [old_name, old_content] : before) {
      if (files.count(old_name) != 0) continue;
      entries[name] = entries[old_name];
      entries.erase(old_name);
      break;
    }
  }
  machine.tree.restart_with(std::move(tree));
}

/// The slot that is started next, or "rescue", or "".
inline std::string started(const EntryFiles& files) {
  const auto taken = test::taken_entry(files);
  if (!taken) return "";
  return *taken == "slotkeeper-rescue.conf" ? "rescue" : test::slot_started_by(files.at(*taken));
}
inline std::string started(const SimulatedMachine& machine) { return started(files_of(machine.tree.seen())); }

inline BootState provisioned(SlotId slot) { return at_rest(only_slot({}, slot, kAttempts), slot, kAttempts); }

}  // namespace slotkeeper::boot

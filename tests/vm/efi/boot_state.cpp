// Stores and prints boot states with the real EFI backends, for tests that boot real firmware.
// Usage: efi_boot_state systemd-boot PARTITION VARIABLES ATTEMPTS COMMAND [SLOT]
//        efi_boot_state firmware -- VARIABLES ATTEMPTS COMMAND [SLOT]
// COMMAND: read repair booted initialise only-slot armed confirmed rolled-back at-rest
#include <iostream>
#include <span>
#include <string>
#include <string_view>

#include "bootloader-hooks/boot_control.hpp"

namespace {

using namespace slotkeeper;
using namespace slotkeeper::boot;

const std::string kTransaction = "0123456789abcdef";

std::string words_for(const BootReading& reading) {
  std::string text = "order=";
  for (const SlotId slot : reading.state.order) text += name_of(slot);
  for (const SlotId slot : {SlotId::a, SlotId::b}) {
    const SlotBootState& state = reading.state[slot];
    text += " " + std::string(name_of(slot)) + "=" + std::string(name_of(state.health));
    if (state.tries_left) text += "," + std::to_string(*state.tries_left);
  }
  if (reading.damaged_copy) text += " damaged";
  if (reading.behind_copy) text += " behind";
  return text;
}

Result<std::unique_ptr<BootControl>> open(io::Storage& storage, std::span<char*> arguments) {
  const std::string variables = arguments[2];
  if (std::string(arguments[0]) == "firmware") return make_firmware_boot_control(storage, {.variables = variables});
  const auto attempts = static_cast<std::uint32_t>(std::stoul(arguments[3]));
  return make_systemd_boot_control(storage, {.partition = arguments[1], .attempts = attempts, .variables = variables});
}

Result<BootState> wanted_for(const BootState& now, const std::string& command, SlotId slot, std::uint32_t attempts) {
  if (command == "only-slot") return only_slot(now, slot, attempts);
  if (command == "armed") return armed(now, slot, attempts, kTransaction);
  if (command == "confirmed") return confirmed(now, slot, attempts, kTransaction);
  if (command == "rolled-back") return rolled_back(now, slot, attempts);
  if (command == "at-rest") return at_rest(now, slot, attempts);
  return make_error(Errc::usage, "unknown command " + command);
}

Result<std::string> run(BootControl& boot, const std::string& command, std::optional<SlotId> slot) {
  if (command == "booted") {
    SK_TRY_ASSIGN(const auto booted, boot.booted());
    return booted ? std::string(name_of(*booted)) : "unknown";
  }
  if (command == "repair") SK_TRY(boot.repair());
  if (command == "initialise") {
    SK_TRY(boot.initialise(at_rest(only_slot({}, *slot, boot.traits().attempts), *slot, boot.traits().attempts)));
  } else if (slot) {
    SK_TRY_ASSIGN(const auto now, boot.read());
    SK_TRY_ASSIGN(const auto wanted, wanted_for(now.state, command, *slot, boot.traits().attempts));
    SK_TRY(boot.store(wanted));
  }
  SK_TRY_ASSIGN(const auto after, boot.read());
  return words_for(after);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6 && argc != 7) {
    std::cerr << "usage: efi_boot_state systemd-boot|firmware PARTITION VARIABLES ATTEMPTS COMMAND [SLOT]\n";
    return 2;
  }
  const auto storage = io::make_posix_storage();
  auto boot = open(*storage, std::span(argv + 1, static_cast<std::size_t>(argc - 1)));
  const auto slot = argc == 7 ? slot_from_name(argv[6]) : std::nullopt;
  const std::string_view command = argv[5];
  const bool only_looks = command == "read" || command == "repair" || command == "booted";
  if (slot.has_value() == only_looks) {
    std::cerr << "efi_boot_state: " << command << (only_looks ? " takes no slot\n" : " needs a slot, A or B\n");
    return 2;
  }
  auto said = boot.has_value() ? run(*boot.assume_value(), argv[5], slot) : Result<std::string>(boot.assume_error());
  if (!said.has_value()) {
    std::cerr << info(said.assume_error().code).name << ": " << said.assume_error().message << "\n";
    return 1;
  }
  std::cout << said.assume_value() << "\n";
  return 0;
}

// The backend on UEFI variables: BootOrder and BootNext for every state, one variable that switches, entries of others,
// refusals, and every state between two SetVariable calls.
#include <algorithm>
#include <functional>

#include <gtest/gtest.h>

#include "bootloader-hooks/boot_control.hpp"
#include "bootloader-hooks/efi_variables.hpp"
#include "tests/support/efi_variables_in_memory.hpp"
#include "tests/support/fault_storage.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::boot {
namespace {

using test::EfiVariablesInMemory;
using test::error_of;
using test::ok;
using Numbers = std::vector<std::uint16_t>;

const std::string kTransaction = "0123456789abcdef";
constexpr std::uint16_t kOther = 0x0001;
constexpr std::uint16_t kA = 0x0004;
constexpr std::uint16_t kB = 0x001a;

std::vector<std::byte> file_of(std::uint32_t attributes, std::vector<std::byte> data) {
  std::vector<std::byte> bytes(4 + data.size());
  for (std::size_t i = 0; i < 4; ++i) bytes[i] = static_cast<std::byte>(attributes >> (8 * i));
  std::ranges::copy(data, bytes.begin() + 4);
  return bytes;
}

std::vector<std::byte> load_option(const std::string& description, bool is_active = true) {
  std::vector<std::byte> data{is_active ? std::byte{1} : std::byte{0}, {}, {}, {}, std::byte{4}, {}};
  for (const char c : description) {
    data.push_back(static_cast<std::byte>(c));
    data.push_back({});
  }
  data.insert(data.end(), 2, {});
  for (const int byte : {0x7f, 0xff, 0x04, 0x00}) data.push_back(static_cast<std::byte>(byte));  // end of a device path
  return file_of(kEfiBootAttributes, data);
}

/// What firmware does at a start: BootNext once, else the first active one of BootOrder.
std::optional<std::uint16_t> play_start(EfiVariablesInMemory::Contents& variables) {
  const auto numbers_in = [&](const std::string& name) {
    const auto found = variables.find(efi_global_name(name));
    if (found == variables.end() || found->second.empty()) return Numbers();  // a file, but no variable yet
    return *parse_boot_numbers(io::ConstBytes(found->second).subspan(4));
  };
  Numbers candidates = numbers_in("BootNext");
  variables.erase(efi_global_name("BootNext"));
  for (const std::uint16_t number : numbers_in("BootOrder")) candidates.push_back(number);
  for (const std::uint16_t number : candidates) {
    const auto option = variables.find(efi_global_name(load_option_name(number)));
    if (option == variables.end() || (option->second[4] & std::byte{1}) == std::byte{0}) continue;
    variables[efi_global_name("BootCurrent")] = file_of(6, print_boot_numbers({number}));
    return number;
  }
  return std::nullopt;
}
std::optional<std::uint16_t> started(EfiVariablesInMemory::Contents variables) { return play_start(variables); }

class EfiFirmware : public testing::Test {
 protected:
  EfiFirmware() {
    put("Boot0001", load_option("UEFI Misc Device"));
    put("Boot0004", load_option("Slotkeeper A"));
    put("Boot001A", load_option("Slotkeeper B"));
    put_order({kA, kOther});
    put("BootCurrent", file_of(6, print_boot_numbers({kA})));
    put("Timeout", file_of(7, {std::byte{3}, {}}));
    storage.variables["dbx-d719b2cb-3d3a-4596-a3bc-dad00e67656f"] = file_of(39, {std::byte{1}});
  }

  void put(const std::string& name, std::vector<std::byte> file) {
    storage.variables[efi_global_name(name)] = std::move(file);
  }
  void put_order(const Numbers& numbers) { put("BootOrder", file_of(7, print_boot_numbers(numbers))); }
  [[nodiscard]] std::optional<Numbers> numbers(const std::string& name) const {
    const auto found = storage.variables.find(efi_global_name(name));
    if (found == storage.variables.end()) return std::nullopt;
    return parse_boot_numbers(io::ConstBytes(found->second).subspan(4));
  }
  std::unique_ptr<BootControl> control() { return ok(make_firmware_boot_control(storage, {})); }
  [[nodiscard]] BootState now() { return ok(control()->read()).state; }
  void store(const BootState& wanted) { ok(control()->store(wanted)); }

  EfiVariablesInMemory storage;
};

TEST_F(EfiFirmware, PromisesWhatFirmwareCanKeep) {
  const auto boot = control();
  EXPECT_EQ(boot->traits().backend, "efi");
  EXPECT_FALSE(boot->traits().keeps_mark);
  EXPECT_FALSE(boot->traits().counts_tries);
  EXPECT_EQ(boot->traits().attempts, 1U);
  EXPECT_NE(boot->traits().weaknesses.at(0).find("a single time"), std::string::npos);
  EXPECT_EQ(ok(boot->booted()), SlotId::a);
}

TEST_F(EfiFirmware, ReadsTheOrderWithoutChangingAnything) {
  EXPECT_EQ(now().order, std::vector<SlotId>{SlotId::a});
  EXPECT_EQ(now().a.health, SlotHealth::good);
  EXPECT_EQ(now().b.health, SlotHealth::bad);
  EXPECT_FALSE(now().a.tries_left.has_value());
  put("BootNext", file_of(7, print_boot_numbers({kB})));
  EXPECT_EQ(now().order, (std::vector<SlotId>{SlotId::b, SlotId::a}));
  EXPECT_TRUE(storage.history.empty());
}

TEST_F(EfiFirmware, AnUpdateIsArmedByBootNextAndConfirmedByBootOrder) {
  SlotId original = SlotId::a;
  for (int round = 0; round < 4; ++round) {
    const SlotId target = other(original);
    const std::uint16_t target_number = target == SlotId::a ? kA : kB;
    const std::uint16_t original_number = target == SlotId::a ? kB : kA;
    store(only_slot(now(), original, 1));
    EXPECT_EQ(numbers("BootOrder"), (Numbers{original_number, kOther}));
    storage.history.clear();
    store(armed(now(), target, 1, kTransaction));
    EXPECT_EQ(storage.history.size(), 1U) << "the switch is one SetVariable";
    EXPECT_EQ(numbers("BootNext"), Numbers{target_number});
    EXPECT_EQ(now().order, (std::vector<SlotId>{target, original}));
    ASSERT_EQ(play_start(storage.variables), target_number);
    EXPECT_EQ(now().order, std::vector<SlotId>{original}) << "a restart now takes the original";
    EXPECT_EQ(now()[target].health, SlotHealth::unknown) << "on its single try";
    EXPECT_EQ(ok(control()->booted()), target);
    storage.history.clear();
    store(confirmed(now(), target, 1, kTransaction));
    EXPECT_EQ(storage.history.size(), 1U);
    EXPECT_EQ(numbers("BootOrder"), (Numbers{target_number, original_number, kOther}));
    ASSERT_EQ(play_start(storage.variables), target_number);
    original = target;
  }
}

TEST_F(EfiFirmware, ATrialThatIsNotConfirmedHasASingleTry) {
  store(armed(now(), SlotId::b, 1, kTransaction));
  EXPECT_EQ(play_start(storage.variables), kB);
  EXPECT_EQ(play_start(storage.variables), kA);
  store(rolled_back(now(), SlotId::a, 1));
  EXPECT_EQ(numbers("BootOrder"), (Numbers{kA, kOther}));
  EXPECT_EQ(play_start(storage.variables), kA);
}

TEST_F(EfiFirmware, DisarmingTakesBootNextAway) {
  store(armed(now(), SlotId::b, 1, kTransaction));
  storage.history.clear();
  store(rolled_back(now(), SlotId::a, 1));
  EXPECT_EQ(storage.history.size(), 1U);
  EXPECT_FALSE(numbers("BootNext"));
  EXPECT_EQ(started(storage.variables), kA);
}

TEST_F(EfiFirmware, KeepsWhatOthersHave) {
  put_order({kOther, kB, 0x0007, kA, kB});
  put("BootNext", file_of(7, print_boot_numbers({kOther})));
  storage.immutable.insert(efi_global_name("BootOrder"));
  auto before = storage.variables;
  EXPECT_TRUE(ok(control()->read()).behind_copy) << "somebody else comes first";
  ok(control()->repair());
  EXPECT_EQ(numbers("BootOrder"), (Numbers{kB, kA, kOther, 0x0007}));
  EXPECT_FALSE(ok(control()->read()).behind_copy);
  EXPECT_EQ(numbers("BootNext"), Numbers{kOther}) << "chosen by somebody else for one start";
  store(at_rest(now(), SlotId::a, 1));
  EXPECT_EQ(numbers("BootOrder"), (Numbers{kA, kB, kOther, 0x0007}));
  for (auto* state : {&before, &storage.variables}) state->erase(efi_global_name("BootOrder"));
  EXPECT_EQ(storage.variables, before);
}

TEST_F(EfiFirmware, ChangesNothingWhereTheVariablesSaySo) {
  for (const BootState& wanted : {only_slot({}, SlotId::a, 1), armed({}, SlotId::b, 1, kTransaction),
                                  confirmed(armed({}, SlotId::b, 1, ""), SlotId::b, 1, kTransaction)}) {
    store(wanted);
    storage.history.clear();
    store(wanted);
    ok(control()->repair());
    EXPECT_TRUE(storage.history.empty());
  }
}

TEST_F(EfiFirmware, ASlotWithoutALoadOptionCannotBeStored) {
  storage.variables.erase(efi_global_name("Boot001A"));
  EXPECT_EQ(now().b.health, SlotHealth::unknown);
  const Error error = error_of(control()->store(armed(now(), SlotId::b, 1, kTransaction)));
  EXPECT_EQ(error.code, Errc::boot_environment);
  EXPECT_NE(error.message.find("'Slotkeeper B'"), std::string::npos) << error.message;
  EXPECT_EQ(error_of(control()->initialise(only_slot({}, SlotId::a, 1))).code, Errc::config);
  EXPECT_TRUE(storage.history.empty());
  store(rolled_back(now(), SlotId::a, 1));
  EXPECT_EQ(started(storage.variables), kA);
}

TEST_F(EfiFirmware, ALoadOptionThatIsSwitchedOffIsNotInTheOrder) {
  put("Boot0004", load_option("Slotkeeper A", false));
  put_order({kA, kB});
  EXPECT_EQ(now().order, std::vector<SlotId>{SlotId::b});
  EXPECT_EQ(started(storage.variables), kB);
  const Error error = error_of(control()->store(only_slot(now(), SlotId::a, 1)));
  EXPECT_NE(error.message.find("efibootmgr -a"), std::string::npos) << error.message;
}

TEST_F(EfiFirmware, ItIsKnownBeforehandThatATrialCannotBeArmed) {
  ok(control()->check_can_arm());
  put("Boot001A", load_option("Slotkeeper B", false));
  EXPECT_NE(error_of(control()->check_can_arm()).message.find("efibootmgr -a"), std::string::npos);
  storage.variables.erase(efi_global_name("Boot001A"));
  EXPECT_EQ(error_of(control()->check_can_arm()).code, Errc::boot_environment);
  EXPECT_TRUE(storage.history.empty());
}

TEST_F(EfiFirmware, TwoLoadOptionsOfOneNameAreRefused) {
  put("Boot0002", load_option("Slotkeeper B"));
  const Error error = error_of(control()->read());
  EXPECT_EQ(error.code, Errc::boot_environment);
  EXPECT_NE(error.message.find("Boot0002 and Boot001A"), std::string::npos) << error.message;
}

TEST_F(EfiFirmware, AVariableThatIsNoListIsAnError) {
  put("BootOrder", file_of(7, {std::byte{4}, {}, std::byte{1}}));
  EXPECT_EQ(error_of(control()->read()).code, Errc::boot_environment);
  EXPECT_EQ(error_of(control()->store(only_slot({}, SlotId::a, 1))).code, Errc::boot_environment);
}

TEST_F(EfiFirmware, WithoutUefiItIsAConfigError) {
  const Error error = error_of(make_firmware_boot_control(storage, {.variables = "/elsewhere"}));
  EXPECT_EQ(error.code, Errc::config);
  EXPECT_NE(error.message.find("efivarfs"), std::string::npos) << error.message;
}

TEST_F(EfiFirmware, FirmwareThatSaysYesAndDoesNothingIsFoundOut) {
  storage.ignores_changes = true;
  EXPECT_EQ(error_of(control()->store(armed(now(), SlotId::b, 1, kTransaction))).code, Errc::readback_mismatch);
  put("BootNext", file_of(7, print_boot_numbers({kB})));
  EXPECT_EQ(error_of(control()->store(rolled_back(now(), SlotId::a, 1))).code, Errc::readback_mismatch);
}

// ---- between two calls
// ------------------------------------------------------------------------------------------------

TEST_F(EfiFirmware, EveryStateBetweenTwoCallsStartsTheOldSlotOrTheNewOne) {
  const std::vector<Numbers> orders{
      {}, {kA}, {kB}, {kA, kB}, {kB, kA}, {kOther, kA}, {kOther, kB, kA}, {kB, kOther, kA}};
  const std::vector<std::optional<std::uint16_t>> nexts{std::nullopt, kA, kB, kOther};
  std::size_t changes = 0;
  for (const Numbers& order : orders) {
    for (const auto& next : nexts) {
      for (const SlotId slot : {SlotId::a, SlotId::b}) {
        const std::uint16_t number = slot == SlotId::a ? kA : kB;
        using Make = std::function<BootState(const BootState&)>;
        const std::vector<Make> makes{[&](const BootState& now) { return only_slot(now, slot, 1); },
                                      [&](const BootState& now) { return armed(now, slot, 1, kTransaction); },
                                      [&](const BootState& now) { return confirmed(now, slot, 1, kTransaction); },
                                      [&](const BootState& now) { return at_rest(now, slot, 1); }};
        for (const Make& make : makes) {
          put_order(order);
          storage.variables.erase(efi_global_name("BootNext"));
          if (next) put("BootNext", file_of(7, print_boot_numbers({*next})));
          const auto old_start = started(storage.variables);
          storage.history.clear();
          const BootState wanted = make(now());
          const bool arms = wanted.mark && wanted.mark->stage == TransactionMark::Stage::trial;
          store(wanted);
          ASSERT_LE(storage.history.size(), 2U);
          // Somebody else's BootNext and entries in front of ours are theirs until ours are first.
          for (const auto& between : storage.history) {
            const auto start = started(between);
            const bool is_fallback = arms && start == (slot == SlotId::a ? kB : kA);
            ASSERT_TRUE(start == old_start || start == number || start == kOther || is_fallback);
            ++changes;
          }
          EXPECT_EQ(now().order, wanted.order);
          EXPECT_EQ(started(storage.variables), next == kOther && !arms ? kOther : number);
        }
      }
    }
  }
  EXPECT_GT(changes, 100U);
}

TEST(EfiFirmwareFault, AnErrorAtAnyCallIsToldAndLeavesTheOldSlotOrTheNewOne) {
  for (const bool arms : {true, false}) {
    for (std::uint64_t nth = 1;; ++nth) {
      ASSERT_LT(nth, 500U);
      EfiVariablesInMemory storage;
      storage.variables[efi_global_name("Boot0004")] = load_option("Slotkeeper A");
      storage.variables[efi_global_name("Boot001A")] = load_option("Slotkeeper B");
      storage.variables[efi_global_name("BootOrder")] = file_of(7, print_boot_numbers({kA}));
      if (!arms) storage.variables[efi_global_name("BootNext")] = file_of(7, print_boot_numbers({kB}));
      test::FaultStorage faulty(storage);
      const auto boot = ok(make_firmware_boot_control(faulty, {}));
      const BootState now = ok(boot->read()).state;
      const BootState wanted = arms ? armed(now, SlotId::b, 1, kTransaction) : rolled_back(now, SlotId::a, 1);
      faulty.set({.file = "", .line = 0, .operation = "", .nth = nth, .os_errno = 5, .persistent = false});
      const bool stored = boot->store(wanted).has_value();
      if (faulty.faults_met() == 0) {
        EXPECT_TRUE(stored);
        break;
      }
      EXPECT_FALSE(stored) << faulty.last_failed_operation();
      const auto start = started(storage.variables);
      EXPECT_TRUE(start == kA || start == kB);
      ok(boot->store(wanted));
      EXPECT_EQ(started(storage.variables), arms ? kB : kA);
    }
  }
}

// ---- the bytes
// --------------------------------------------------------------------------------------------------------

TEST(EfiVariableBytes, LoadOptionsAndNumbers) {
  const auto file = load_option("Slotkeeper A");
  const auto option = parse_load_option(io::ConstBytes(file).subspan(4));
  ASSERT_TRUE(option);
  EXPECT_TRUE(option->is_active);
  EXPECT_EQ(option->description, "Slotkeeper A");
  EXPECT_FALSE(parse_load_option({}));
  for (std::size_t length = 0; length < file.size(); ++length) {  // cut short anywhere: no crash, never our name
    const auto cut = parse_load_option(io::ConstBytes(file).subspan(4, std::min(length, file.size() - 4)));
    EXPECT_TRUE(length >= 30 || !cut || cut->description != "Slotkeeper A");
  }
  EXPECT_EQ(load_option_name(0x1a), "Boot001A");
  EXPECT_EQ(load_option_number(efi_global_name("Boot001A")), 0x1a);
  for (const char* name : {"BootOrder", "BootNext", "Boot001", "Boot001G", "boot0001", "Boot00011"}) {
    EXPECT_FALSE(load_option_number(efi_global_name(name))) << name;
  }
  EXPECT_FALSE(load_option_number(efi_loader_name("Boot0001")));
  EXPECT_EQ(parse_boot_numbers(print_boot_numbers({0x1a, 0xffff})), (Numbers{0x1a, 0xffff}));
  EXPECT_EQ(parse_boot_numbers({}), Numbers{});
}

}  // namespace
}  // namespace slotkeeper::boot

// Boot control by the UEFI firmware alone: BootOrder and BootNext, through efivarfs.
//
// The slots are the load options (Boot####) that are called "Slotkeeper A" and "Slotkeeper B"; the integrator makes
// them (scripts/README.md), nothing here changes them.
//
//   only_slot(A), rolled_back  BootOrder: A, others      BootNext: not one of ours
//   armed(B)                   BootOrder: A, others      BootNext: B
//   trial of B                 BootOrder: A, others      BootNext: gone, the firmware has removed it before it started
//   B confirmed(B)               BootOrder: B, A, others   BootNext: not one of ours
//
// Atomic:    the switch is one SetVariable, of BootNext when a trial is armed, of BootOrder when it is confirmed. The
//            firmware keeps the old value or the new one (UEFI 2.10, 8.2; EDK II writes the new value beside the old
//            one and then changes a state byte). The target enters BootOrder only when it is confirmed, so a trial has
//            a single try: whatever ends it, the next start takes the original.
// Cut:       a store takes at most two SetVariable calls; where they are two, the first one leaves the primary alone:
//              arming        BootOrder without the target (nothing to do after staging), then BootNext: the switch
//              disarming     BootNext goes: the switch; then BootOrder where it differs
//              other order   BootOrder: the switch; then a BootNext of ours that is left over goes
//            Running the store again finishes it.
// Read back: each variable after its write, from the firmware, which may answer from memory: there is no way past that.
// Damage:    a firmware that keeps its variables in flash repairs them itself or loses them all. A load option of ours
//            that is gone is `unknown` and cannot be stored as the primary; it is made again by the integrator's
//            command. Others' entries that got in front of ours (firmware set-up, a newly found disk) are `behind`, and
//            `repair` puts ours first again.
#include <algorithm>
#include <array>
#include <cerrno>

#include "bootloader-hooks/boot_control.hpp"
#include "bootloader-hooks/efi_variables.hpp"

namespace slotkeeper::boot {
namespace {

constexpr std::array kSlots{SlotId::a, SlotId::b};
constexpr std::uint32_t kSingleTry = 1;
constexpr const char* kOrder = "BootOrder";
constexpr const char* kNext = "BootNext";
constexpr const char* kCurrent = "BootCurrent";

using Numbers = std::vector<std::uint16_t>;

std::string description_of(SlotId slot) { return "Slotkeeper " + std::string(name_of(slot)); }

/// A load option of ours.
struct Option {
  std::uint16_t number = 0;
  bool is_active = false;
};

struct Variables {
  std::optional<Option> a;
  std::optional<Option> b;
  std::optional<EfiVariable> order_variable;
  Numbers order;
  std::optional<std::uint16_t> next;
  std::optional<std::uint16_t> current;

  [[nodiscard]] const std::optional<Option>& operator[](SlotId slot) const { return slot == SlotId::a ? a : b; }
  [[nodiscard]] std::optional<Option>& operator[](SlotId slot) { return slot == SlotId::a ? a : b; }
  [[nodiscard]] std::optional<SlotId> slot_of(std::optional<std::uint16_t> number) const {
    for (const SlotId slot : kSlots) {
      if (number && (*this)[slot] && (*this)[slot]->number == *number) return slot;
    }
    return std::nullopt;
  }
};

bool is_in(const std::vector<SlotId>& order, SlotId slot) { return std::ranges::find(order, slot) != order.end(); }

std::vector<SlotId> slots_in(const Variables& variables, const Numbers& numbers) {
  std::vector<SlotId> slots;
  for (const std::uint16_t number : numbers) {
    const auto slot = variables.slot_of(number);
    if (slot && variables[*slot]->is_active && !is_in(slots, *slot)) slots.push_back(*slot);
  }
  return slots;
}

BootReading boot_reading_of(const Variables& variables) {
  BootReading reading;
  std::vector<SlotId>& order = reading.state.order;
  order = slots_in(variables, variables.order);
  const auto next = variables.slot_of(variables.next);
  if (next && variables[*next]->is_active) {
    std::erase(order, *next);
    order.insert(order.begin(), *next);
  }
  for (const SlotId slot : kSlots) {
    if (is_in(order, slot)) {
      reading.state[slot].health = SlotHealth::good;
    } else if (variables[slot] && variables.slot_of(variables.current) != slot) {
      reading.state[slot].health = SlotHealth::bad;  // a slot on its single try is neither
    }
  }
  const bool others_first = !variables.order.empty() && !variables.slot_of(variables.order.front());
  reading.behind_copy = others_first && !slots_in(variables, variables.order).empty();
  return reading;
}

/// These slots, then what others have in the order.
Numbers numbers_for(const Variables& variables, const std::vector<SlotId>& slots) {
  Numbers numbers;
  for (const SlotId slot : slots) numbers.push_back(variables[slot]->number);
  for (const std::uint16_t number : variables.order) {
    if (!variables.slot_of(number) && std::ranges::find(numbers, number) == numbers.end()) numbers.push_back(number);
  }
  return numbers;
}

bool fits(const BootState& present, const BootState& wanted) { return present.order == wanted.order; }

class FirmwareControl final : public BootControl {
 public:
  FirmwareControl(io::Storage& storage, FirmwareBootSettings settings)
      : variables_(storage, std::move(settings.variables)) {
    traits_.backend = "efi";
    traits_.attempts = kSingleTry;
    traits_.weaknesses = {
        "the UEFI firmware starts a trial a single time (BootNext), whatever 'attempts' says, and counts nothing; a "
        "restart before the confirmation ends the trial",
        "the UEFI variables keep no mark of the transaction; the state record, which is written first, tells how far "
        "an "
        "update is",
        "that a UEFI variable is stored whole and stays is the firmware's promise; some change the order or drop "
        "entries "
        "at a start, and what is read back may come from the firmware's memory",
    };
  }

  [[nodiscard]] const BootTraits& traits() const override { return traits_; }

  [[nodiscard]] Result<BootReading> read() override {
    SK_TRY_ASSIGN(const Variables variables, load());
    return boot_reading_of(variables);
  }

  [[nodiscard]] Result<void> check_can_arm() override {
    SK_TRY_ASSIGN(const Variables variables, load());
    for (const SlotId slot : kSlots) SK_TRY(check_usable(variables, slot));
    return success();
  }

  [[nodiscard]] Result<void> store(const BootState& wanted) override {
    SK_TRY_ASSIGN(const Variables variables, load());
    return apply(variables, wanted);
  }

  [[nodiscard]] Result<void> repair() override {
    SK_TRY_ASSIGN(const Variables variables, load());
    const auto slots = slots_in(variables, variables.order);
    if (slots.empty()) return success();
    return write_order(variables, slots);
  }

  [[nodiscard]] Result<void> initialise(const BootState& wanted) override {
    SK_TRY_ASSIGN(const Variables variables, load());
    for (const SlotId slot : kSlots) {
      auto usable = check_usable(variables, slot);
      if (!usable.has_value()) return std::move(usable).assume_error().with_code(Errc::config);
    }
    return apply(variables, wanted);
  }

  [[nodiscard]] Result<std::optional<SlotId>> booted() override {
    SK_TRY_ASSIGN(const Variables variables, load());
    return variables.slot_of(variables.current);
  }

 private:
  [[nodiscard]] Result<std::optional<Numbers>> read_numbers(const std::string& name,
                                                            std::optional<EfiVariable>* whole = nullptr) const {
    SK_TRY_ASSIGN(auto variable, variables_.read(efi_global_name(name)));
    if (!variable) return std::optional<Numbers>();
    auto numbers = parse_boot_numbers(variable->data);
    if (!numbers) return make_error(Errc::boot_environment, "the EFI variable " + name + " is no list of numbers");
    if (whole != nullptr) *whole = std::move(variable);
    return numbers;
  }
  [[nodiscard]] Result<std::optional<std::uint16_t>> read_number(const std::string& name) const {
    SK_TRY_ASSIGN(const auto numbers, read_numbers(name));
    if (!numbers || numbers->empty()) return std::optional<std::uint16_t>();
    return std::optional(numbers->front());
  }

  [[nodiscard]] Result<Variables> load() const {
    Variables variables;
    SK_TRY_ASSIGN(const auto names, variables_.names());
    for (const std::string& name : names) {
      const auto number = load_option_number(name);
      if (!number) continue;
      SK_TRY_ASSIGN(const auto variable, variables_.read(name));
      const auto option = variable ? parse_load_option(variable->data) : std::nullopt;
      if (!option) continue;
      for (const SlotId slot : kSlots) {
        if (option->description != description_of(slot)) continue;
        if (variables[slot]) {
          return make_error(Errc::boot_environment, "the firmware has two load options called '" + option->description +
                                                        "': " + load_option_name(variables[slot]->number) + " and " +
                                                        load_option_name(*number) + "; remove one with efibootmgr -B");
        }
        variables[slot] = Option{.number = *number, .is_active = option->is_active};
      }
    }
    SK_TRY_ASSIGN(auto order, read_numbers(kOrder, &variables.order_variable));
    if (order) variables.order = std::move(*order);
    SK_TRY_ASSIGN(variables.next, read_number(kNext));
    SK_TRY_ASSIGN(variables.current, read_number(kCurrent));
    return variables;
  }

  [[nodiscard]] static Result<void> check_usable(const Variables& variables, SlotId slot) {
    if (!variables[slot]) {
      return make_error(Errc::boot_environment, "the firmware has no load option called '" + description_of(slot) +
                                                    "', so slot " + std::string(name_of(slot)) +
                                                    " cannot be started; make it with efibootmgr");
    }
    if (!variables[slot]->is_active) {
      return make_error(Errc::boot_environment, "the load option " + load_option_name(variables[slot]->number) + " ('" +
                                                    description_of(slot) +
                                                    "') is switched off, so the firmware passes over it; switch it on "
                                                    "with efibootmgr -a");
    }
    return success();
  }

  [[nodiscard]] Result<void> write_order(const Variables& variables, const std::vector<SlotId>& slots) const {
    const Numbers numbers = numbers_for(variables, slots);
    if (numbers == variables.order) return success();
    EfiVariable variable = variables.order_variable.value_or(EfiVariable{});
    variable.data = print_boot_numbers(numbers);
    return with_context(variables_.write(efi_global_name(kOrder), variable),
                        "writing BootOrder; unless that went through all the same, the firmware goes by the old order");
  }
  [[nodiscard]] Result<void> remove_next(const Variables& variables) const {
    if (!variables.slot_of(variables.next)) return success();  // nobody's, or somebody else's
    return with_context(variables_.remove(efi_global_name(kNext)),
                        "removing BootNext; unless that went through all the same, the next start takes slot " +
                            std::string(name_of(*variables.slot_of(variables.next))));
  }
  [[nodiscard]] Result<void> write_next(const Variables& variables, SlotId slot) const {
    const std::uint16_t number = variables[slot]->number;
    if (variables.next == number) return success();
    return with_context(variables_.write(efi_global_name(kNext),
                                         {.attributes = kEfiBootAttributes, .data = print_boot_numbers({number})}),
                        "writing BootNext; unless that went through all the same, the firmware goes by BootOrder");
  }

  [[nodiscard]] Result<void> apply(const Variables& variables, const BootState& wanted) const {
    const auto primary = wanted.primary();
    if (!primary) return make_error(Errc::internal, "a boot state without any slot in its order cannot be stored");
    for (const SlotId slot : wanted.order) SK_TRY(check_usable(variables, slot));
    const bool arms = wanted.mark && wanted.mark->stage == TransactionMark::Stage::trial;
    if (arms) {
      std::vector<SlotId> fallback = wanted.order;
      std::erase(fallback, *primary);
      if (fallback.empty()) return make_error(Errc::internal, "a trial without a fallback cannot be armed");
      SK_TRY(write_order(variables, fallback));
      SK_TRY(write_next(variables, *primary));
    } else {
      // What leaves the primary alone goes first.
      const auto present = slots_in(variables, variables.order);
      const bool is_first = !present.empty() && present.front() == *primary;
      if (is_first) SK_TRY(remove_next(variables));
      SK_TRY(write_order(variables, wanted.order));
      if (!is_first) SK_TRY(remove_next(variables));
    }
    SK_TRY_ASSIGN(const Variables after, load());
    if (fits(boot_reading_of(after).state, wanted)) return success();
    return make_error(Errc::readback_mismatch, "the UEFI variables do not name the slots in the order that was stored");
  }

  EfiVariables variables_;
  BootTraits traits_;
};

}  // namespace

Result<std::unique_ptr<BootControl>> make_firmware_boot_control(io::Storage& storage, FirmwareBootSettings settings) {
  const EfiVariables variables(storage, settings.variables);
  auto names = variables.names();
  if (!names.has_value()) return std::move(names).assume_error().with_code(Errc::config);
  return std::unique_ptr<BootControl>(std::make_unique<FirmwareControl>(storage, std::move(settings)));
}

}  // namespace slotkeeper::boot

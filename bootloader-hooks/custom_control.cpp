// Boot control by an executable of the device's vendor, for bootloaders that we know nothing about.
//
// Atomic:    `set-primary` is the switch; how it is made atomic is the executable's business. Order, health and tries
// do
//            not change together and no mark is kept: the state record tells how far an update is.
// Cut:       a store calls, in this order: `set-state S good` for each slot that stays in the order, `set-primary`,
//            `set-state S bad` for each slot that leaves it. A cut
//              before `set-primary`: the old primary still starts; the other slot may be good already, which it may be,
//                because only slots that verify are ever put into the order;
//              between `set-primary` and `bad`: the new primary starts, and it was made good before; the other slot may
//                still be tried after it. While staging the primary is the booted slot all along, and nothing of the
//                target is written before the store has returned.
//            The primary is never bad at any of these instants. Running the store again finishes it.
// Read back: `get-primary` and `get-state` of both slots afterwards.
// Damage:    unknown to us; there is nothing to repair.
#include <algorithm>
#include <array>
#include <chrono>

#include "bootloader-hooks/boot_control.hpp"

namespace slotkeeper::boot {
namespace {

constexpr std::chrono::milliseconds kCallLimit{30'000};  ///< a bootloader's flash may be slow, but not for ever
constexpr std::size_t kAnswerBytesMax = 4096;
constexpr std::size_t kQuotedBytesMax = 200;
constexpr std::uint32_t kWritableByOthers = 0022;
constexpr std::uint32_t kExecutable = 0111;
constexpr std::array kSlots{SlotId::a, SlotId::b};

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<void> check_guarded(const io::EntryStatus& status, const std::string& path) {
  if (status.owner != 0) {
    return make_error(Errc::config, path + " belongs to user " + std::to_string(status.owner) +
                                        "; what decides about booting must belong to root");
  }
  if ((status.mode & kWritableByOthers) != 0) {
    return make_error(Errc::config, path + " is writable by others than root");
  }
  return success();
}

/// Errors: config. A symbolic link is refused, because its folder says nothing about who can change the program.
Result<void> check_command(io::Storage& storage, const std::string& command) {
  if (!command.starts_with('/') || command.ends_with('/')) {
    return make_error(Errc::config, "the boot command '" + command + "' is not named by an absolute path");
  }
  const std::string folder = folder_of(command);
  const auto look = [&]() -> Result<std::pair<io::EntryStatus, io::EntryStatus>> {
    SK_TRY_ASSIGN(const auto of_folder, storage.status_of(folder));
    SK_TRY_ASSIGN(auto directory, storage.open_directory(folder));
    SK_TRY_ASSIGN(const auto of_file, directory->status_of(command.substr(command.rfind('/') + 1)));
    SK_TRY(directory->close());
    return std::pair{of_folder, of_file};
  };
  auto found = look();
  if (!found.has_value()) return std::move(found).assume_error().with_code(Errc::config).with_context("boot command");
  const auto& [of_folder, of_file] = found.assume_value();
  if (of_file.type != io::EntryType::regular) {
    return make_error(Errc::config, command + " is not a regular file (a symbolic link is not followed)");
  }
  if ((of_file.mode & kExecutable) == 0) return make_error(Errc::config, command + " is not executable");
  SK_TRY(check_guarded(of_folder, folder));
  return check_guarded(of_file, command);
}

std::string quoted(std::string_view text) {
  std::string shown;
  for (const char c : text.substr(0, kQuotedBytesMax)) shown += c >= ' ' && c <= '~' ? c : '?';
  return "'" + shown + "'";
}

class CustomControl final : public BootControl {
 public:
  CustomControl(io::Storage& storage, io::Host& host, CustomSettings settings)
      : storage_(storage), host_(host), settings_(std::move(settings)) {
    traits_.backend = "custom";
    traits_.attempts = settings_.attempts;
    traits_.places = {settings_.command};
    traits_.weaknesses = {
        "the boot command " + settings_.command +
            " changes order, health and tries one after the other and keeps no mark of the transaction; the state "
            "record tells how far an update is",
        "it is not known whether the bootloader behind " + settings_.command + " counts trial boots",
    };
  }

  [[nodiscard]] const BootTraits& traits() const override { return traits_; }

  [[nodiscard]] Result<BootReading> read() override {
    BootReading reading;
    SK_TRY_ASSIGN(reading.state, read_state());
    return reading;
  }

  [[nodiscard]] Result<void> store(const BootState& wanted) override {
    SK_TRY_ASSIGN(const auto present, read_state());
    // Who stores a mark arms or confirms: the bootloader has to hear of it even when nothing seems to change, because
    // only these calls give the tries back.
    if (!wanted.mark && fits(present, wanted)) return success();
    return apply(present, wanted);
  }

  [[nodiscard]] Result<void> repair() override { return success(); }

  [[nodiscard]] Result<void> initialise(const BootState& wanted) override {
    auto present = read_state();
    if (!present.has_value() && present.assume_error().code != Errc::boot_environment) {
      return std::move(present).as_failure();
    }
    return apply(present.has_value() ? std::optional(present.assume_value()) : std::nullopt, wanted);
  }

  [[nodiscard]] Result<std::optional<SlotId>> booted() override {
    SK_TRY_ASSIGN(const auto outcome, call({"get-booted"}));
    if (outcome.exit_status != 0) return std::optional<SlotId>{};
    SK_TRY_ASSIGN(const SlotId slot, slot_answer("get-booted", outcome));
    return std::optional{slot};
  }

 private:
  using Arguments = std::vector<std::string>;

  static std::string spelled(const Arguments& arguments) {
    std::string text;
    for (const std::string& argument : arguments) text += (text.empty() ? "" : " ") + argument;
    return text;
  }

  /// Errors: config (the command is no longer safe to run), io_error (it did not run, or not to its end).
  [[nodiscard]] Result<io::ProcessOutcome> call(const Arguments& arguments) {
    SK_TRY(check_command(storage_, settings_.command));
    SK_TRY_ASSIGN(auto outcome, host_.run({.executable = settings_.command,
                                           .arguments = arguments,
                                           .environment = {},
                                           .time_limit = kCallLimit,
                                           .output_limit_bytes = kAnswerBytesMax}));
    if (outcome.timed_out) {
      return make_error(Errc::io_error, settings_.command + " " + spelled(arguments) + " did not end within " +
                                            std::to_string(kCallLimit.count() / 1000) + " seconds");
    }
    return outcome;
  }

  [[nodiscard]] Error failed(Errc code, const Arguments& arguments, const io::ProcessOutcome& outcome) const {
    std::string message =
        settings_.command + " " + spelled(arguments) + " ended with exit status " + std::to_string(outcome.exit_status);
    if (!outcome.standard_error.empty()) message += " and said " + quoted(outcome.standard_error);
    return make_error(code, std::move(message));
  }

  /// One word on one line.
  [[nodiscard]] Result<std::string> ask(const Arguments& arguments) {
    SK_TRY_ASSIGN(auto outcome, call(arguments));
    if (outcome.exit_status != 0) return failed(Errc::boot_environment, arguments, outcome);
    std::string answer = std::move(outcome.standard_output);
    if (answer.ends_with('\n')) answer.pop_back();
    return answer;
  }

  [[nodiscard]] Result<void> tell(const Arguments& arguments) {
    SK_TRY_ASSIGN(const auto outcome, call(arguments));
    if (outcome.exit_status != 0) return failed(Errc::io_error, arguments, outcome);
    return success();
  }

  [[nodiscard]] Error misunderstood(const std::string& question, std::string_view answer,
                                    const std::string& expected) const {
    return make_error(Errc::boot_environment,
                      settings_.command + " " + question + " answered " + quoted(answer) + " instead of " + expected);
  }

  [[nodiscard]] Result<SlotId> slot_answer(const std::string& question, const io::ProcessOutcome& outcome) const {
    std::string_view answer = outcome.standard_output;
    if (answer.ends_with('\n')) answer.remove_suffix(1);
    const auto slot = slot_from_name(answer);
    if (!slot) return misunderstood(question, answer, "A or B");
    return *slot;
  }

  [[nodiscard]] Result<SlotId> ask_primary() {
    SK_TRY_ASSIGN(const auto outcome, call({"get-primary"}));
    if (outcome.exit_status != 0) return failed(Errc::boot_environment, {"get-primary"}, outcome);
    return slot_answer("get-primary", outcome);
  }

  [[nodiscard]] Result<SlotHealth> ask_health(SlotId slot) {
    const Arguments question{"get-state", std::string(name_of(slot))};
    SK_TRY_ASSIGN(const std::string answer, ask(question));
    if (answer == "good") return SlotHealth::good;
    if (answer == "bad") return SlotHealth::bad;
    return misunderstood(spelled(question), answer, "good or bad");
  }

  /// The primary first, then the other slot unless it is bad.
  [[nodiscard]] Result<BootState> read_state() {
    BootState state;
    SK_TRY_ASSIGN(const SlotId primary, ask_primary());
    for (const SlotId slot : kSlots) {
      SK_TRY_ASSIGN(state[slot].health, ask_health(slot));
    }
    state.order = {primary};
    if (state[other(primary)].health != SlotHealth::bad) state.order.push_back(other(primary));
    return state;
  }

  static bool is_in(const std::vector<SlotId>& order, SlotId slot) {
    return std::ranges::find(order, slot) != order.end();
  }

  static bool fits(const BootState& present, const BootState& wanted) {
    return present.order == wanted.order && std::ranges::all_of(kSlots, [&](SlotId slot) {
             const SlotHealth health = is_in(wanted.order, slot) ? wanted[slot].health : SlotHealth::bad;
             return health == SlotHealth::unknown || present[slot].health == health;
           });
  }

  [[nodiscard]] Result<void> apply(const std::optional<BootState>& present, const BootState& wanted) {
    const auto primary = wanted.primary();
    if (!primary) return make_error(Errc::internal, "a boot state without any slot in its order cannot be stored");
    const std::string first(name_of(*primary));
    for (const SlotId slot : kSlots) {
      const bool is_good = present && (*present)[slot].health == SlotHealth::good;
      const bool has_to_hear = wanted.mark && slot == *primary;
      if (is_in(wanted.order, slot) && (!is_good || has_to_hear)) {
        SK_TRY(tell({"set-state", std::string(name_of(slot)), "good"}));
      }
    }
    const bool arms = wanted.mark && wanted.mark->stage == TransactionMark::Stage::trial;
    if (!present || present->primary() != *primary || arms) {
      SK_TRY(tell({"set-primary", first, std::to_string(settings_.attempts)}));
    }
    for (const SlotId slot : kSlots) {
      const bool is_bad = present && (*present)[slot].health == SlotHealth::bad;
      if (!is_in(wanted.order, slot) && !is_bad) SK_TRY(tell({"set-state", std::string(name_of(slot)), "bad"}));
    }
    SK_TRY_ASSIGN(const auto after, read_state());
    if (fits(after, wanted)) return success();
    return make_error(Errc::readback_mismatch, "after 'set-primary " + first + "' " + settings_.command +
                                                   " does not answer what it was told: primary " +
                                                   std::string(name_of(*after.primary())) + ", A " +
                                                   std::string(name_of(after.a.health)) + ", B " +
                                                   std::string(name_of(after.b.health)));
  }

  io::Storage& storage_;
  io::Host& host_;
  CustomSettings settings_;
  BootTraits traits_;
};

}  // namespace

Result<std::unique_ptr<BootControl>> make_custom_control(io::Storage& storage, io::Host& host,
                                                         CustomSettings settings) {
  SK_TRY(check_command(storage, settings.command));
  return std::unique_ptr<BootControl>(std::make_unique<CustomControl>(storage, host, std::move(settings)));
}

}  // namespace slotkeeper::boot

// Boot control by the environment of U-Boot: order, counters and mark in one store of two copies.
//
// Atomic:    a store writes the whole new state into the copy that is *not* current, numbered as the newer one. Until
//            its CRC is complete U-Boot takes the other copy, which says the old state; from then on it takes the new
//            one. That write is the switch. Afterwards the same content goes into the other copy, too.
// Cut:       in the first write: old state, one copy damaged (or whole and old, or whole and new). Between the writes:
//            new state; the other copy is valid and says the state before. In the second: new state, one copy damaged.
// Read back: each copy after its flush, past the cache, before the next one is touched; at the end both, since they may
//            share a page that is written as a whole.
// Damage:    the CRC of each copy, on every read. One damaged copy is rewritten from the valid one (`repair`, and every
//            store does it on the way), its first sector cleared before: it must not become valid again by a torn write
//            and say what it said once. With two damaged ones nothing is written until `initialise`.
// Others:    fw_setenv and fw_printenv take the same lock. libubootenv itself takes it as well while it parses, so it
//            cannot be held over the whole store: the copies are compared again once it is held, and on a difference
//            everything starts over.
#include "bootloader-hooks/boot_control.hpp"
#include "bootloader-hooks/environment_copies.hpp"

namespace slotkeeper::boot {
namespace {

struct Environment {
  EnvironmentCopies copies;
  std::optional<std::size_t> current;  ///< nothing when no copy is valid
  Variables variables;                 ///< of the current copy
  bool is_damaged = false;             ///< one copy is invalid
  bool is_behind = false;              ///< both are valid; the older one says something else about the slots
};

/// What is to be written where, made from one reading.
struct WritePlan {
  std::size_t first = 0;  ///< the copy that is not current
  EnvironmentCopy next;
  bool both = false;  ///< the other copy as well, because its content changes
};

class UbootControl final : public BootControl {
 public:
  UbootControl(io::Storage& storage, UbootSettings settings, EnvironmentPlaces places)
      : storage_(storage), settings_(std::move(settings)), places_(std::move(places)) {
    traits_.backend = "uboot";
    traits_.keeps_mark = true;
    traits_.counts_tries = true;
    traits_.attempts = settings_.attempts;
    traits_.places = {settings_.fw_env_config, settings_.lock_path};
    for (const EnvironmentPlace& place : places_) traits_.places.push_back(place.device_path);
  }

  [[nodiscard]] const BootTraits& traits() const override { return traits_; }

  [[nodiscard]] Result<BootReading> read() override {
    SK_TRY_ASSIGN(const Environment environment, read_environment());
    if (!environment.current) return read_variables(environment.copies).as_failure();
    return BootReading{.state = boot_state_of(environment.variables),
                       .damaged_copy = environment.is_damaged,
                       .behind_copy = environment.is_behind};
  }

  [[nodiscard]] Result<void> check_can_arm() override { return check_room(); }
  [[nodiscard]] Result<void> store(const BootState& wanted) override { return write(&wanted, false); }
  [[nodiscard]] Result<void> repair() override { return write(nullptr, false); }
  [[nodiscard]] Result<void> initialise(const BootState& wanted) override { return write(&wanted, true); }
  [[nodiscard]] Result<std::optional<SlotId>> booted() override { return std::optional<SlotId>{}; }

 private:
  [[nodiscard]] Result<EnvironmentLock> take_lock() {
    return EnvironmentLock::take(storage_, settings_.lock_path, settings_.lock_wait);
  }

  [[nodiscard]] Result<Environment> read_environment() {
    Environment environment;
    SK_TRY_ASSIGN(auto lock, take_lock());
    SK_TRY_ASSIGN(environment.copies, read_copies(storage_, places_));
    SK_TRY(lock.release());
    environment.current = current_copy(environment.copies);
    if (!environment.current) return environment;
    SK_TRY_ASSIGN(environment.variables, read_variables(environment.copies));
    const EnvironmentCopy& older = environment.copies[1 - *environment.current];
    environment.is_damaged = !is_valid_copy(older);
    if (!environment.is_damaged) {
      SK_TRY_ASSIGN(const Variables before, read_variables({older, older}));
      environment.is_behind = !agree_on_slots(before, environment.variables);
    }
    return environment;
  }

  [[nodiscard]] Result<void> check_room() {
    SK_TRY_ASSIGN(Environment environment, read_environment());
    const BootState longest = longest_state(boot_state_of(environment.variables), settings_.attempts);
    SK_TRY(plan(environment, &longest, false));
    return success();
  }

  /// Nothing when both copies say `wanted` already; without `wanted`, when both are valid and say the same.
  [[nodiscard]] Result<std::optional<WritePlan>> plan(Environment& environment, const BootState* wanted,
                                                      bool from_nothing) {
    const bool starts_empty = !environment.current && from_nothing;
    if (starts_empty) {
      environment.copies[0] = empty_copy(places_[0].size_bytes);
      environment.current = 0;
    }
    if (!environment.current) return read_variables(environment.copies).as_failure();
    VariableChanges changes;
    if (wanted != nullptr) changes = changes_to(environment.variables, *wanted, settings_.attempts);
    if (changes.empty() && !environment.is_damaged && !environment.is_behind && !starts_empty) {
      return std::optional<WritePlan>{};
    }
    WritePlan plan;
    plan.first = 1 - *environment.current;
    SK_TRY_ASSIGN(plan.next, compose_next(environment.copies, changes));
    plan.both = starts_empty || !changes.empty();
    return std::optional{std::move(plan)};
  }

  [[nodiscard]] Result<void> write(const BootState* wanted, bool from_nothing) {
    const auto deadline = std::chrono::steady_clock::now() + settings_.lock_wait;
    do {
      SK_TRY_ASSIGN(Environment environment, read_environment());
      const EnvironmentCopies before = environment.copies;
      SK_TRY_ASSIGN(const auto todo, plan(environment, wanted, from_nothing));
      if (!todo) return success();
      SK_TRY_ASSIGN(auto lock, take_lock());
      SK_TRY_ASSIGN(const EnvironmentCopies now, read_copies(storage_, places_));
      if (now == before) {
        SK_TRY(carry_out(*todo, now));
        return lock.release();
      }
      SK_TRY(lock.release());
    } while (std::chrono::steady_clock::now() < deadline);
    return make_error(Errc::busy, "other programs change the boot environment all the time");
  }

  [[nodiscard]] Result<void> carry_out(const WritePlan& plan, const EnvironmentCopies& now) {
    for (std::size_t i = 0; i < now.size(); ++i) {
      if (is_valid_copy(now[i]) || is_blank_copy(now[i])) continue;
      SK_TRY(with_context(clear_front(storage_, places_[i]), "clearing a damaged copy of the boot environment"));
    }
    SK_TRY(with_context(write_copy(storage_, places_[plan.first], plan.next),
                        "writing the first copy of the boot environment; unless that write went through all the same, "
                        "the bootloader still goes by the old state"));
    EnvironmentCopies wanted = now;
    wanted[plan.first] = plan.next;
    if (plan.both) {
      wanted[1 - plan.first] = numbered_after(plan.next);
      SK_TRY(with_context(write_copy(storage_, places_[1 - plan.first], wanted[1 - plan.first]),
                          "writing the second copy of the boot environment; the bootloader goes by the new state "
                          "already, from the first copy"));
    }
    // Copies may share a page, and then the write of one carries the other along.
    SK_TRY_ASSIGN(const EnvironmentCopies found, read_copies(storage_, places_));
    if (found == wanted) return success();
    return make_error(Errc::readback_mismatch,
                      "a copy of the boot environment changed while the other one was written");
  }

  io::Storage& storage_;
  UbootSettings settings_;
  EnvironmentPlaces places_;
  BootTraits traits_;
};

}  // namespace

Result<std::unique_ptr<BootControl>> make_uboot_control(io::Storage& storage, UbootSettings settings) {
#ifndef SLOTKEEPER_WITH_UBOOT
  return make_error(Errc::config, "this program was built without support for the U-Boot environment");
#endif
  const std::string& name = settings.fw_env_config;
  auto text = storage.read_text(name, kFwEnvConfigBytesMax);
  if (!text.has_value()) {
    return std::move(text).assume_error().with_code(Errc::config).with_context("the configuration of the U-Boot tools");
  }
  SK_TRY_ASSIGN(auto places, parse_fw_env_config(text.assume_value(), name));
  SK_TRY(check_places(storage, places, name));
  return std::unique_ptr<BootControl>(std::make_unique<UbootControl>(storage, std::move(settings), std::move(places)));
}

}  // namespace slotkeeper::boot

// Boot control by the environment block of GRUB: order, counters and mark in the first sector of one small file.
//
// Atomic:    a store overwrites one sector of 512 bytes in place, which a device writes in one piece; that write is the
//            switch. The file keeps its blocks: nothing is renamed, truncated or extended. A block that others filled
//            so that our variables do not lie in the first sector is rearranged first, in steps that all mean the old
//            state (grub_environment.hpp).
// Cut:       old or new state in full; while it is rearranged, the old one.
// Read back: the whole block past the cache, after its flush, after every sector.
// Damage:    one copy without a checksum. Recognised are a missing first line or a wrong size (nothing is read then),
//            malformed lines and counters that are no digit; a flipped digit is not. GRUB loads what precedes the
//            malformed place; where it finds no slot with tries left, our script starts the slot that the state store
//            names as last confirmed and saves nothing. `repair` rewrites a malformed block from what is readable; for
//            one that cannot be read the engine makes a new one from its records (`recover`), as it does at
//            `provision`.
// Others:    grub-editenv takes no lock, and truncates the file while it writes: nothing protects against a tool that
//            does so at the same instant. Two Slotkeepers exclude each other by a lock of our own; the block is read
//            again under it, after the filesystem has settled, and on a difference everything starts over.
// Tries:     "attempts" above 1 needs a boot script that counts. Ours leaves SLOTKEEPER_SCRIPT=N in the block, the
// tries
//            it gives a slot; the smaller of N and the configured number is used. Without the variable the script is
//            taken for one that only knows "tried" and "not tried", as those of the field, and attempts is 1. Found so,
//            because it cannot be claimed by mistake: a key in the configuration can say something that the boot script
//            of the device does not do, and a variable that an older script has left behind costs nothing, since a
//            script without a counter does not start a slot with _TRY above 0.
#include <thread>

#include "bootloader-hooks/boot_control.hpp"
#include "bootloader-hooks/environment_copies.hpp"
#include "bootloader-hooks/grub_block_file.hpp"

namespace slotkeeper::boot {
namespace {

constexpr std::chrono::milliseconds kRetryAfter{10};
constexpr std::string_view kLongestMark = "0123456789abcdef";

class GrubControl final : public BootControl {
 public:
  GrubControl(io::Storage& storage, GrubSettings settings, GrubBlockFile file)
      : storage_(storage), settings_(std::move(settings)), file_(std::move(file)) {
    traits_.backend = "grub";
    traits_.keeps_mark = true;
    traits_.counts_tries = true;
    traits_.has_one_copy = true;
    traits_.places = {settings_.grubenv, settings_.lock_path};
    set_attempts();
    traits_.weaknesses.emplace_back(
        "the GRUB environment is a single copy without a checksum; where it is damaged the bootloader starts the last "
        "confirmed slot, and 'slotkeeper recover' makes it anew");
    if (!file_.reads_device()) {
      traits_.weaknesses.push_back("what is written to " + settings_.grubenv +
                                   " cannot be read back past the page cache on this filesystem");
    }
  }

  [[nodiscard]] const BootTraits& traits() const override { return traits_; }

  [[nodiscard]] Result<BootReading> read() override {
    SK_TRY_ASSIGN(auto lock, take_lock());
    SK_TRY_ASSIGN(const GrubBlock block, file_.read());
    SK_TRY(lock.release());
    BootReading reading;
    reading.state = grub_state_of(read_grub_variables(block), traits_.attempts);
    reading.damaged_copy = !is_whole_grub_block(block);
    // The longest of all states: where it has room every other one has.
    const BootState longest = armed(reading.state, SlotId::a, traits_.attempts, kLongestMark);
    if (auto steps = plan(block, &longest); !steps.has_value()) reading.obstacle = steps.assume_error().message;
    reading.behind_copy = !reading.damaged_copy && reading.obstacle.empty() && is_scattered(block);
    return reading;
  }

  [[nodiscard]] Result<void> store(const BootState& wanted) override { return write(&wanted); }
  [[nodiscard]] Result<void> repair() override { return write(nullptr); }
  [[nodiscard]] Result<void> initialise(const BootState& wanted) override;
  [[nodiscard]] Result<std::optional<SlotId>> booted() override { return std::optional<SlotId>{}; }

 private:
  void set_attempts() {
    traits_.attempts = 1;
    const auto block = file_.read();
    const auto counted =
        block.has_value() ? grub_script_attempts(read_grub_variables(block.assume_value())) : std::nullopt;
    if (!counted) {
      traits_.weaknesses.push_back("no boot script that counts tries has left SLOTKEEPER_SCRIPT in " +
                                   settings_.grubenv + " so far, so a new firmware gets one try");
      return;
    }
    traits_.attempts = std::min(*counted, settings_.attempts);
    if (*counted == settings_.attempts) return;
    traits_.weaknesses.push_back("the boot script gives a slot " + std::to_string(*counted) +
                                 " tries, but boot.attempts says " + std::to_string(settings_.attempts) +
                                 "; the smaller number counts");
  }

  [[nodiscard]] Result<EnvironmentLock> take_lock() {
    return EnvironmentLock::take(storage_, settings_.lock_path, settings_.lock_wait);
  }

  [[nodiscard]] Result<std::vector<GrubBlock>> plan(const GrubBlock& block, const BootState* wanted) const {
    if (wanted == nullptr) return plan_grub_steps(block, {});
    return plan_grub_steps(block, grub_changes_to(read_grub_variables(block), *wanted, traits_.attempts));
  }

  /// Without `wanted`: only what is damaged or scattered.
  [[nodiscard]] Result<void> write(const BootState* wanted) {
    SK_TRY_ASSIGN(auto lock, take_lock());
    SK_TRY(write_locked(wanted));
    return lock.release();
  }

  [[nodiscard]] Result<void> write_locked(const BootState* wanted) {
    const auto deadline = std::chrono::steady_clock::now() + settings_.lock_wait;
    do {
      SK_TRY_ASSIGN(const GrubBlock before, file_.read());
      SK_TRY_ASSIGN(const auto steps, plan(before, wanted));
      if (steps.empty()) return success();
      SK_TRY(with_context(file_.settle(), "the boot environment was not changed"));
      SK_TRY_ASSIGN(const GrubBlock now, file_.read());
      if (now == before) return carry_out(before, steps);
      std::this_thread::sleep_for(kRetryAfter);
    } while (std::chrono::steady_clock::now() < deadline);
    return make_error(Errc::busy, "other programs change the boot environment all the time; it was not changed");
  }

  [[nodiscard]] Result<void> carry_out(GrubBlock now, const std::vector<GrubBlock>& steps) {
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const bool is_switch = i + 1 == steps.size();
      SK_TRY(with_context(file_.write_sector(now, steps[i]),
                          is_switch ? "writing the boot environment; unless that write went through all the same, the "
                                      "bootloader still goes by the old state"
                                    : "rearranging the boot environment; the bootloader still goes by the old state"));
      now = steps[i];
    }
    return success();
  }

  io::Storage& storage_;
  GrubSettings settings_;
  GrubBlockFile file_;
  BootTraits traits_;
};

Result<void> GrubControl::initialise(const BootState& wanted) {
  SK_TRY_ASSIGN(auto lock, take_lock());
  auto found = file_.read();
  if (!found.has_value() && found.assume_error().code != Errc::boot_environment) return std::move(found).as_failure();
  // Damage may look like a block so full that nothing fits.
  const bool usable = found.has_value() &&
                      (is_whole_grub_block(found.assume_value()) || plan(found.assume_value(), &wanted).has_value());
  if (usable) {
    SK_TRY(write_locked(&wanted));
    return lock.release();
  }
  SK_TRY_ASSIGN(const auto steps, plan(empty_grub_block(), &wanted));
  SK_INVARIANT(!steps.empty());
  SK_TRY(with_context(file_.create(steps.back()),
                      "making the GRUB environment; until it is whole the bootloader starts the last confirmed slot"));
  return lock.release();
}

}  // namespace

Result<std::unique_ptr<BootControl>> make_grub_control(io::Storage& storage, GrubSettings settings) {
  SK_TRY_ASSIGN(auto file, GrubBlockFile::find(storage, settings.grubenv));
  return std::unique_ptr<BootControl>(std::make_unique<GrubControl>(storage, std::move(settings), std::move(file)));
}

}  // namespace slotkeeper::boot

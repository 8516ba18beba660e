// The boot environment: two copies on a disk of their own, one of them damaged. It is repaired, then the slots are
// switched as an update does it. At every instant it says one of these states in full, none before one that was
// acknowledged; what others keep there, and what lies around it, stays.
#include <algorithm>

#include "bootloader-hooks/boot_control.hpp"
#include "tests/crash_kernel/scene.hpp"
#include "tests/support/environment_bytes.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::test {
namespace {

constexpr std::uint32_t kAttempts = 3;
constexpr std::size_t kCopyBytes = 0x2000;
constexpr std::size_t kCopiesAt[] = {0x400, 0x400 + kCopyBytes};  // not on a page, as on many boards
constexpr char kAround = '\xa5';
const std::string kTransaction = "0123456789abcdef";

class EnvironmentScene final : public Scene {
 public:
  [[nodiscard]] std::string name() const override { return "environment"; }

  void prepare(const Machine& machine) override {
    fill_partition(machine.root, seed());
    settle_times(machine.root, kOriginalTime);
    note_root(machine);
    using boot::SlotHealth;
    boot::BootState state;
    state.order = {SlotId::a, SlotId::b};
    state.a = {.health = SlotHealth::good, .tries_left = kAttempts};
    state.b = state.a;
    const boot::EnvironmentCopy copy =
        environment_copy({"BOOT_A_LEFT=3", "BOOT_B_LEFT=3", "BOOT_ORDER=A B", "bootcmd=source ${addr}", serial()}, 1,
                         kCopyBytes, std::byte{0xff});
    std::string disk(kEnvironmentBytes, kAround);
    for (const std::size_t at : kCopiesAt) disk.replace(at, kCopyBytes, io::as_text(copy));
    // One of them is damaged, with every other seed another one.
    disk[kCopiesAt[seed() % 2] + 700 + seed() % 5000] ^= 0x40;
    put_file(machine.environment, disk);
    states_ = {state, boot::only_slot(state, SlotId::a, kAttempts)};
    states_.push_back(boot::armed(states_.back(), SlotId::b, kAttempts, kTransaction));
    states_.push_back(boot::confirmed(states_.back(), SlotId::b, kAttempts, kTransaction));
    states_.push_back(boot::at_rest(boot::rolled_back(states_.back(), SlotId::b, kAttempts), SlotId::b, kAttempts));
  }

  Result<void> act(const Machine& machine, const Acknowledge& acknowledge) override {
    return carry_out(machine, acknowledge);
  }

  Problems check_instant(const Machine& machine, const Promised& promised) override {
    std::size_t kept = 0;
    for (std::size_t i = 1; i < states_.size(); ++i) {
      if (promised(promise_of(i))) kept = i;
    }
    Problems problems = check_copies(machine);
    const std::string disk = contents_of(machine.environment);
    const std::string around = disk.substr(0, kCopiesAt[0]) + disk.substr(kCopiesAt[1] + kCopyBytes);
    if (around.find_first_not_of(kAround) != std::string::npos || disk.size() != kEnvironmentBytes) {
      problems.emplace_back("something outside of the copies was written");
    }
    const auto reading = control(machine)->read();
    if (!reading.has_value()) {
      problems.push_back("it cannot be read: " + reading.assume_error().message);
    } else if (std::find(states_.begin() + static_cast<std::ptrdiff_t>(kept), states_.end(),
                         reading.assume_value().state) == states_.end()) {
      problems.push_back("it says something else than state " + std::to_string(kept) + " or a later one");
    }
    return problems;
  }

  Result<void> recover(const Machine& machine) override {
    return carry_out(machine, [](const std::string&) {});
  }

  Problems check_finished(const Machine& machine) override {
    // Not what lies around: a disk may turn over a bit there when it writes the block of a copy, and nobody reads it.
    Problems problems = check_copies(machine);
    const boot::BootReading reading = ok(control(machine)->read());
    if (reading.state != states_.back()) problems.emplace_back("it does not say the last state");
    if (reading.damaged_copy) problems.emplace_back("a copy is damaged");
    if (reading.behind_copy) problems.emplace_back("a copy is behind");
    return problems;
  }

 private:
  [[nodiscard]] static std::string promise_of(std::size_t state) { return "state-" + std::to_string(state); }
  [[nodiscard]] std::string serial() const { return "serial#=" + std::to_string(seed()); }

  [[nodiscard]] std::unique_ptr<boot::BootControl> control(const Machine& machine) const {
    std::string text;
    for (const std::size_t at : kCopiesAt) {
      text += machine.environment + " " + std::to_string(at) + " 0x2000\n";
    }
    put_file(folder_ / "fw_env.config", text);
    return ok(boot::make_uboot_control(machine.storage, {.fw_env_config = folder_ / "fw_env.config",
                                                         .attempts = kAttempts,
                                                         .lock_path = folder_ / "lock",
                                                         .lock_wait = {}}));
  }

  /// Repairs, then goes on where it was.
  Result<void> carry_out(const Machine& machine, const Acknowledge& acknowledge) const {
    const auto boot = control(machine);
    SK_TRY(boot->repair());
    acknowledge("repaired");
    SK_TRY_ASSIGN(const boot::BootReading reading, boot->read());
    const auto now = std::find(states_.begin(), states_.end(), reading.state);
    if (now == states_.end()) return make_error(Errc::internal, "this never was");
    for (auto next = now + 1; next < states_.end(); ++next) {
      SK_TRY(boot->store(*next));
      acknowledge(promise_of(static_cast<std::size_t>(next - states_.begin())));
    }
    return success();
  }

  /// At least one is whole, and says of others what it did.
  [[nodiscard]] Problems check_copies(const Machine& machine) const {
    Problems problems;
    const std::string disk = contents_of(machine.environment);
    std::size_t whole = 0;
    for (const std::size_t at : kCopiesAt) {
      const auto bytes = io::as_bytes(std::string_view(disk).substr(at, kCopyBytes));
      const boot::EnvironmentCopy copy(bytes.begin(), bytes.end());
      if (!boot::is_valid_copy(copy)) continue;
      ++whole;
      const auto variables = ok(boot::read_variables({copy, copy}));
      if (!variables.contains("bootcmd") || "serial#=" + variables.at("serial#") != serial()) {
        problems.emplace_back("a variable of others is not what it was");
      }
    }
    if (whole == 0) problems.emplace_back("no copy is whole");
    return problems;
  }

  TemporaryDirectory folder_;
  std::vector<boot::BootState> states_;
};

}  // namespace

std::unique_ptr<Scene> make_environment_scene() { return std::make_unique<EnvironmentScene>(); }

}  // namespace slotkeeper::test

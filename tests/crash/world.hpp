// A small device in a folder of memory: two slots, state store, U-Boot environment, permanent partition, and the real
// engine on top. Small, so that a test can cut the power at every single call.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bootloader-hooks/boot_control.hpp"
#include "engine/transaction/engine.hpp"
#include "partitions/io/host.hpp"
#include "partitions/io/storage.hpp"
#include "tests/support/temporary_directory.hpp"

namespace slotkeeper::test {

/// Collects what the engine reports; never cancels unless told to.
class RecordingSink final : public EngineSink {
 public:
  void progress(Phase, std::uint64_t, std::uint64_t) override {}
  void notice(std::string_view message) override { notices.emplace_back(message); }
  [[nodiscard]] bool cancel_requested() const override { return cancel; }
  void gate(const permanent::Gate& gate) override { gates.push_back(gate); }
  void planned_write(const PlannedWrite& write) override { writes.push_back(write); }

  std::vector<std::string> notices;
  std::vector<permanent::Gate> gates;
  std::vector<PlannedWrite> writes;
  bool cancel = false;
};

/// A host whose boots can be counted: `reboot` gives it a new boot_id.
class WorldHost final : public io::Host {
 public:
  WorldHost();
  io::TimeStamp now() override;
  std::chrono::nanoseconds monotonic() override;
  std::chrono::nanoseconds since_boot() override;
  void sleep(std::chrono::nanoseconds) override {}
  Result<std::string> boot_id() override { return "boot-" + std::to_string(boots_); }
  Result<void> random(io::Bytes into) override;
  Result<void> ask_to_end(int process) override;
  Result<io::ProcessOutcome> run(const io::ProcessRequest& request) override;

  void reboot() { ++boots_; }
  int health_exit_status = 0;
  /// Takes the part of the hook `migrate-config`; empty: it ends with 0 and does nothing.
  std::function<io::ProcessOutcome(const io::ProcessRequest&)> migration;

  /// Programs that were run: name and environment.
  struct Run {
    std::string name;
    std::vector<std::string> environment;
  };
  std::vector<Run> runs;
  std::map<std::string, io::ProcessOutcome> outcomes;                 ///< by name, instead of success
  std::function<void(const std::string& name)> during_run = nullptr;  ///< called in the middle of it
  [[nodiscard]] std::vector<std::string> names_run() const;

 private:
  std::unique_ptr<io::Host> real_;
  int boots_ = 1;
  std::chrono::nanoseconds time_{0};
};

class World {
 public:
  World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World();

  /// Provisioned with version 1 in slot A; slot B holds rubbish.
  void reset();

  /// Keeps the state of the device, and brings it back.
  void save();
  void load();

  /// An engine on `storage` (the real one by default) that runs from `slot`.
  [[nodiscard]] CommandResult run(SlotId slot, const std::function<CommandResult(Engine&)>& command,
                                  io::Storage* storage = nullptr);
  [[nodiscard]] CommandResult install(SlotId slot, int version = 2, io::Storage* storage = nullptr);
  [[nodiscard]] CommandResult recover(SlotId slot, io::Storage* storage = nullptr);
  [[nodiscard]] CommandResult confirm(SlotId slot, io::Storage* storage = nullptr);

  /// What the bootloader would do now: takes a slot, counts a try of a trial down. Fails the test when none can start,
  /// or when the one that starts does not hold a whole firmware.
  [[nodiscard]] SlotId boot();
  [[nodiscard]] boot::BootState environment();

  /// Version whose image the slot holds in full; nothing when it holds none.
  [[nodiscard]] std::optional<int> version_in(SlotId slot) const;

  /// Everything of kind config and state below the permanent partition: path -> type, attributes and contents.
  [[nodiscard]] std::map<std::string, std::string> configuration() const;
  [[nodiscard]] std::string log() const;
  /// Every byte of the device, to show that nothing was changed.
  [[nodiscard]] std::string everything() const;

  void write_file(const std::string& path, const std::string& contents) const;  ///< below the permanent partition
  void remove_file(const std::string& path) const;
  void append_log(const std::string& line) const;
  /// From now on the firmware that runs has a hook `migrate-config` that does this.
  void give_migration(std::function<io::ProcessOutcome(const io::ProcessRequest&)> migration);
  [[nodiscard]] bool own_directory_is_empty() const;

  [[nodiscard]] WorldHost& host() { return host_; }
  [[nodiscard]] RecordingSink& sink() const { return *sink_; }
  /// Puts an executable hook into the hook directory, or takes it away.
  void set_hook(const std::string& name, bool present = true) const;
  [[nodiscard]] const std::string& path() const { return folder_; }

 private:
  [[nodiscard]] std::string at(const std::string& name) const { return folder_ + "/" + name; }
  [[nodiscard]] Configuration configuration_of_device() const;
  void make_keys() const;
  void make_bundle(int version);
  void fill_permanent() const;

  TemporaryDirectory temporary_;
  std::string folder_;
  std::unique_ptr<io::Storage> storage_;
  WorldHost host_;
  std::unique_ptr<RecordingSink> sink_;
};

}  // namespace slotkeeper::test

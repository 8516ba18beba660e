// The engine's front door: one function per command of the contract. No state is kept in the process between calls; all
// that counts is on the device.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "bootloader-hooks/boot_control.hpp"
#include "engine/configuration/configuration.hpp"
#include "engine/transaction/command_result.hpp"
#include "partitions/io/host.hpp"
#include "partitions/io/storage.hpp"
#include "partitions/parallel.hpp"
#include "partitions/permanent/forecast.hpp"
#include "partitions/progress.hpp"

namespace slotkeeper {

/// One write that an install would do, as `preflight` prints it.
struct PlannedWrite {
  std::string where;  ///< "slot B, volume rootfs (/dev/loop3)"
  std::string what;   ///< "image 3.5.1"
  std::uint64_t bytes = 0;
};

/// Where the engine reports while it works. Implementations must not block.
class EngineSink : public ProgressSink {
 public:
  /// The figures that the gates follow from, before those: the member `forecast` of the result line of `preflight`.
  virtual void forecast(const JsonObject&) {}
  virtual void gate(const permanent::Gate& gate) = 0;
  virtual void planned_write(const PlannedWrite& write) = 0;
  /// The device is about to be restarted, and this is what `command` came to: it may not get as far as to return it.
  virtual void restarting(std::string_view, const CommandResult&) {}
};

/// What an engine works on. `make_boot_control` is replaced by tests; by default the configured backend.
struct EngineSettings {
  io::Storage& storage;
  io::Host& host;
  EngineSink& sink;
  Configuration configuration;
  std::optional<SlotId> assumed_slot;  ///< --booted-slot
  std::function<Result<std::unique_ptr<boot::BootControl>>()> make_boot_control;
  /// Threads that may work beside the calling one. With 0 nothing happens beside it, and all calls of the storage come
  /// in an order that does not change from run to run. The sink is called by the calling thread only.
  Helpers helpers = 0;
};

struct InstallRequest {
  std::string location;  ///< path or URL
  bool reboot = false;
  bool force = false;
};

struct ConfirmRequest {
  bool force = false;     ///< although a health check failed
  bool deadline = false;  ///< no checks: wait until the trial's time is over and end what was not confirmed by then
  bool reboot = false;    ///< see `RecoverRequest`
};

struct RecoverRequest {
  /// Restart the device when a rollback needs it, or when the command failed and this is a trial.
  bool reboot = false;
};

enum class SlotMark : std::uint8_t { good, bad, active };

class Engine {
 public:
  explicit Engine(EngineSettings settings);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine();

  [[nodiscard]] CommandResult provision(const std::optional<std::string>& factory_bundle, bool force);
  [[nodiscard]] CommandResult preflight(const std::string& location);
  [[nodiscard]] CommandResult compact(bool dry_run);
  [[nodiscard]] CommandResult install(const InstallRequest& request);
  [[nodiscard]] CommandResult recover(const RecoverRequest& request);
  [[nodiscard]] CommandResult confirm(const ConfirmRequest& request);
  [[nodiscard]] CommandResult rollback(bool to_previous);
  [[nodiscard]] CommandResult cancel();
  [[nodiscard]] CommandResult mark(SlotId slot, SlotMark mark);
  [[nodiscard]] CommandResult status();
  [[nodiscard]] CommandResult history();
  [[nodiscard]] CommandResult verify();
  [[nodiscard]] CommandResult quarantine_list();
  [[nodiscard]] CommandResult quarantine_clear(const std::optional<std::string>& id);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace slotkeeper

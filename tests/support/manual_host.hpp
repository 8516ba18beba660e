// A host whose clock only moves when somebody sleeps or the test moves it.
#pragma once

#include <functional>

#include "partitions/io/host.hpp"

namespace slotkeeper::test {

class ManualHost final : public io::Host {
 public:
  io::TimeStamp now() override { return {.seconds = 1'795'485'784, .nanoseconds = 0}; }
  std::chrono::nanoseconds monotonic() override { return time; }
  std::chrono::nanoseconds since_boot() override { return time; }
  void sleep(std::chrono::nanoseconds duration) override {
    slept += duration;
    advance(duration);
  }
  std::optional<io::MachineWork> work_done() override { return work; }
  Result<std::string> boot_id() override { return std::string("manual"); }
  Result<void> random(io::Bytes into) override {
    for (std::byte& byte : into) byte = std::byte{7};
    return success();
  }
  Result<void> ask_to_end(int) override { return success(); }
  Result<io::ProcessOutcome> run(const io::ProcessRequest&) override { return io::ProcessOutcome{}; }

  /// Lets time pass; what happens on the device meanwhile is up to `passes`.
  void advance(std::chrono::nanoseconds duration) {
    time += duration;
    if (passes) passes(duration);
  }

  std::chrono::nanoseconds time = std::chrono::seconds(100);
  std::chrono::nanoseconds slept{0};
  std::optional<io::MachineWork> work;
  std::function<void(std::chrono::nanoseconds)> passes;
};

}  // namespace slotkeeper::test

// A sink before another one: what watches or measures while work goes on puts itself between the work and the reporter.
#pragma once

#include "engine/transaction/engine.hpp"

namespace slotkeeper {

class ForwardingSink : public EngineSink {
 public:
  explicit ForwardingSink(EngineSink& inner) : inner_(inner) {}

  void progress(Phase phase, std::uint64_t done_bytes, std::uint64_t total_bytes) override {
    inner_.progress(phase, done_bytes, total_bytes);
  }
  void notice(std::string_view message) override { inner_.notice(message); }
  [[nodiscard]] bool cancel_requested() const override { return inner_.cancel_requested(); }
  [[nodiscard]] Result<void> check_cancelled() override { return inner_.check_cancelled(); }
  void forecast(const JsonObject& figures) override { inner_.forecast(figures); }
  void gate(const permanent::Gate& gate) override { inner_.gate(gate); }
  void planned_write(const PlannedWrite& write) override { inner_.planned_write(write); }
  void restarting(std::string_view command, const CommandResult& result) override {
    inner_.restarting(command, result);
  }

 private:
  EngineSink& inner_;
};

}  // namespace slotkeeper

#include "tests/support/simulated_freeze.hpp"

#include <cerrno>

namespace slotkeeper::test {
namespace {

class SimulatedFreeze final : public io::Freeze {
 public:
  SimulatedFreeze(FrozenPaths& frozen, std::string path) : frozen_(frozen), path_(std::move(path)) {}
  ~SimulatedFreeze() override { frozen_.erase(path_); }

  [[nodiscard]] bool holds() override { return frozen_.count(path_) != 0; }
  Result<io::ThawFacts> thaw() override {
    // A crash of the storage has ended it, as a restart does.
    const bool held = frozen_.erase(path_) != 0;
    if (!held && !ended_by_us_) return io::ThawFacts{.ended_by = io::FreezeEnd::somebody_else};
    ended_by_us_ = true;
    return io::ThawFacts{};
  }
  [[nodiscard]] int freezer() const override { return 0; }

 private:
  FrozenPaths& frozen_;
  std::string path_;
  bool ended_by_us_ = false;
};

}  // namespace

Result<std::unique_ptr<io::Freeze>> simulate_freeze(FrozenPaths& frozen, const std::string& path) {
  if (!frozen.insert(path).second) return make_error(Errc::io_error, path + " is frozen already", EBUSY);
  return std::make_unique<SimulatedFreeze>(frozen, path);
}

}  // namespace slotkeeper::test

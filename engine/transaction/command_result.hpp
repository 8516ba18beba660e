// What a command answers: one outcome, at most one error, and what goes with it. The command line, the D-Bus service
// and the C API print the same thing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/json/json.hpp"
#include "partitions/io/result.hpp"
#include "partitions/progress.hpp"

namespace slotkeeper {

enum class Outcome : std::uint8_t { armed, confirmed, rolled_back, refused, postponed, nothing_to_do, ok, failed };
[[nodiscard]] std::string_view name_of(Outcome outcome);  ///< as printed: "rolled-back"

/// An error and the phase in which it came up.
struct Failure {
  Error error;
  std::optional<Phase> phase;
};

struct CommandResult {
  Outcome outcome = Outcome::ok;
  std::optional<std::string> transaction;  ///< UUID
  std::optional<Failure> failure;          ///< decides the exit status; none exactly when that is 0
  std::optional<Failure> cause;            ///< why `recover` rolled back
  JsonObject extra;                        ///< further members of the result line, e.g. `slots` of `status`
  std::vector<std::string> lines;          ///< the same for people: short sentences, the verdict first

  [[nodiscard]] int exit_status() const;
};

/// The outcome that goes with an error: exit 3 postponed, 4 refused, 5 and 130 rolled-back where the transaction was
/// rolled back, failed otherwise.
[[nodiscard]] Outcome outcome_for(Errc code, bool rolled_back);

/// A command that ended with an error before it changed anything.
[[nodiscard]] CommandResult failed_command(Error error, std::optional<Phase> phase = std::nullopt);

/// {"code":...,"phase":...,"message":...,"detail":{...}}
[[nodiscard]] Json to_json(const Failure& failure);

}  // namespace slotkeeper

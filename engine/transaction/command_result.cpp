#include "engine/transaction/command_result.hpp"

#include <type_traits>

namespace slotkeeper {

std::string_view name_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::armed:
      return "armed";
    case Outcome::confirmed:
      return "confirmed";
    case Outcome::rolled_back:
      return "rolled-back";
    case Outcome::refused:
      return "refused";
    case Outcome::postponed:
      return "postponed";
    case Outcome::nothing_to_do:
      return "nothing-to-do";
    case Outcome::ok:
      return "ok";
    case Outcome::failed:
      return "failed";
  }
  return "failed";
}

int CommandResult::exit_status() const { return failure ? info(failure->error.code).exit_status : 0; }

Outcome outcome_for(Errc code, bool rolled_back) {
  switch (info(code).exit_status) {
    case 3:
      return Outcome::postponed;
    case 4:
      return Outcome::refused;
    case 5:
      return rolled_back ? Outcome::rolled_back : Outcome::failed;
    default:
      return Outcome::failed;
  }
}

CommandResult failed_command(Error error, std::optional<Phase> phase) {
  CommandResult result;
  result.outcome = outcome_for(error.code, false);
  result.failure = Failure{std::move(error), phase};
  return result;
}

Json to_json(const Failure& failure) {
  Json detail = JsonObject{};
  for (const auto& one : failure.error.details) {
    detail.set(one.name, std::visit(
                             [](const auto& value) -> Json {
                               using Value = std::decay_t<decltype(value)>;
                               if constexpr (std::is_same_v<Value, std::vector<std::string>>) {
                                 JsonArray list;
                                 for (const auto& text : value) list.emplace_back(escape_bytes(text));
                                 return list;
                               } else if constexpr (std::is_same_v<Value, std::string>) {
                                 return escape_bytes(value);
                               } else {
                                 return value;
                               }
                             },
                             one.value));
  }
  return JsonObject{{"code", info(failure.error.code).name},
                    {"phase", failure.phase ? Json(name_of(*failure.phase)) : Json()},
                    {"message", escape_bytes(failure.error.message)},
                    {"detail", std::move(detail)}};
}

}  // namespace slotkeeper

// How a test talks to a fault disk: a Unix socket of packets, one question and one answer each. An answer comes when
// the question has taken effect, so nothing depends on time.
//
//   question = "rules\n" rules        the rules are replaced by these       -> "ok"
//            | "counters"             -> "position=N reads=N writes=N flushes=N discards=N struck=N,N,..."
//            | "mark " text           a mark goes into the log              -> "position=N"
//   answer   = one of these, or "error: " text
#pragma once

#include <string>
#include <string_view>

#include "tests/support/fault_disk/model.hpp"

namespace slotkeeper::test {

inline constexpr std::size_t kControlMaxBytes = std::size_t{64} * 1024;

/// Answers one question.
[[nodiscard]] std::string answer(FaultModel& model, std::string_view question);

/// A socket that listens at this path, for `serve_control`. Throws std::runtime_error.
[[nodiscard]] int listen_for_control(const std::string& path);
/// Answers one connection after the other; returns when the socket was shut down.
void serve_control(int listening, FaultModel& model);

/// The other end: asks and returns the answer. Throws std::runtime_error when there is none or it is an error.
class ControlConnection {
 public:
  explicit ControlConnection(const std::string& path);
  ControlConnection(const ControlConnection&) = delete;
  ControlConnection& operator=(const ControlConnection&) = delete;
  ~ControlConnection();
  std::string ask(std::string_view question);

 private:
  int socket_ = -1;
};

/// The number behind "NAME=" in an answer.
[[nodiscard]] std::uint64_t number_named(std::string_view answer, std::string_view name);

}  // namespace slotkeeper::test

#include "tests/support/fault_disk/control.hpp"

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace slotkeeper::test {
namespace {

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw std::runtime_error(path + " is too long for a socket");
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

int make_socket() {
  const int made = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (made < 0) throw std::runtime_error(std::string("no socket: ") + std::strerror(errno));
  return made;
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

std::string print(const DiskCounters& counters) {
  std::string text = "position=" + std::to_string(counters.position) + " reads=" + std::to_string(counters.reads) +
                     " writes=" + std::to_string(counters.writes) + " flushes=" + std::to_string(counters.flushes) +
                     " discards=" + std::to_string(counters.discards) + " struck=";
  for (const std::uint64_t times : counters.struck) text += std::to_string(times) + ",";
  return text;
}

void serve_connection(int connection, FaultModel& model) {
  std::string buffer(kControlMaxBytes, '\0');
  for (;;) {
    const ssize_t length = ::recv(connection, buffer.data(), buffer.size(), 0);
    if (length <= 0) return;
    const std::string reply = answer(model, std::string_view(buffer).substr(0, static_cast<std::size_t>(length)));
    if (::send(connection, reply.data(), reply.size(), MSG_NOSIGNAL) < 0) return;
  }
}

}  // namespace

std::string answer(FaultModel& model, std::string_view question) {
  try {
    if (take_prefix(question, "rules\n")) {
      model.set_rules(parse_rules(question));
      return "ok";
    }
    if (take_prefix(question, "mark ")) return "position=" + std::to_string(model.mark(question));
    if (question == "counters") return print(model.counters());
    return "error: unknown question";
  } catch (const std::exception& problem) {
    return std::string("error: ") + problem.what();
  }
}

int listen_for_control(const std::string& path) {
  const sockaddr_un address = address_of(path);
  const int listening = make_socket();
  if (::bind(listening, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listening, 4) != 0) {
    throw std::runtime_error("cannot listen at " + path + ": " + std::strerror(errno));
  }
  return listening;
}

void serve_control(int listening, FaultModel& model) {
  for (;;) {
    const int connection = ::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0 && errno == EINTR) continue;
    if (connection < 0) return;
    serve_connection(connection, model);
    ::close(connection);
  }
}

ControlConnection::ControlConnection(const std::string& path) : socket_(make_socket()) {
  const sockaddr_un address = address_of(path);
  if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const std::string reason = std::strerror(errno);
    ::close(socket_);
    throw std::runtime_error("no fault disk answers at " + path + ": " + reason);
  }
}

ControlConnection::~ControlConnection() { ::close(socket_); }

std::string ControlConnection::ask(std::string_view question) {
  std::string reply(kControlMaxBytes, '\0');
  if (::send(socket_, question.data(), question.size(), MSG_NOSIGNAL) < 0) {
    throw std::runtime_error("the fault disk is gone");
  }
  const ssize_t length = ::recv(socket_, reply.data(), reply.size(), 0);
  if (length <= 0) throw std::runtime_error("the fault disk gave no answer");
  reply.resize(static_cast<std::size_t>(length));
  if (reply.starts_with("error: ")) throw std::runtime_error("the fault disk says " + reply);
  return reply;
}

std::uint64_t number_named(std::string_view answer, std::string_view name) {
  const std::size_t at = (" " + std::string(answer)).find(" " + std::string(name) + "=");
  if (at == std::string::npos) throw std::runtime_error("no " + std::string(name) + " in " + std::string(answer));
  return std::stoull(std::string(answer.substr(at + name.size() + 1)));
}

}  // namespace slotkeeper::test

#include "tests/loopback/program.hpp"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <stdexcept>
#include <sys/wait.h>
#include <unistd.h>

namespace slotkeeper::test {
namespace {

constexpr std::size_t kLineMaxBytes = 4 << 20;

std::string contents_of(std::FILE* file) {
  std::string text;
  std::rewind(file);
  char buffer[4096];
  for (std::size_t count = 0; (count = std::fread(buffer, 1, sizeof buffer, file)) > 0;) text.append(buffer, count);
  return text;
}

[[noreturn]] void become(const std::vector<std::string>& command, int output, int diagnostics) {
  std::vector<char*> arguments;
  for (const auto& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const int null = ::open("/dev/null", O_RDONLY);
  if (null >= 0 && ::dup2(null, 0) == 0 && ::dup2(output, 1) == 1 && ::dup2(diagnostics, 2) == 2) {
    ::execvp(arguments[0], arguments.data());
  }
  ::_exit(127);
}

}  // namespace

std::string program_path() {
  const char* const chosen = std::getenv("SLOTKEEPER_PROGRAM");
  return chosen != nullptr && *chosen != '\0' ? chosen : SLOTKEEPER_PROGRAM;
}

Json Answer::result() const {
  if (events.empty()) return {};
  const Json* event = events.back().find("event");
  return event != nullptr && *event == Json("result") ? events.back() : Json();
}

Json Answer::at(std::string_view path) const {
  Json value = result();
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    const Json* member = value.find(path.substr(0, slash));
    if (member == nullptr) return {};
    value = Json(*member);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
  }
  return value;
}

std::string Answer::text(std::string_view path) const {
  const Json value = at(path);
  if (value.is_null()) return {};
  if (const auto* string = value.as_string()) return *string;
  return value.print();
}

std::string Answer::story() const {
  return "exit status " + std::to_string(exit_status) + "\nstandard output:\n" + output + "standard error:\n" +
         diagnostics;
}

Program::Program(const std::vector<std::string>& command, Options options) {
  int ends[2];
  diagnostics_ = std::tmpfile();
  if (diagnostics_ == nullptr || ::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe for a program");
  process_ = ::fork();
  if (process_ < 0) throw std::runtime_error("a program could not be started");
  if (process_ == 0) become(command, ends[1], ::fileno(diagnostics_));
  ::close(ends[1]);
  if (options.closed_output) {
    ::close(ends[0]);
  } else {
    output_ = ::fdopen(ends[0], "r");
  }
}

Program::~Program() {
  if (process_ > 0) {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  if (output_ != nullptr) std::fclose(output_);
  if (diagnostics_ != nullptr) std::fclose(diagnostics_);
}

bool Program::read_line() {
  if (output_ == nullptr) return false;
  char* line = nullptr;
  std::size_t capacity = 0;
  const ssize_t length = ::getline(&line, &capacity, output_);
  if (length > 0) {
    const std::string text(line, static_cast<std::size_t>(length));
    answer_.output += text;
    auto event = Json::parse(text, kLineMaxBytes);
    if (event.has_value()) answer_.events.push_back(std::move(event).assume_value());
  }
  std::free(line);
  return length > 0;
}

bool Program::read_until(const std::function<bool(const Json&)>& wanted) {
  while (read_line()) {
    if (!answer_.events.empty() && wanted(answer_.events.back())) return true;
  }
  return false;
}

void Program::signal(int number) const { ::kill(process_, number); }

Answer Program::finish() {
  while (read_line()) continue;
  int status = 0;
  while (::waitpid(process_, &status, 0) < 0 && errno == EINTR) continue;
  process_ = -1;
  answer_.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  answer_.diagnostics = contents_of(diagnostics_);
  return answer_;
}

Answer run_program(const std::vector<std::string>& command) { return Program(command).finish(); }

std::function<bool(const Json&)> progress_of(std::string phase, std::int64_t done) {
  return [phase = std::move(phase), done](const Json& event) {
    const Json* name = event.find("phase");
    const Json* count = event.find("done");
    return name != nullptr && *name == Json(phase) && count != nullptr && count->as_integer() != nullptr &&
           *count->as_integer() >= done;
  };
}

}  // namespace slotkeeper::test

#include "tests/loopback/nginx.hpp"

#include <arpa/inet.h>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <netinet/in.h>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "tests/loopback/material.hpp"
#include "tests/support/loop_device.hpp"

namespace slotkeeper::test {
namespace {

constexpr const char* kProgram = "/usr/sbin/nginx";

sockaddr_in local(unsigned int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/// "127.0.0.1:PORT" that nobody listens on.
std::string free_address() {
  const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = local(0);
  socklen_t length = sizeof address;
  auto* const general = reinterpret_cast<sockaddr*>(&address);
  if (probe < 0 || ::bind(probe, general, length) != 0 || ::getsockname(probe, general, &length) != 0) {
    throw std::runtime_error("no free port");
  }
  ::close(probe);
  return "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
}

bool answers(const std::string& at) {
  const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = local(static_cast<unsigned int>(std::stoul(at.substr(at.find(':') + 1))));
  const bool connected = ::connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  ::close(probe);
  return connected;
}

}  // namespace

TlsMaterial::TlsMaterial() {
  const auto make_key = [this](const std::string& whose) {
    run_tool({"openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key(whose)});
  };
  for (const std::string authority : {"ca", "other-ca"}) {
    make_key(authority);
    run_tool({"openssl", "req", "-x509", "-new", "-key", key(authority), "-out", certificate(authority), "-days", "30",
              "-subj", "/CN=" + authority, "-addext", "basicConstraints=critical,CA:TRUE"});
  }
  write_file(folder_ / "server.ext", "subjectAltName=IP:127.0.0.1\n");
  write_file(folder_ / "client.ext", "extendedKeyUsage=clientAuth\n");
  for (const std::string whose : {"server", "client"}) {
    make_key(whose);
    run_tool({"openssl", "req", "-new", "-key", key(whose), "-out", folder_ / "request", "-subj", "/CN=" + whose});
    run_tool({"openssl", "x509", "-req", "-in", folder_ / "request", "-CA", ca(), "-CAkey", key("ca"),
              "-CAcreateserial", "-days", "30", "-extfile", folder_ / (whose + ".ext"), "-out", certificate(whose)});
  }
}

Nginx::Nginx(Options options) : options_(std::move(options)), address_(free_address()), tls_address_(free_address()) {
  std::filesystem::create_directory(folder_ / "root");
  write_configuration();
  start();
}

Nginx::~Nginx() { kill(); }

void Nginx::write_configuration() const {
  std::string servers = "server { listen " + address_ + "; " + options_.server + " }\n";
  if (options_.tls_material != nullptr) {
    servers += "server { listen " + tls_address_ + " ssl; ssl_certificate " +
               options_.tls_material->certificate("server") + "; ssl_certificate_key " +
               options_.tls_material->key("server") + "; " + options_.server + " " + options_.tls + " }\n";
  }
  std::string paths;
  for (const char* const kind : {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"}) {
    paths += std::string(kind) + "_temp_path " + (folder_ / kind) + ";\n";
  }
  write_file(folder_ / "nginx.conf", "daemon off;\nuser root;\nworker_processes 1;\npid " + (folder_ / "pid") +
                                         ";\nerror_log " + (folder_ / "error.log") +
                                         ";\nevents {}\nhttp {\nlog_format short '$request_method $uri $status "
                                         "$body_bytes_sent \"$http_range\" \"$http_user_agent\"';\naccess_log " +
                                         (folder_ / "access.log") + " short;\nroot " + (folder_ / "root") + ";\n" +
                                         paths + servers + "}\n");
}

void Nginx::start() {
  kill();
  std::vector<std::string> words = {kProgram, "-e", folder_ / "error.log", "-c", folder_ / "nginx.conf"};
  process_ = ::fork();
  if (process_ == 0) {
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    // A group of its own, so that the workers go with it.
    ::setpgid(0, 0);
    ::execv(kProgram, arguments.data());
    ::_exit(127);
  }
  if (process_ < 0) throw std::runtime_error("nginx could not be started");
  ::setpgid(process_, process_);
  constexpr int kTries = 500;
  for (int i = 0; i < kTries; ++i) {
    if (answers(address_)) return;
    int status = 0;
    if (::waitpid(process_, &status, WNOHANG) == process_) {
      process_ = -1;
      throw std::runtime_error("nginx ended: " + contents_of(folder_ / "error.log"));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  throw std::runtime_error("nginx does not listen: " + contents_of(folder_ / "error.log"));
}

void Nginx::kill() {
  if (process_ <= 0) return;
  ::kill(-process_, SIGKILL);
  ::waitpid(process_, nullptr, 0);
  process_ = -1;
  // Its worker is nobody's child any more; its port is free when it is gone.
  constexpr int kTries = 500;
  for (int i = 0; i < kTries && answers(address_); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

std::string Nginx::requests() const { return contents_of(folder_ / "access.log"); }

}  // namespace slotkeeper::test

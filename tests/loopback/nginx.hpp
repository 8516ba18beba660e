// A real web server as a child process, with certificates of its own.
#pragma once

#include <string>
#include <sys/types.h>

#include "tests/support/temporary_directory.hpp"

namespace slotkeeper::test {

/// Certificates made by the openssl program: a CA and what it signed for the server (127.0.0.1) and a client, and
/// another CA that signed nothing.
class TlsMaterial {
 public:
  TlsMaterial();
  [[nodiscard]] std::string ca() const { return folder_ / "ca.pem"; }
  [[nodiscard]] std::string other_ca() const { return folder_ / "other-ca.pem"; }
  [[nodiscard]] std::string certificate(const std::string& whose) const { return folder_ / (whose + ".pem"); }
  [[nodiscard]] std::string key(const std::string& whose) const { return folder_ / (whose + ".key"); }

 private:
  TemporaryDirectory folder_;
};

/// Serves what lies in `root()` on two ports of 127.0.0.1.
class Nginx {
 public:
  struct Options {
    std::string server = {};                    ///< lines for both servers, e.g. "limit_rate 1m;"
    std::string tls = {};                       ///< lines for the https server
    const TlsMaterial* tls_material = nullptr;  ///< nothing: no https
  };
  explicit Nginx(Options options);
  Nginx(const Nginx&) = delete;
  Nginx& operator=(const Nginx&) = delete;
  ~Nginx();

  void start();
  /// Ends it at once, in the middle of whatever it sends.
  void kill();

  [[nodiscard]] std::string root(const std::string& name = "") const { return folder_ / ("root/" + name); }
  [[nodiscard]] std::string http(const std::string& path) const { return "http://" + address_ + path; }
  [[nodiscard]] std::string https(const std::string& path) const { return "https://" + tls_address_ + path; }
  /// One line for each request so far: method, URL, status, bytes, range, agent.
  [[nodiscard]] std::string requests() const;

 private:
  void write_configuration() const;

  Options options_;
  TemporaryDirectory folder_;
  std::string address_;
  std::string tls_address_;
  pid_t process_ = -1;
};

}  // namespace slotkeeper::test

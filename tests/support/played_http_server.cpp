#include "tests/support/played_http_server.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <netinet/in.h>
#include <poll.h>
#include <stdexcept>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

namespace slotkeeper::test {
namespace {

constexpr std::size_t kRequestMaxBytes = 64 << 10;
constexpr const char* kHeadersEnd = "\r\n\r\n";

std::string header(const std::string& headers, const std::string& name) {
  for (std::size_t at = headers.find("\r\n"); at != std::string::npos; at = headers.find("\r\n", at)) {
    at += 2;
    if (::strncasecmp(headers.c_str() + at, (name + ":").c_str(), name.size() + 1) != 0) continue;
    std::size_t begin = at + name.size() + 1;
    while (begin < headers.size() && headers[begin] == ' ') ++begin;
    return headers.substr(begin, headers.find("\r\n", begin) - begin);
  }
  return {};
}

HttpRequest parse(const std::string& text, std::size_t number) {
  HttpRequest request;
  request.line = text.substr(0, text.find("\r\n"));
  request.headers = text;
  request.number = number;
  request.if_range = header(text, "If-Range");
  const std::string range = header(text, "Range");
  if (!range.empty()) {
    const std::size_t equals = range.find('=');
    const std::size_t dash = range.find('-');
    request.range = {std::stoull(range.substr(equals + 1)), std::stoull(range.substr(dash + 1))};
  }
  return request;
}

}  // namespace

std::string HttpRequest::path() const {
  const std::size_t space = line.find(' ');
  return line.substr(space + 1, line.rfind(' ') - space - 1);
}

bool PlayedHttpServer::Connection::send(const std::string& bytes) const {
  for (std::size_t sent = 0; sent < bytes.size();) {
    const ssize_t count = ::send(descriptor_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    sent += static_cast<std::size_t>(count);
  }
  return true;
}

void PlayedHttpServer::Connection::hold() const {
  char byte = 0;
  while (::recv(descriptor_, &byte, 1, 0) > 0) continue;
}

void PlayedHttpServer::Connection::reset() const {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  static_cast<void>(::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
}

PlayedHttpServer::PlayedHttpServer(Answering answering) : answering_(std::move(answering)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* const general = reinterpret_cast<sockaddr*>(&address);
  if (listener_ < 0 || ::bind(listener_, general, length) != 0 || ::listen(listener_, 64) != 0 ||
      ::getsockname(listener_, general, &length) != 0) {
    throw std::runtime_error("no port to listen on");
  }
  port_ = ntohs(address.sin_port);
  accepting_ = std::thread([this] { accept_all(); });
}

PlayedHttpServer::~PlayedHttpServer() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
    for (const int descriptor : open_) ::shutdown(descriptor, SHUT_RDWR);
  }
  ::shutdown(listener_, SHUT_RDWR);
  accepting_.join();
  for (auto& thread : threads_) thread.join();
  ::close(listener_);
}

void PlayedHttpServer::accept_all() {
  while (true) {
    const int descriptor = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    const std::lock_guard lock(mutex_);
    if (descriptor < 0 || is_ending_) {
      if (descriptor >= 0) ::close(descriptor);
      return;
    }
    open_.push_back(descriptor);
    threads_.emplace_back([this, descriptor] { serve(descriptor); });
  }
}

void PlayedHttpServer::serve(int descriptor) {
  std::string text;
  char buffer[4096];
  while (text.find(kHeadersEnd) == std::string::npos && text.size() < kRequestMaxBytes) {
    const ssize_t count = ::recv(descriptor, buffer, sizeof buffer, 0);
    if (count <= 0) break;
    text.append(buffer, static_cast<std::size_t>(count));
  }
  if (text.find(kHeadersEnd) != std::string::npos) {
    HttpRequest request;
    {
      const std::lock_guard lock(mutex_);
      request = parse(text, requests_.size());
      requests_.push_back(request);
    }
    answering_(request, Connection(descriptor));
  }
  const std::lock_guard lock(mutex_);
  std::erase(open_, descriptor);
  ::close(descriptor);
}

std::string PlayedHttpServer::url(const std::string& path) const {
  return "http://127.0.0.1:" + std::to_string(port_) + path;
}

std::vector<HttpRequest> PlayedHttpServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

std::string part_answer(const HttpRequest& request, const std::string& content, const std::string& headers) {
  if (!request.range) return whole_answer(content, headers);
  const auto [first, last_wanted] = *request.range;
  const std::uint64_t last = std::min<std::uint64_t>(last_wanted, content.size() - 1);
  return "HTTP/1.1 206 Partial Content\r\nConnection: close\r\nContent-Range: bytes " + std::to_string(first) + "-" +
         std::to_string(last) + "/" + std::to_string(content.size()) +
         "\r\nContent-Length: " + std::to_string(last - first + 1) + "\r\n" + headers + "\r\n" +
         content.substr(first, last - first + 1);
}

std::string whole_answer(const std::string& content, const std::string& headers) {
  return "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " + std::to_string(content.size()) + "\r\n" +
         headers + "\r\n" + content;
}

std::string bare_answer(const std::string& status, const std::string& headers) {
  return "HTTP/1.1 " + status + "\r\nConnection: close\r\nContent-Length: 0\r\n" + headers + "\r\n";
}

std::size_t body_of(const std::string& answer) { return answer.find(kHeadersEnd) + 4; }

}  // namespace slotkeeper::test

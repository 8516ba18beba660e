// A web server that misbehaves as a test tells it to. Every answer is written by the test's own function; nothing of
// it is made from the code under test.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace slotkeeper::test {

struct HttpRequest {
  std::string line;                                              ///< "GET /bundle.skb HTTP/1.1"
  std::string headers;                                           ///< as they came, with the line
  std::optional<std::pair<std::uint64_t, std::uint64_t>> range;  ///< first and last byte
  std::string if_range;
  std::size_t number = 0;  ///< counted from 0

  [[nodiscard]] std::string path() const;
};

class PlayedHttpServer {
 public:
  /// One connection, on which one request has come. Closed when the function returns.
  class Connection {
   public:
    explicit Connection(int descriptor) : descriptor_(descriptor) {}
    /// False once the client has gone.
    bool send(const std::string& bytes) const;
    /// Waits until the client goes, or the server ends.
    void hold() const;
    /// Ends the connection with a reset instead of an orderly close.
    void reset() const;

   private:
    int descriptor_;
  };
  using Answering = std::function<void(const HttpRequest&, const Connection&)>;

  /// Listens on a free port of 127.0.0.1. `answering` is called from several threads.
  explicit PlayedHttpServer(Answering answering);
  PlayedHttpServer(const PlayedHttpServer&) = delete;
  PlayedHttpServer& operator=(const PlayedHttpServer&) = delete;
  ~PlayedHttpServer();

  [[nodiscard]] std::string url(const std::string& path = "/bundle.skb") const;
  [[nodiscard]] std::vector<HttpRequest> requests() const;  ///< so far

 private:
  void accept_all();
  void serve(int descriptor);

  Answering answering_;
  int listener_ = -1;
  unsigned int port_ = 0;
  mutable std::mutex mutex_;
  bool is_ending_ = false;
  std::vector<int> open_;
  std::vector<HttpRequest> requests_;
  std::vector<std::thread> threads_;
  std::thread accepting_;
};

/// A whole answer: "206 Partial Content" with this part of `content`, or "200 OK" where the request names none.
/// `headers` come besides, each ended by CR and LF.
[[nodiscard]] std::string part_answer(const HttpRequest& request, const std::string& content,
                                      const std::string& headers = "ETag: \"one\"\r\n");
[[nodiscard]] std::string whole_answer(const std::string& content, const std::string& headers = "ETag: \"one\"\r\n");
/// An answer without a body.
[[nodiscard]] std::string bare_answer(const std::string& status, const std::string& headers = "");
/// Where the body of an answer begins.
[[nodiscard]] std::size_t body_of(const std::string& answer);

}  // namespace slotkeeper::test

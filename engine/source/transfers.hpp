// Requests over HTTP(S), several at a time: the one door to libcurl. Knows nothing of bundles: who asks says what
// becomes of the bytes.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "engine/source/http_answer.hpp"
#include "partitions/io/types.hpp"

namespace slotkeeper {

/// How a request ended.
struct TransferEnd {
  enum class Kind : std::uint8_t {
    complete,   ///< the body came to its end
    stopped,    ///< by the listener
    cut_short,  ///< the body ended before its announced length
    passing,    ///< something failed that may work next time
    lasting,    ///< and something that will not
  };
  Kind kind = Kind::complete;
  Errc code = Errc::source_unreachable;  ///< of a failure
  std::string why;                       ///< which host, what happened, what to do
};

class TransferListener {
 public:
  enum class Take : std::uint8_t {
    all,    ///< go on
    later,  ///< not now: the same bytes come again after `Transfers::resume`
    none,   ///< this request is of no use any more
  };

  TransferListener() = default;
  TransferListener(const TransferListener&) = delete;
  TransferListener& operator=(const TransferListener&) = delete;
  virtual ~TransferListener() = default;

  /// Bytes of the body, of an answer with any status but a redirect that is followed.
  [[nodiscard]] virtual Take take(const HttpAnswer& answer, io::ConstBytes bytes) = 0;
  /// The last call.
  virtual void ended(const HttpAnswer& answer, const TransferEnd& end) = 0;
};

/// Everything but `wake` is called by one thread, and not from within a listener.
class Transfers {
 public:
  static constexpr long kRedirectsMax = 5;
  /// A line that brings less than this, for as long as the time-out says, is dead.
  static constexpr long kLowSpeedBytesPerSecond = 64;

  struct Settings {
    std::string url;
    std::string ca_pem;  ///< "": whom the system trusts
    std::string client_certificate_pem;
    std::string client_key_pem;
    std::string proxy;
    std::chrono::milliseconds timeout{0};
    std::string agent;
  };
  struct Request {
    std::optional<ByteRange> range;  ///< nothing: the whole
    std::string condition;           ///< If-Range; "": none
  };

  /// Errors: usage (the URL is malformed), not_supported_yet (libcurl is not there), internal.
  [[nodiscard]] static Result<std::unique_ptr<Transfers>> make(Settings settings);
  Transfers() = default;
  Transfers(const Transfers&) = delete;
  Transfers& operator=(const Transfers&) = delete;
  virtual ~Transfers() = default;  ///< abandons all

  /// `listener` must stay until it was told the end, or `abandon`. Errors: internal.
  [[nodiscard]] virtual Result<void> begin(const Request& request, TransferListener& listener) = 0;
  /// Ends a request; the listener hears no more of it. Nothing where it has ended.
  virtual void abandon(const TransferListener& listener) = 0;
  /// The listener takes bytes again. Errors: internal.
  [[nodiscard]] virtual Result<void> resume(const TransferListener& listener) = 0;
  /// Moves all requests on without waiting. True when one ended. Errors: internal.
  [[nodiscard]] virtual Result<bool> perform() = 0;
  /// Waits until there is something to do, until `wake`, or so long. Errors: internal.
  [[nodiscard]] virtual Result<void> wait(std::chrono::milliseconds limit) = 0;
  /// Ends the present or the next `wait`. From any thread.
  virtual void wake() = 0;
};

}  // namespace slotkeeper

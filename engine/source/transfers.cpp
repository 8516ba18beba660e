#ifdef SLOTKEEPER_WITH_HTTP
#include "engine/source/transfers.hpp"

#include <algorithm>
#include <array>
#include <sys/socket.h>
#include <vector>

#include "engine/source/curl_library.hpp"

namespace slotkeeper {
namespace {

using std::chrono::milliseconds;

/// Connections that are kept open between requests.
constexpr long kConnectionsKept = 8;
/// A wait ends after this time at the latest; nothing depends on it.
constexpr milliseconds kWaitMax{60'000};

struct FreeEasy {
  void operator()(CURL* easy) const { curl().easy_cleanup(easy); }
};
struct FreeMulti {
  void operator()(CURLM* multi) const { curl().multi_cleanup(multi); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl().slist_free_all(list); }
};
struct FreeUrl {
  void operator()(CURLU* url) const { curl().url_cleanup(url); }
};
struct FreeText {
  void operator()(char* text) const { curl().free(text); }
};
using EasyPointer = std::unique_ptr<CURL, FreeEasy>;

std::string part_of(const std::string& url, CURLUPart part) {
  const std::unique_ptr<CURLU, FreeUrl> parsed(curl().url());
  char* text = nullptr;
  if (!parsed || curl().url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK ||
      curl().url_get(parsed.get(), part, &text, 0) != CURLUE_OK) {
    return {};
  }
  const std::unique_ptr<char, FreeText> owned(text);
  return text;
}

/// What went wrong with the URL, as a clause; "" when it is whole.
std::string url_problem(const std::string& url) {
  const std::unique_ptr<CURLU, FreeUrl> parsed(curl().url());
  if (!parsed) return "there is not enough memory";
  const CURLUcode failure = curl().url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0);
  if (failure != CURLUE_OK) return curl().url_strerror(failure);
  return part_of(url, CURLUPART_HOST).empty() ? "it names no host" : "";
}

/// Sets options and remembers the first that failed.
class OptionSetter {
 public:
  explicit OptionSetter(CURL* easy) : easy_(easy) {}
  template <class Value>
  void set(CURLoption option, Value value) {
    if (failure_ == CURLE_OK) failure_ = curl().easy_setopt(easy_, option, value);
  }
  /// The text must stay as long as the handle.
  void set_blob(CURLoption option, const std::string& text) {
    // libcurl takes a pointer to what may be changed, and with this flag changes nothing.
    curl_blob blob{.data = const_cast<char*>(text.data()), .len = text.size(), .flags = CURL_BLOB_NOCOPY};
    set(option, &blob);
  }
  [[nodiscard]] Result<void> result() const {
    if (failure_ == CURLE_OK) return success();
    return make_error(Errc::internal,
                      std::string("libcurl does not take an option: ") + curl().easy_strerror(failure_));
  }

 private:
  CURL* easy_;
  CURLcode failure_ = CURLE_OK;
};

/// A hook that runs while a transaction is open must not inherit a connection.
curl_socket_t open_socket(void* /*context*/, curlsocktype /*purpose*/, curl_sockaddr* address) {
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

Result<void> multi_result(CURLMcode code) {
  if (code == CURLM_OK) return success();
  return make_error(Errc::internal, std::string("libcurl: ") + curl().multi_strerror(code));
}

/// One request. Its address is what libcurl's callbacks get.
struct Transfer {
  EasyPointer easy;
  std::unique_ptr<curl_slist, FreeList> headers;
  TransferListener* listener = nullptr;
  HttpAnswer answer;
  bool is_stopped = false;  ///< by the listener
  bool is_paused = false;
  std::array<char, CURL_ERROR_SIZE> message{};

  /// The host that is spoken to now, after redirects.
  [[nodiscard]] std::string host() const {
    char* url = nullptr;
    if (curl().easy_getinfo(easy.get(), CURLINFO_EFFECTIVE_URL, &url) != CURLE_OK || url == nullptr)
      return "the server";
    const std::string name = part_of(url, CURLUPART_HOST);
    return name.empty() ? "the server" : name;
  }
};

// Exceptions must not pass through libcurl: running out of memory ends the process here (noexcept), which is as safe as
// a power cut.
std::size_t take_header(char* data, std::size_t /*one*/, std::size_t length, void* context) noexcept {
  auto& transfer = *static_cast<Transfer*>(context);
  transfer.answer.take_line({data, length});
  return length;
}

std::size_t take_body(char* data, std::size_t /*one*/, std::size_t length, void* context) noexcept {
  auto& transfer = *static_cast<Transfer*>(context);
  if (transfer.answer.host.empty()) transfer.answer.host = transfer.host();
  switch (transfer.listener->take(transfer.answer, std::as_bytes(std::span(data, length)))) {
    case TransferListener::Take::all:
      return length;
    case TransferListener::Take::later:
      transfer.is_paused = true;
      return CURL_WRITEFUNC_PAUSE;
    case TransferListener::Take::none:
      break;
  }
  transfer.is_stopped = true;
  return CURL_WRITEFUNC_ERROR;
}

TransferEnd failed(TransferEnd::Kind kind, std::string why, Errc code = Errc::source_unreachable) {
  return {.kind = kind, .code = code, .why = std::move(why)};
}

/// libcurl's codes in words that say which host, what happened and what to do.
TransferEnd translate(CURLcode code, const Transfer& transfer) {
  using Kind = TransferEnd::Kind;
  if (code == CURLE_OK) return {};
  if (transfer.is_stopped) return {.kind = Kind::stopped, .code = Errc::internal, .why = {}};
  const std::string host = transfer.host();
  const std::string detail = transfer.message[0] != '\0' ? transfer.message.data() : curl().easy_strerror(code);
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
      return failed(Kind::passing, "the name " + host + " cannot be resolved (" + detail +
                                       "); check the URL and the name service of this device");
    case CURLE_COULDNT_RESOLVE_PROXY:
      return failed(Kind::passing, "the name of the proxy cannot be resolved (" + detail + "); check source.proxy");
    case CURLE_COULDNT_CONNECT:
      return failed(Kind::passing, "there is no connection to " + host + " (" + detail +
                                       "); check the network, and that the server runs");
    case CURLE_OPERATION_TIMEDOUT:
      return failed(Kind::passing,
                    host + " does not answer in time (" + detail + "); check the network, or raise source.timeout");
    case CURLE_PEER_FAILED_VERIFICATION:
      return failed(Kind::lasting, host + " does not prove who it is (" + detail +
                                       "); check source.ca, the server's certificate and the clock of this device");
    case CURLE_SSL_CACERT_BADFILE:
      return failed(Kind::lasting, "source.ca holds no usable certificates (" + detail + ")", Errc::config);
    case CURLE_SSL_CERTPROBLEM:
      return failed(Kind::lasting,
                    "source.client-certificate and source.client-key cannot be used (" + detail +
                        "); they must be PEM, belong together, and the key must not be encrypted",
                    Errc::config);
    case CURLE_TOO_MANY_REDIRECTS:
      return failed(Kind::lasting, host + " redirects more than " + std::to_string(Transfers::kRedirectsMax) +
                                       " times; check the URL");
    case CURLE_UNSUPPORTED_PROTOCOL:
      return failed(Kind::lasting, host + " redirects to where this is not followed (" + detail +
                                       "): only http and https are spoken, and https is not left for http");
    case CURLE_PARTIAL_FILE:
      return failed(Kind::cut_short, "the answer of " + host + " ended before its announced length",
                    Errc::source_truncated);
    case CURLE_OUT_OF_MEMORY:
      // libcurl says the same of both.
      return failed(Kind::lasting, host + " sends headers that are too long, or there is not enough memory");
    default:
      return failed(Kind::passing, "the connection to " + host + " failed (" + detail + "); check the network");
  }
}

class CurlTransfers final : public Transfers {
 public:
  CurlTransfers(Settings settings, CURLM* multi) : settings_(std::move(settings)), multi_(multi) {}
  ~CurlTransfers() override {
    for (auto& transfer : running_) remove(*transfer);
  }

  [[nodiscard]] Result<void> begin(const Request& request, TransferListener& listener) override {
    auto transfer = std::make_unique<Transfer>();
    transfer->listener = &listener;
    transfer->easy.reset(curl().easy_init());
    if (!transfer->easy) return make_error(Errc::internal, "libcurl has no handle to give");
    SK_TRY(set_options(*transfer, request));
    SK_TRY(multi_result(curl().multi_add_handle(multi_.get(), transfer->easy.get())));
    running_.push_back(std::move(transfer));
    return success();
  }

  void abandon(const TransferListener& listener) override {
    const auto found = find(listener);
    if (found == running_.end()) return;
    remove(**found);
    running_.erase(found);
  }

  [[nodiscard]] Result<void> resume(const TransferListener& listener) override {
    const auto found = find(listener);
    if (found == running_.end() || !(*found)->is_paused) return success();
    (*found)->is_paused = false;
    const CURLcode code = curl().easy_pause((*found)->easy.get(), CURLPAUSE_CONT);
    // What it handed over meanwhile may have stopped the request: then `perform` tells its end.
    if (code == CURLE_OK || code == CURLE_WRITE_ERROR) return success();
    return make_error(Errc::internal, std::string("libcurl: ") + curl().easy_strerror(code));
  }

  [[nodiscard]] Result<bool> perform() override {
    int still_running = 0;
    SK_TRY(multi_result(curl().multi_perform(multi_.get(), &still_running)));
    bool any_ended = false;
    int left = 0;
    while (const CURLMsg* message = curl().multi_info_read(multi_.get(), &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      end(message->easy_handle, message->data.result);
      any_ended = true;
    }
    return any_ended;
  }

  [[nodiscard]] Result<void> wait(milliseconds limit) override {
    const auto count = static_cast<int>(std::clamp(limit, milliseconds(0), kWaitMax).count());
    return multi_result(curl().multi_poll(multi_.get(), nullptr, 0, count, nullptr));
  }

  void wake() override {
    // Can only fail where there is nothing to write to; then a wait ends with its limit.
    static_cast<void>(curl().multi_wakeup(multi_.get()));
  }

 private:
  using Running = std::vector<std::unique_ptr<Transfer>>;

  [[nodiscard]] Running::iterator find(const TransferListener& listener) {
    return std::ranges::find_if(running_, [&](const auto& transfer) { return transfer->listener == &listener; });
  }

  void remove(Transfer& transfer) {
    // Only fails for handles that are not in there.
    static_cast<void>(curl().multi_remove_handle(multi_.get(), transfer.easy.get()));
  }

  void end(const CURL* easy, CURLcode code) {
    const auto found = std::ranges::find_if(running_, [&](const auto& each) { return each->easy.get() == easy; });
    SK_INVARIANT(found != running_.end());
    const auto transfer = std::move(*found);
    running_.erase(found);
    if (transfer->answer.host.empty()) transfer->answer.host = transfer->host();
    const TransferEnd how = translate(code, *transfer);
    remove(*transfer);
    transfer->listener->ended(transfer->answer, how);
  }

  [[nodiscard]] Result<void> set_options(Transfer& transfer, const Request& request) const {
    OptionSetter options(transfer.easy.get());
    SK_TRY(set_headers(transfer, request, options));
    options.set(CURLOPT_URL, settings_.url.c_str());
    options.set(CURLOPT_USERAGENT, settings_.agent.c_str());
    // One connection for each request in flight, and no second framing that could end early in its own ways.
    options.set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    options.set(CURLOPT_PROTOCOLS_STR, "http,https");
    options.set(CURLOPT_REDIR_PROTOCOLS_STR,
                part_of(settings_.url, CURLUPART_SCHEME) == "https" ? "https" : "http,https");
    options.set(CURLOPT_FOLLOWLOCATION, 1L);
    options.set(CURLOPT_MAXREDIRS, kRedirectsMax);
    options.set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(settings_.timeout.count()));
    options.set(CURLOPT_LOW_SPEED_LIMIT, kLowSpeedBytesPerSecond);
    options.set(CURLOPT_LOW_SPEED_TIME,
                static_cast<long>(std::chrono::ceil<std::chrono::seconds>(settings_.timeout).count()));
    options.set(CURLOPT_TCP_KEEPALIVE, 1L);
    options.set(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    // No signals in a library, and no waiting for a name server when nobody wants the answer any more.
    options.set(CURLOPT_NOSIGNAL, 1L);
    options.set(CURLOPT_QUICK_EXIT, 1L);
    options.set(CURLOPT_ERRORBUFFER, transfer.message.data());
    options.set(CURLOPT_HEADERFUNCTION, take_header);
    options.set(CURLOPT_HEADERDATA, &transfer);
    options.set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    options.set(CURLOPT_WRITEFUNCTION, take_body);
    options.set(CURLOPT_WRITEDATA, &transfer);
    // Both would otherwise be taken from the environment.
    options.set(CURLOPT_PROXY, settings_.proxy.c_str());
    options.set(CURLOPT_NOPROXY, "");
    set_identities(options);
    return options.result();
  }

  [[nodiscard]] static Result<void> set_headers(Transfer& transfer, const Request& request, OptionSetter& options) {
    // A body that somebody on the way compresses would have other offsets.
    std::vector<std::string> lines = {"Accept-Encoding: identity"};
    if (!request.condition.empty()) lines.push_back("If-Range: " + request.condition);
    for (const std::string& line : lines) {
      curl_slist* const longer = curl().slist_append(transfer.headers.get(), line.c_str());
      if (longer == nullptr) return make_error(Errc::internal, "there is not enough memory");
      static_cast<void>(transfer.headers.release());  // the longer list owns it
      transfer.headers.reset(longer);
    }
    options.set(CURLOPT_HTTPHEADER, transfer.headers.get());
    if (request.range) {
      const std::string range = std::to_string(request.range->begin) + "-" + std::to_string(request.range->end - 1);
      options.set(CURLOPT_RANGE, range.c_str());
    }
    return success();
  }

  /// Who the server must be and who we are.
  void set_identities(OptionSetter& options) const {
    options.set(CURLOPT_SSL_VERIFYPEER, 1L);
    options.set(CURLOPT_SSL_VERIFYHOST, 2L);
    options.set(CURLOPT_PROXY_SSL_VERIFYPEER, 1L);
    options.set(CURLOPT_PROXY_SSL_VERIFYHOST, 2L);
    options.set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    if (!settings_.ca_pem.empty()) {
      options.set_blob(CURLOPT_CAINFO_BLOB, settings_.ca_pem);
      // libcurl would look into the system's folder of certificates as well.
      options.set(CURLOPT_CAPATH, static_cast<const char*>(nullptr));
      options.set_blob(CURLOPT_PROXY_CAINFO_BLOB, settings_.ca_pem);
      options.set(CURLOPT_PROXY_CAPATH, static_cast<const char*>(nullptr));
    }
    if (!settings_.client_certificate_pem.empty()) {
      options.set_blob(CURLOPT_SSLCERT_BLOB, settings_.client_certificate_pem);
      options.set_blob(CURLOPT_SSLKEY_BLOB, settings_.client_key_pem);
      // Without it OpenSSL would ask on the terminal.
      options.set(CURLOPT_KEYPASSWD, "");
    }
  }

  Settings settings_;
  std::unique_ptr<CURLM, FreeMulti> multi_;
  Running running_;
};

}  // namespace

Result<std::unique_ptr<Transfers>> Transfers::make(Settings settings) {
  SK_TRY(load_curl());
  const std::string problem = url_problem(settings.url);
  if (!problem.empty()) return make_error(Errc::usage, "this is no URL that can be fetched: " + problem);
  std::unique_ptr<CURLM, FreeMulti> multi(curl().multi_init());
  if (!multi) return make_error(Errc::internal, "libcurl has no handle to give");
  SK_TRY(multi_result(curl().multi_setopt(multi.get(), CURLMOPT_MAXCONNECTS, kConnectionsKept)));
  return std::unique_ptr<Transfers>(std::make_unique<CurlTransfers>(std::move(settings), multi.release()));
}

}  // namespace slotkeeper
#endif

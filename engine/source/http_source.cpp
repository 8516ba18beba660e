// A bundle behind a URL.
#include "engine/source/http_source.hpp"

#include "engine/source/http_fetch.hpp"
#include "engine/source/location.hpp"

namespace slotkeeper {

#ifdef SLOTKEEPER_WITH_HTTP

namespace {

constexpr std::size_t kPemMaxBytes = 1 << 20;

class HttpSource final : public Source {
 public:
  HttpSource(std::string name, std::unique_ptr<HttpFetch> fetch) : name_(std::move(name)), fetch_(std::move(fetch)) {}

  [[nodiscard]] const std::string& name() const override { return name_; }
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override { return fetch_->size_bytes(); }
  [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, io::Bytes into) override {
    return fetch_->read(offset, into);
  }
  void expect(std::vector<ByteRange> ranges) override { fetch_->expect(ranges); }
  [[nodiscard]] Errc ends_early() const override { return Errc::source_truncated; }

 private:
  std::string name_;
  std::unique_ptr<HttpFetch> fetch_;
};

/// "" for a file that is not configured.
Result<std::string> read_pem(io::Storage& storage, const std::string& path, std::string_view key) {
  if (path.empty()) return std::string();
  auto text = storage.read_text(path, kPemMaxBytes);
  if (!text.has_value()) return std::move(text).assume_error().with_code(Errc::config).with_context(key);
  // An empty text would stand for the system's certificates, or for none of ours.
  if (text.assume_value().empty()) return make_error(Errc::config, std::string(key) + ": " + path + " is empty");
  return text;
}

}  // namespace

Result<std::unique_ptr<Source>> open_http_source(io::Storage& storage, const std::string& url,
                                                 const SourceSettings& settings, SourceCalls calls) {
  const std::string name = printable_location(url);
  Transfers::Settings line{.url = url,
                           .ca_pem = {},
                           .client_certificate_pem = {},
                           .client_key_pem = {},
                           .proxy = settings.proxy,
                           .timeout = settings.timeout,
                           .agent = "Slotkeeper/" SLOTKEEPER_VERSION};
  SK_TRY_ASSIGN(line.ca_pem, read_pem(storage, settings.ca, "source.ca"));
  SK_TRY_ASSIGN(line.client_certificate_pem,
                read_pem(storage, settings.client_certificate, "source.client-certificate"));
  SK_TRY_ASSIGN(line.client_key_pem, read_pem(storage, settings.client_key, "source.client-key"));
  SK_TRY_ASSIGN(auto transfers, with_context(Transfers::make(std::move(line)), name));
  auto fetch = std::make_unique<HttpFetch>(
      std::move(transfers), HttpFetch::Manners{.max_rate = settings.max_rate, .retries = settings.retries},
      std::move(calls));
  SK_TRY(with_context(fetch->open(), name));
  return std::unique_ptr<Source>(std::make_unique<HttpSource>(name, std::move(fetch)));
}

#else

Result<std::unique_ptr<Source>> open_http_source(io::Storage&, const std::string& url, const SourceSettings&,
                                                 SourceCalls) {
  return make_error(Errc::not_supported_yet,
                    "bundles from a URL (" + printable_location(url) + "): built without SLOTKEEPER_WITH_HTTP");
}

#endif

}  // namespace slotkeeper

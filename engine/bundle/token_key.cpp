// Keys on PKCS#11 tokens, by OpenSSL's engine `pkcs11` (libp11). The one file that uses engines: OpenSSL 3 has
// deprecated them for providers, but Debian 12 has no provider for PKCS#11 yet.
#define OPENSSL_SUPPRESS_DEPRECATED

#include <cstdlib>

#include <openssl/engine.h>
#include <openssl/ui.h>

#include "engine/bundle/signing_key.hpp"

namespace slotkeeper::bundle {

#ifdef SLOTKEEPER_WITH_PKCS11
namespace {

constexpr const char* kPinVariable = "SLOTKEEPER_PIN";

using EnginePointer = std::shared_ptr<ENGINE>;

Error token_error(const std::string& message) {
  const std::string why = take_openssl_errors();
  return make_error(Errc::config, why.empty() ? message : message + " (" + why + ")");
}

void end_engine(ENGINE* engine) {
  ENGINE_finish(engine);
  ENGINE_free(engine);
}

/// The module is the one of p11-kit, or $PKCS11_MODULE_PATH, which the engine reads itself.
Result<EnginePointer> start_engine() {
  ENGINE_load_dynamic();
  ENGINE* engine = ENGINE_by_id("pkcs11");
  if (engine == nullptr) {
    return token_error("this OpenSSL has no engine for PKCS#11; install libengine-pkcs11-openssl");
  }
  // Before it logs in. Without it the PIN is that of the URI's pin-source, or there is none.
  const char* pin = std::getenv(kPinVariable);
  const bool is_ready =
      (pin == nullptr || ENGINE_ctrl_cmd_string(engine, "PIN", pin, 0) == 1) && ENGINE_init(engine) == 1;
  if (!is_ready) {
    ENGINE_free(engine);
    return token_error("the engine for PKCS#11 cannot be started");
  }
  return EnginePointer(engine, end_engine);
}

}  // namespace

Result<SigningKey> open_token_key(const std::string& uri) {
  // Everybody on the machine reads command lines, and shells keep them.
  if (uri.find("pin-value=") != std::string::npos) {
    return make_error(Errc::config,
                      "a PIN does not belong on a command line: put it into a file (pin-source=/path in the "
                      "URI) or into the variable " +
                          std::string(kPinVariable));
  }
  SK_TRY_ASSIGN(const auto engine, start_engine());
  // No prompt: a missing PIN is an error, not a program that waits.
  KeyPointer key(ENGINE_load_private_key(engine.get(), uri.c_str(), const_cast<UI_METHOD*>(UI_null()), nullptr));
  if (!key) {
    return token_error(
        "the key is not on a PKCS#11 token that is there, or its PIN is missing or wrong (pin-source=/path "
        "in the URI, or the variable " +
        std::string(kPinVariable) + ")");
  }
  return SigningKey{.keeper = engine, .key = std::move(key)};
}

#else

Result<SigningKey> open_token_key(const std::string&) {
  return make_error(Errc::not_supported_yet, "this program was built without keys on PKCS#11 tokens");
}

#endif

}  // namespace slotkeeper::bundle

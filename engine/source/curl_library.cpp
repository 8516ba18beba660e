#ifdef SLOTKEEPER_WITH_HTTP
#include "engine/source/curl_library.hpp"

#include <dlfcn.h>
#include <string>

namespace slotkeeper {
namespace {

constexpr const char* kFileName = "libcurl.so.4";

struct Loaded {
  CurlLibrary functions;
  Result<void> result = success();

  Loaded() : result(load()) {}

 private:
  [[nodiscard]] Result<void> load() {
    void* const library = dlopen(kFileName, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return missing("cannot be loaded");
#define SLOTKEEPER_CURL_FIND(name)                                                            \
  functions.name = reinterpret_cast<decltype(functions.name)>(dlsym(library, "curl_" #name)); \
  if (functions.name == nullptr) return missing("is too old");
    SLOTKEEPER_CURL_FUNCTIONS(SLOTKEEPER_CURL_FIND)
#undef SLOTKEEPER_CURL_FIND
    if (const CURLcode code = functions.global_init(CURL_GLOBAL_DEFAULT); code != CURLE_OK) {
      return make_error(Errc::internal, std::string("libcurl cannot be used: ") + functions.easy_strerror(code));
    }
    return success();
  }

  [[nodiscard]] static Error missing(const char* how) {
    const char* const why = dlerror();  // NOLINT(concurrency-mt-unsafe): glibc keeps one for each thread
    return make_error(Errc::not_supported_yet, std::string("bundles from a URL need libcurl, which ") + how + " (" +
                                                   (why == nullptr ? kFileName : why) +
                                                   "); install it, or fetch the bundle and name the file");
  }
};

const Loaded& loaded() {
  static const Loaded once;
  return once;
}

}  // namespace

Result<void> load_curl() { return loaded().result; }

const CurlLibrary& curl() { return loaded().functions; }

}  // namespace slotkeeper
#endif

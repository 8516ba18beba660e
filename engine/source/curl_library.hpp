// libcurl, loaded when a URL is opened first and not before: it and what it needs take 4 MiB and several milliseconds,
// and most runs, of them every `recover` at boot, need neither. A device that is updated from files does not need
// libcurl.
#pragma once

#include <curl/curl.h>

#include "partitions/io/result.hpp"

namespace slotkeeper {

/// The functions that we use, by their names without "curl_".
#define SLOTKEEPER_CURL_FUNCTIONS(function)                                                                           \
  function(easy_cleanup) function(easy_getinfo) function(easy_init) function(easy_pause) function(easy_setopt)        \
      function(easy_strerror) function(free) function(global_init) function(multi_add_handle) function(multi_cleanup) \
          function(multi_info_read) function(multi_init) function(multi_perform) function(multi_poll)                 \
              function(multi_remove_handle) function(multi_setopt) function(multi_strerror) function(multi_wakeup)    \
                  function(slist_append) function(slist_free_all) function(url) function(url_cleanup)                 \
                      function(url_get) function(url_set) function(url_strerror)

struct CurlLibrary {
#define SLOTKEEPER_CURL_MEMBER(name) decltype(&::curl_##name) name = nullptr;
  SLOTKEEPER_CURL_FUNCTIONS(SLOTKEEPER_CURL_MEMBER)
#undef SLOTKEEPER_CURL_MEMBER
};

/// Loads and initialises the library; once in a process, and never undone, because another part of it may use libcurl,
/// too. May be called by any thread. Errors: not_supported_yet (not there, or too old), internal.
[[nodiscard]] Result<void> load_curl();

/// What `load_curl` has loaded.
[[nodiscard]] const CurlLibrary& curl();

}  // namespace slotkeeper

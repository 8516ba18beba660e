// How bundles are fetched from a URL: the table `[source]` of the configuration.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "partitions/io/result.hpp"

namespace slotkeeper {

struct SourceSettings {
  std::string ca;                             ///< PEM file; nobody else is trusted then. "": whom the system trusts
  std::string client_certificate;             ///< PEM file
  std::string client_key;                     ///< PEM file
  std::string proxy;                          ///< URL; "": none, whatever the environment says
  std::optional<std::uint64_t> max_rate;      ///< bytes per second, all requests together
  std::chrono::milliseconds timeout{30'000};  ///< to connect, and for a line on which nothing comes
  std::uint32_t retries = 8;                  ///< of one request in a row, before the source counts as unreachable
};

/// What a source calls while it waits for the line, always from the thread that reads. Both may be empty.
struct SourceCalls {
  /// Ends the waiting with this error; asked several times a second.
  std::function<Result<void>()> check_cancelled;
  /// One sentence about the line: a failure that is tried again.
  std::function<void(std::string_view)> notice;
};

}  // namespace slotkeeper

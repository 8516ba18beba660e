// The one rule about configuration that changes while an update secures it: it is secured again a bounded number of
// times; then the update ends, as `config-busy` while nothing is staged and as `config-drift` from staging on. What is
// of kind state or log may change at any time.
#pragma once

#include <string>
#include <vector>

#include "engine/transaction/device.hpp"
#include "partitions/permanent/drift.hpp"

namespace slotkeeper {

inline constexpr int kSecuringRetriesMax = 3;                           ///< in one step
inline constexpr auto kSecuringPause = std::chrono::milliseconds(200);  ///< before the first retry; doubles with each
inline constexpr auto kStandstill = std::chrono::milliseconds(100);     ///< without an edit, before anything is staged

/// How often one step has secured the configuration again.
struct SecuringRetries {
  int made = 0;
};

/// The paths that an error names under "paths"; empty where it names none.
[[nodiscard]] std::vector<std::string> paths_of(const Error& error);

/// The error of configuration that does not come to rest: config_busy or config_drift by the state of the transaction,
/// with the paths in detail "paths" and the first of them in the message.
[[nodiscard]] Error drift_error(const Device& device, const std::vector<std::string>& paths, int attempts);

/// Waits a little and takes the first generation again, because these paths changed.
/// Durable: as `take_generation`; the record with its facts.
/// Errors: drift_error once kSecuringRetriesMax is reached; those of `take_generation`.
[[nodiscard]] Result<void> secure_again(Device& device, const std::vector<std::string>& paths,
                                        SecuringRetries& retries);

/// Hashes the configuration and compares it with the first generation, which it takes again until they are equal.
/// Errors: as secure_again; sync_failed, io_error, cancelled.
[[nodiscard]] Result<permanent::DriftWatch> settle(Device& device, SecuringRetries& retries);

/// Settles, and waits until nothing is edited for kStandstill. Errors: as settle.
[[nodiscard]] Result<void> await_standstill(Device& device, SecuringRetries& retries);

}  // namespace slotkeeper

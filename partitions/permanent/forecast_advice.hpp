// What a technician can do when a forecast says no: how much to free, which files may go, and what must stay.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "partitions/permanent/compaction.hpp"
#include "partitions/permanent/forecast.hpp"
#include "partitions/permanent/inventory.hpp"

namespace slotkeeper::permanent {

inline constexpr std::size_t kAdvisedFilesMax = 5;

struct RemovableFile {
  std::string path;  ///< raw bytes
  std::string class_name;
  std::uint64_t bytes = 0;  ///< still allocated after compaction
  bool operator==(const RemovableFile&) const = default;
};

struct StayingClass {
  std::string name;
  ClassKind kind = ClassKind::config;
  ClassTotals totals;
};

struct Advice {
  Amount to_free;                    ///< nothing where every gate of the forecast passes
  std::vector<RemovableFile> files;  ///< the largest that may go, largest first: as many as it takes, or the most shown
  Amount removable;                  ///< of all files that may go, shown or not
  std::vector<StayingClass> staying;  ///< classes that must not be touched, fullest first
  [[nodiscard]] bool is_enough() const {
    return removable.bytes >= to_free.bytes && removable.inodes >= to_free.inodes;
  }
};

/// May go: logs of kind `log`, which an operator may delete once they are exported, and what is left of `disposable`.
/// Must stay: configuration, state and security logs.
[[nodiscard]] Advice advise(const Forecast& forecast, const ClassTable& classes, const CompactionPlan& plan);

/// One sentence without the full stop; empty where nothing has to be freed. Paths are raw bytes.
[[nodiscard]] std::string sentence_of(const Advice& advice);

}  // namespace slotkeeper::permanent

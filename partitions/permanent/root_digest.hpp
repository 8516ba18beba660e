// The one checksum over the configuration, and the one over configuration and state: the same whether the entries are
// walked on the partition or read from a snapshot. The serialisation stands in engine/DESIGN.md.
#pragma once

#include <string>

#include "partitions/digest.hpp"
#include "partitions/permanent/inventory.hpp"

namespace slotkeeper::permanent {

struct Roots {
  Sha256 config;
  Sha256 with_state;
  bool operator==(const Roots&) const = default;
};

/// Takes the entries in the order of an inventory; those that are not protected are passed over.
class RootDigest {
 public:
  RootDigest();
  /// `entry.digest` must be set on regular files.
  void add(const Entry& entry);
  [[nodiscard]] Roots finish();

 private:
  Sha256Stream config_;
  Sha256Stream with_state_;
};

/// The bytes that stand for one entry in a root.
[[nodiscard]] std::string serialise(const Entry& entry);

}  // namespace slotkeeper::permanent

#include "partitions/permanent/inventory.hpp"

#include "partitions/permanent/paths.hpp"

namespace slotkeeper::permanent {

std::vector<bool> snapshot_members(const EntryList& entries) {
  std::vector<bool> members(entries.size(), false);
  for (std::size_t i = 0; i < entries.size(); ++i) members[i] = is_protected(entries.kind(i));
  // Each protected entry makes its directory a member, which makes its own directory one; from the last entry to the
  // first, so that every directory comes after what is in it.
  for (std::size_t i = entries.size(); i-- > 0;) {
    if (!members[i]) continue;
    if (const auto parent = entries.find(parent_of(entries.path(i)))) members[*parent] = true;
  }
  return members;
}

}  // namespace slotkeeper::permanent

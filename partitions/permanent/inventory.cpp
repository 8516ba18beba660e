#include "partitions/permanent/inventory.hpp"

#include "partitions/permanent/paths.hpp"
#include "partitions/permanent/root_digest.hpp"

namespace slotkeeper::permanent {
namespace {

/// True when both stand for the same thing in a root. Where contents were not read, the time of the last change is what
/// there is to tell them apart by.
bool same_entry(const Entry& a, const Entry& b) {
  if (a.status.type != io::EntryType::regular || b.status.type != io::EntryType::regular || (a.digest && b.digest)) {
    return a.status.type == b.status.type && serialise(a) == serialise(b);
  }
  Entry left = a;
  Entry right = b;
  left.digest = right.digest = Sha256{};
  return a.status.modified == b.status.modified && serialise(left) == serialise(right);
}

}  // namespace

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

std::vector<std::string> differing_paths(const Inventory& before, const Inventory& after, bool with_state,
                                         std::size_t limit) {
  const EntryList& old_entries = before.entries;
  const EntryList& new_entries = after.entries;
  const auto counts = [&](ClassKind kind) {
    return kind == ClassKind::config || (with_state && kind == ClassKind::state);
  };
  std::vector<std::string> paths;
  const auto add = [&](const EntryList& entries, std::size_t index) {
    if (counts(entries.kind(index))) paths.emplace_back(entries.path(index));
  };
  std::size_t o = 0;
  std::size_t n = 0;
  while (paths.size() < limit && (o < old_entries.size() || n < new_entries.size())) {
    if (n == new_entries.size() || (o < old_entries.size() && path_before(old_entries.path(o), new_entries.path(n)))) {
      add(old_entries, o++);
    } else if (o == old_entries.size() || path_before(new_entries.path(n), old_entries.path(o))) {
      add(new_entries, n++);
    } else {
      const bool both_count = counts(old_entries.kind(o)) && counts(new_entries.kind(n));
      const bool differs = both_count ? !same_entry(old_entries[o], new_entries[n])
                                      : counts(old_entries.kind(o)) != counts(new_entries.kind(n));
      if (differs) paths.emplace_back(old_entries.path(o));
      ++o;
      ++n;
    }
  }
  return paths;
}

}  // namespace slotkeeper::permanent

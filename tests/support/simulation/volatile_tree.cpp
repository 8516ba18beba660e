#include "tests/support/simulation/volatile_tree.hpp"

#include <algorithm>

namespace slotkeeper::test {
namespace {

bool has_sector(std::uint64_t mask, std::size_t sector) { return (mask >> (sector % 64) & 1U) != 0; }

std::uint64_t next_garbage(std::uint64_t& state) {
  state += 0x9E3779B97F4A7C15U;
  std::uint64_t value = state;
  value = (value ^ value >> 30U) * 0xBF58476D1CE4E5B9U;
  return value ^ value >> 27U;
}

/// The pieces of a write or fill that a disk takes or loses as a whole: `piece(sector, offset, length)`.
template <class F>
void for_each_sector(const Change& change, const F& piece) {
  std::size_t sector = 0;
  const std::uint64_t end = change.offset + change.length;
  for (std::uint64_t at = change.offset; at < end; ++sector) {
    const std::uint64_t length = std::min(end - at, kSimulatedSectorBytes - at % kSimulatedSectorBytes);
    piece(sector, at, length);
    at += length;
  }
}

void apply_contents(Node& node, const Change& change, const Fate& fate, std::uint64_t garbage) {
  const std::uint64_t size = node.contents.size();
  const auto store = [&](std::uint64_t at, std::uint64_t length) {
    // What lies beyond a size that was lost does not show.
    if (at >= size) return;
    length = std::min(length, size - at);
    if (change.data) {
      node.contents.write(at, io::ConstBytes(*change.data).subspan(at - change.offset, length));
    } else {
      node.contents.fill(at, length, change.value);
    }
  };
  if (fate.kind == Fate::Kind::kept) {
    store(change.offset, change.length);
  } else {
    for_each_sector(change, [&](std::size_t sector, std::uint64_t at, std::uint64_t length) {
      const bool named = has_sector(fate.sectors, sector);
      if (fate.kind == Fate::Kind::torn ? named : !named) return store(at, length);
      if (fate.kind != Fate::Kind::trashed || at >= size) return;
      std::vector<std::byte> noise(std::min(length, size - at));
      for (std::byte& byte : noise) byte = static_cast<std::byte>(next_garbage(garbage));
      node.contents.write(at, noise);
    });
  }
  if (node.type == io::EntryType::regular) node.modified = change.modified;
}

void apply_names(FileTree& tree, const Change& change, const Fate& fate) {
  std::size_t count = change.names.size();
  if (fate.kind == Fate::Kind::torn && !change.is_whole) count = std::min<std::size_t>(count, 1);
  for (std::size_t i = 0; i < count; ++i) {
    const Change::Name& name = change.names[i];
    if (!tree.exists(name.directory)) continue;
    Node& directory = tree.edit(name.directory);
    if (change.modified != io::TimeStamp{}) directory.modified = change.modified;
    if (name.node == 0) {
      directory.entries.erase(name.name);
    } else {
      directory.entries[name.name] = name.node;
    }
  }
}

}  // namespace

std::size_t Change::sectors() const {
  if (!has_contents() || length == 0) return 0;
  return static_cast<std::size_t>((offset + length - 1) / kSimulatedSectorBytes - offset / kSimulatedSectorBytes + 1);
}

std::string Change::describe() const {
  switch (kind) {
    case Kind::write:
    case Kind::fill:
      return "node " + std::to_string(node) + ": " + std::to_string(sectors()) + " sectors at " +
             std::to_string(offset);
    case Kind::punch:
      return "node " + std::to_string(node) + ": hole at " + std::to_string(offset);
    case Kind::allocate:
      return "node " + std::to_string(node) + ": blocks at " + std::to_string(offset);
    case Kind::size:
      return "node " + std::to_string(node) + ": size " + std::to_string(length);
    case Kind::owner:
      return "node " + std::to_string(node) + ": owner";
    case Kind::mode:
      return "node " + std::to_string(node) + ": mode";
    case Kind::times:
      return "node " + std::to_string(node) + ": times";
    case Kind::attribute:
      return "node " + std::to_string(node) + ": " + attribute;
    case Kind::names:
      break;
  }
  std::string text = "names";
  for (const Name& one : names) text += " " + one.name + (one.node == 0 ? " gone" : "=" + std::to_string(one.node));
  return text;
}

NodeNumber VolatileTree::create(Node node) {
  const NodeNumber number = std::max(seen_.next_number(), durable_.next_number());
  Node empty = node;
  empty.links = 0;
  durable_.put(number, std::move(empty));
  seen_.put(number, std::move(node));
  return number;
}

void VolatileTree::make(Change change) {
  apply(seen_, change, {.kind = Fate::Kind::kept}, 0);
  if (change.kind == Change::Kind::names) {
    for (const Change::Name& name : change.names) ++seen_.edit(name.directory).changed;
  } else {
    ++seen_.edit(change.node).changed;
  }
  pending_.push_back(std::move(change));
  ++version_;
}

void VolatileTree::forget(NodeNumber node) {
  // Its name may still lead to it after a power cut, so only what a program sees goes.
  if (seen_.exists(node)) seen_.remove(node);
}

void VolatileTree::count_link(NodeNumber node, int by) {
  Node& counted = seen_.edit(node);
  counted.links = static_cast<std::uint64_t>(static_cast<std::int64_t>(counted.links) + by);
  ++counted.changed;
}

template <class F>
void VolatileTree::keep_where(const F& is_kept) {
  std::vector<Change> rest;
  rest.reserve(pending_.size());
  for (Change& change : pending_) {
    if (change.kind != Change::Kind::names) {
      if (is_kept(change.node)) {
        apply(durable_, change, {.kind = Fate::Kind::kept}, 0);
      } else {
        rest.push_back(std::move(change));
      }
      continue;
    }
    const auto kept = [&](const Change::Name& name) { return is_kept(name.directory); };
    const bool others_kept = std::any_of(change.names.begin() + 1, change.names.end(), kept);
    const bool all_kept =
        std::ranges::all_of(change.names, kept) || others_kept || (change.is_whole && kept(change.names.front()));
    if (all_kept) {
      apply(durable_, change, {.kind = Fate::Kind::kept}, 0);
    } else if (kept(change.names.front())) {
      apply(durable_, change, {.kind = Fate::Kind::torn}, 0);
      change.names.erase(change.names.begin());
      rest.push_back(std::move(change));
    } else {
      rest.push_back(std::move(change));
    }
  }
  if (rest.size() != pending_.size()) ++version_;
  pending_ = std::move(rest);
}

void VolatileTree::sync(NodeNumber node) {
  keep_where([node](NodeNumber number) { return number == node; });
}
void VolatileTree::sync_filesystem(std::uint32_t filesystem) {
  keep_where([&](NodeNumber number) { return durable_.at(number).filesystem == filesystem; });
}
void VolatileTree::sync_all() {
  keep_where([](NodeNumber) { return true; });
  seen_.drop_unreachable();
  durable_ = seen_;
}

void VolatileTree::crash(const std::vector<Fate>& fates, std::uint64_t garbage_seed) {
  restart_with(after_crash(fates, garbage_seed));
}

FileTree VolatileTree::after_crash(const std::vector<Fate>& fates, std::uint64_t garbage_seed) const {
  FileTree tree = durable_;
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    if (fates[i].kind == Fate::Kind::lost) continue;
    apply(tree, pending_[i], fates[i], garbage_seed * 1'000'003 + i);
  }
  tree.drop_unreachable();
  return tree;
}

void VolatileTree::restart_with(FileTree tree) {
  pending_.clear();
  durable_ = std::move(tree);
  seen_ = durable_;
}

void VolatileTree::apply(FileTree& tree, const Change& change, const Fate& fate, std::uint64_t garbage) {
  if (change.kind == Change::Kind::names) return apply_names(tree, change, fate);
  if (!tree.exists(change.node)) return;
  Node& node = tree.edit(change.node);
  switch (change.kind) {
    case Change::Kind::write:
    case Change::Kind::fill:
      apply_contents(node, change, fate, garbage);
      break;
    case Change::Kind::punch:
      node.contents.punch(change.offset, change.length);
      break;
    case Change::Kind::allocate:
      if (change.offset < node.contents.size()) {
        node.contents.allocate(change.offset, std::min(change.length, node.contents.size() - change.offset));
      }
      break;
    case Change::Kind::size:
      node.contents.resize(change.length);
      node.modified = change.modified;
      break;
    case Change::Kind::owner:
      node.owner = change.owner;
      node.group = change.group;
      break;
    case Change::Kind::mode:
      node.mode = change.mode;
      break;
    case Change::Kind::times:
      node.accessed = change.accessed;
      node.modified = change.modified;
      break;
    case Change::Kind::attribute:
      if (change.attribute_value) {
        node.attributes[change.attribute] = *change.attribute_value;
      } else {
        node.attributes.erase(change.attribute);
      }
      break;
    case Change::Kind::names:
      break;
  }
}

}  // namespace slotkeeper::test

#include "tests/support/simulation/model_check.hpp"

#include <algorithm>
#include <array>
#include <set>

namespace slotkeeper::test {
namespace {

constexpr std::size_t kPage = PagedBytes::kPageBytes;
/// Of one sector; more come from many small writes into it. Then each byte is looked at for itself.
constexpr std::size_t kValuesMax = 256;

/// All values that one sector may have: the durable one, changed by any of the pending changes, in their order.
class SectorValues {
 public:
  SectorValues(std::uint64_t begin, std::string durable) : begin_(begin), values_{durable}, bytes_(durable.size()) {
    for (std::size_t i = 0; i < durable.size(); ++i) bytes_[i].insert(durable[i]);
  }

  void may_be_changed_by(const Change& change) {
    for (const std::string& value : std::set<std::string>(values_)) {
      std::string changed = value;
      apply(change, changed);
      for (std::size_t i = 0; i < changed.size(); ++i) bytes_[i].insert(changed[i]);
      if (values_.size() <= kValuesMax) values_.insert(std::move(changed));
    }
  }

  [[nodiscard]] bool allows(const std::string& found) const {
    if (values_.size() <= kValuesMax) return values_.contains(found);
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (!bytes_[i].contains(found[i])) return false;
    }
    return true;
  }

 private:
  void apply(const Change& change, std::string& value) const {
    const std::uint64_t end = begin_ + value.size();
    if (change.kind == Change::Kind::size) {
      // What a smaller size cuts off is zeros when the file grows again.
      const std::uint64_t from = std::clamp(change.length, begin_, end);
      std::fill(value.begin() + static_cast<std::ptrdiff_t>(from - begin_), value.end(), '\0');
      return;
    }
    for (std::uint64_t at = std::max(begin_, change.offset); at < std::min(end, change.offset + change.length); ++at) {
      char byte = static_cast<char>(change.value);
      if (change.kind == Change::Kind::punch) byte = '\0';
      if (change.data) byte = static_cast<char>((*change.data)[at - change.offset]);
      value[at - begin_] = byte;
    }
  }

  std::uint64_t begin_;
  std::set<std::string> values_;
  std::vector<std::set<char>> bytes_;
};

/// The pending changes of one file or device.
class ContentsCheck {
 public:
  ContentsCheck(const Node& durable, const std::vector<const Change*>& pending) : durable_(durable), pending_(pending) {
    for (const Change* const change : pending) {
      const bool has_range = change->has_contents() || change->kind == Change::Kind::punch;
      if (!has_range || change->length == 0) continue;
      const std::uint64_t last = (change->offset + change->length - 1) / kSimulatedSectorBytes;
      for (std::uint64_t sector = change->offset / kSimulatedSectorBytes; sector <= last; ++sector) {
        changes_[sector].push_back(change);
      }
    }
  }

  [[nodiscard]] std::vector<std::string> run(const PagedBytes& found, const std::string& name) const {
    std::vector<std::string> problems;
    std::set<std::uint64_t> sizes = {durable_.contents.size()};
    for (const Change* const change : pending_) {
      if (change->kind == Change::Kind::size) sizes.insert(change->length);
    }
    if (!sizes.contains(found.size())) {
      problems.push_back(name + ": no size was ever " + std::to_string(found.size()) + " bytes");
    }
    std::array<std::byte, kPage> was{};
    std::array<std::byte, kPage> is{};
    for (std::uint64_t at = 0; at < found.size() && problems.empty(); at += kPage) {
      was.fill(std::byte{});
      is.fill(std::byte{});
      const std::size_t length = found.read(at, is);
      durable_.contents.read(at, io::Bytes(was).first(length));
      if (was != is) run_page(at, io::ConstBytes(was).first(length), io::ConstBytes(is).first(length), name, problems);
    }
    return problems;
  }

 private:
  void run_page(std::uint64_t at, io::ConstBytes was, io::ConstBytes is, const std::string& name,
                std::vector<std::string>& problems) const {
    for (std::size_t in_page = 0; in_page < is.size(); in_page += kSimulatedSectorBytes) {
      const std::size_t length = std::min<std::size_t>(kSimulatedSectorBytes, is.size() - in_page);
      const std::string found(io::as_text(is.subspan(in_page, length)));
      SectorValues values(at + in_page, std::string(io::as_text(was.subspan(in_page, length))));
      for (const Change* const change : changes_at(at + in_page, length)) values.may_be_changed_by(*change);
      if (values.allows(found)) continue;
      problems.push_back(name + ": the sector at " + std::to_string(at + in_page) + " holds what nobody wrote there");
      return;
    }
  }

  [[nodiscard]] std::vector<const Change*> changes_at(std::uint64_t begin, std::uint64_t length) const {
    std::vector<const Change*> changes;
    if (const auto found = changes_.find(begin / kSimulatedSectorBytes); found != changes_.end()) {
      changes = found->second;
    }
    for (const Change* const change : pending_) {
      if (change->kind == Change::Kind::size && change->length < begin + length) changes.push_back(change);
    }
    std::ranges::sort(changes);  // all lie in one array, in their order
    return changes;
  }

  const Node& durable_;
  const std::vector<const Change*>& pending_;
  std::map<std::uint64_t, std::vector<const Change*>> changes_;  ///< by sector
};

/// A name in a directory, and everything that it was made to lead to.
using Slot = std::pair<NodeNumber, std::string>;
struct SlotEvent {
  std::ptrdiff_t change = -1;  ///< index of the pending change; -1: durable
  NodeNumber node = 0;
};

class ModelCheck {
 public:
  ModelCheck(const VolatileTree& model, const FileTree& found, const ModelCheckOptions& options)
      : durable_(model.durable()), pending_(model.pending()), found_(found), options_(options) {
    for (std::size_t i = 0; i < pending_.size(); ++i) {
      const Change& change = pending_[i];
      if (change.kind != Change::Kind::names) {
        of_node_[change.node].push_back(&change);
        continue;
      }
      for (const Change::Name& name : change.names) {
        of_slot_[{name.directory, name.name}].push_back({static_cast<std::ptrdiff_t>(i), name.node});
        of_node_[name.directory].push_back(&change);
      }
    }
  }

  [[nodiscard]] std::vector<std::string> run() {
    std::vector<std::string> problems = compare(kRootNode, options_.top, ".");
    if (!problems.empty()) return problems;
    note_slots(kRootNode, options_.top, ".");
    check_names_together(problems);
    check_links(problems);
    return problems;
  }

 private:
  [[nodiscard]] const std::vector<const Change*>& pending_of(NodeNumber node) const {
    static const std::vector<const Change*> none;
    const auto changes = of_node_.find(node);
    return changes == of_node_.end() ? none : changes->second;
  }

  [[nodiscard]] std::vector<SlotEvent> events_of(const Slot& slot) const {
    const auto& entries = durable_.at(slot.first).entries;
    const auto entry = entries.find(slot.second);
    std::vector<SlotEvent> events = {{.change = -1, .node = entry == entries.end() ? 0 : entry->second}};
    if (const auto pending = of_slot_.find(slot); pending != of_slot_.end()) {
      events.insert(events.end(), pending->second.begin(), pending->second.end());
    }
    return events;
  }

  /// The names that the directory has, had, or may have.
  [[nodiscard]] std::set<std::string> names_in(NodeNumber found, NodeNumber node) const {
    std::set<std::string> names;
    for (const auto& [name, child] : found_.at(found).entries) names.insert(name);
    for (const auto& [name, child] : durable_.at(node).entries) names.insert(name);
    for (auto slot = of_slot_.lower_bound({node, ""}); slot != of_slot_.end() && slot->first.first == node; ++slot) {
      names.insert(slot->first.second);
    }
    return names;
  }

  [[nodiscard]] NodeNumber child_of(NodeNumber found, const std::string& name) const {
    const auto& entries = found_.at(found).entries;
    const auto entry = entries.find(name);
    return entry == entries.end() ? 0 : entry->second;
  }

  /// What the name may lead to, of that which was found there: 0 for nothing.
  [[nodiscard]] std::set<NodeNumber> fitting(NodeNumber child, const Slot& slot, const std::string& path) {
    std::set<NodeNumber> nodes;
    for (const SlotEvent& event : events_of(slot)) {
      if (child == 0 ? event.node == 0 : event.node != 0 && compare(child, event.node, path).empty()) {
        nodes.insert(event.node);
      }
    }
    return nodes;
  }

  /// Why what was found is not this node; each pair is compared once.
  const std::vector<std::string>& compare(NodeNumber found, NodeNumber node, const std::string& path) {
    const auto known = compared_.find({found, node});
    if (known != compared_.end()) return known->second;
    std::vector<std::string> problems;
    if (!durable_.exists(node)) {
      problems.push_back(path + ": was never on the disk");
    } else if (found_.at(found).type != durable_.at(node).type) {
      problems.push_back(path + ": is of another type");
    } else {
      compare_attributes(found_.at(found), node, path, problems);
      compare_bytes(found_.at(found), node, path, problems);
      if (durable_.at(node).type == io::EntryType::directory) compare_entries(found, node, path, problems);
    }
    return compared_[{found, node}] = std::move(problems);
  }

  void compare_entries(NodeNumber found, NodeNumber node, const std::string& path, std::vector<std::string>& problems) {
    for (const std::string& name : names_in(found, node)) {
      const NodeNumber child = child_of(found, name);
      const std::string full = path + "/" + name;
      if (!fitting(child, {node, name}, full).empty()) continue;
      const auto events = events_of({node, name});
      if (child == 0) {
        problems.push_back(full + ": is gone");
      } else if (std::ranges::all_of(events, [](const SlotEvent& event) { return event.node == 0; })) {
        problems.push_back(full + ": there was never such a name, or it is back");
      } else {
        for (const SlotEvent& event : events) {
          if (event.node == 0) continue;
          const auto& reasons = compare(child, event.node, full);
          problems.insert(problems.end(), reasons.begin(), reasons.end());
        }
      }
    }
  }

  [[nodiscard]] bool is_time(io::TimeStamp found, io::TimeStamp allowed) const {
    if (found == allowed) return true;
    if (found < options_.clock_from || allowed < options_.clock_from) return false;
    return std::abs(found.seconds - allowed.seconds) <= kClockSlackSeconds;
  }

  [[nodiscard]] bool is_time_of(const Change& change, io::TimeStamp found) const {
    const bool sets_time = change.has_contents() || change.kind == Change::Kind::size ||
                           change.kind == Change::Kind::times || change.kind == Change::Kind::names;
    return sets_time && is_time(found, change.modified);
  }

  void compare_attributes(const Node& found, NodeNumber node, const std::string& path,
                          std::vector<std::string>& problems) const {
    const Node& durable = durable_.at(node);
    const auto& pending = pending_of(node);
    const auto any = [&](const auto& fits) {
      return std::ranges::any_of(pending, [&](const Change* change) { return fits(*change); });
    };
    if ((found.owner != durable.owner || found.group != durable.group) && !any([&](const Change& change) {
          return change.kind == Change::Kind::owner && change.owner == found.owner && change.group == found.group;
        })) {
      problems.push_back(path + ": belongs to " + std::to_string(found.owner) + ":" + std::to_string(found.group));
    }
    if (found.mode != durable.mode &&
        !any([&](const Change& change) { return change.kind == Change::Kind::mode && change.mode == found.mode; })) {
      problems.push_back(path + ": has mode " + std::to_string(found.mode));
    }
    if (!is_time(found.modified, durable.modified) &&
        !any([&](const Change& change) { return is_time_of(change, found.modified); })) {
      problems.push_back(path + ": was changed at " + std::to_string(found.modified.seconds) + "." +
                         std::to_string(found.modified.nanoseconds) + ", durable is " +
                         std::to_string(durable.modified.seconds) + "." + std::to_string(durable.modified.nanoseconds));
    }
    compare_extended(found, durable, pending, path, problems);
  }

  static void compare_extended(const Node& found, const Node& durable, const std::vector<const Change*>& pending,
                               const std::string& path, std::vector<std::string>& problems) {
    std::set<std::string> names;
    for (const auto& [name, value] : found.attributes) names.insert(name);
    for (const auto& [name, value] : durable.attributes) names.insert(name);
    const auto value_in = [](const Node& node, const std::string& name) {
      const auto attribute = node.attributes.find(name);
      return attribute == node.attributes.end() ? std::nullopt : std::optional(attribute->second);
    };
    for (const std::string& name : names) {
      const auto value = value_in(found, name);
      const bool is_pending = std::ranges::any_of(pending, [&](const Change* change) {
        return change->kind == Change::Kind::attribute && change->attribute == name && change->attribute_value == value;
      });
      if (value != value_in(durable, name) && !is_pending) {
        problems.push_back(path + ": " + name + (value ? " has a value that nobody gave it" : " is gone"));
      }
    }
  }

  void compare_bytes(const Node& found, NodeNumber node, const std::string& path,
                     std::vector<std::string>& problems) const {
    const Node& durable = durable_.at(node);
    if (found.target != durable.target) problems.push_back(path + ": leads to " + found.target);
    if (found.node_device != durable.node_device) problems.push_back(path + ": is another device");
    if (found.type != io::EntryType::regular) return;
    const auto some = ContentsCheck(durable, pending_of(node)).run(found.contents, path);
    problems.insert(problems.end(), some.begin(), some.end());
  }

  /// After a successful comparison: what each name leads to, and which names each file has.
  void note_slots(NodeNumber found, NodeNumber node, const std::string& path) {
    for (const std::string& name : names_in(found, node)) {
      const NodeNumber child = child_of(found, name);
      const std::string full = path + "/" + name;
      const auto nodes = fitting(child, {node, name}, full);
      slots_[{node, name}] = nodes;
      if (child == 0) continue;
      if (found_.at(child).type == io::EntryType::directory) {
        note_slots(child, *nodes.begin(), full);
      } else {
        names_of_[child].push_back({.path = full, .nodes = nodes});
      }
    }
  }

  /// Indices of the pending changes (-1: none was needed) that may have put there what a name leads to.
  [[nodiscard]] std::set<std::ptrdiff_t> explanations(const Slot& slot, const std::set<NodeNumber>& nodes) const {
    std::set<std::ptrdiff_t> changes;
    for (const SlotEvent& event : events_of(slot)) {
      if (nodes.contains(event.node)) changes.insert(event.change);
    }
    return changes;
  }

  /// Of a rename the removal of the old name does not survive alone, an exchange survives whole.
  void check_names_together(std::vector<std::string>& problems) const {
    for (std::size_t i = 0; i < pending_.size(); ++i) {
      const Change& change = pending_[i];
      if (change.kind != Change::Kind::names || change.names.size() < 2) continue;
      const auto index = static_cast<std::ptrdiff_t>(i);
      for (std::size_t one = change.is_whole ? 0 : 1; one < change.names.size(); ++one) {
        const Slot slot{change.names[one].directory, change.names[one].name};
        const auto noted = slots_.find(slot);
        if (noted == slots_.end() || explanations(slot, noted->second) != std::set{index}) continue;
        for (std::size_t other = 0; other < (change.is_whole ? change.names.size() : 1); ++other) {
          const Slot needed{change.names[other].directory, change.names[other].name};
          const auto found = slots_.find(needed);
          if (other == one || found == slots_.end()) continue;
          const auto reasons = explanations(needed, found->second);
          if (reasons.empty() || *reasons.rbegin() < index) {
            problems.push_back(slot.second + " was renamed to or from " + needed.second +
                               ", and only half of it is there");
          }
        }
      }
    }
  }

  /// Names that lead to one file do so in the model, and the other way round.
  void check_links(std::vector<std::string>& problems) const {
    std::map<NodeNumber, std::string> taken;
    for (const auto& [found, names] : names_of_) {
      std::set<NodeNumber> nodes = names.front().nodes;
      for (const NamedAs& name : names) {
        std::erase_if(nodes, [&](NodeNumber node) { return !name.nodes.contains(node); });
      }
      if (nodes.empty()) problems.push_back(names.front().path + " and " + names.back().path + " are one file");
      if (nodes.size() != 1) continue;
      const auto [other, is_first] = taken.emplace(*nodes.begin(), names.front().path);
      if (!is_first) problems.push_back(other->second + " and " + names.front().path + " are not one file any more");
    }
  }

  struct NamedAs {
    std::string path;
    std::set<NodeNumber> nodes;
  };

  const FileTree& durable_;
  const std::vector<Change>& pending_;
  const FileTree& found_;
  const ModelCheckOptions& options_;
  std::map<NodeNumber, std::vector<const Change*>> of_node_;
  std::map<Slot, std::vector<SlotEvent>> of_slot_;
  std::map<std::pair<NodeNumber, NodeNumber>, std::vector<std::string>> compared_;
  std::map<Slot, std::set<NodeNumber>> slots_;
  std::map<NodeNumber, std::vector<NamedAs>> names_of_;
};

}  // namespace

std::vector<std::string> not_allowed(const VolatileTree& model, const FileTree& found,
                                     const ModelCheckOptions& options) {
  return ModelCheck(model, found, options).run();
}

std::vector<std::string> contents_not_allowed(const VolatileTree& model, NodeNumber node, const PagedBytes& found,
                                              const std::string& name) {
  std::vector<const Change*> pending;
  for (const Change& change : model.pending()) {
    if (change.kind != Change::Kind::names && change.node == node) pending.push_back(&change);
  }
  return ContentsCheck(model.durable().at(node), pending).run(found, name);
}

}  // namespace slotkeeper::test

#include "tests/support/simulation/crash_choices.hpp"

#include <algorithm>

namespace slotkeeper::test {
namespace {

class Chooser {
 public:
  Chooser(const std::vector<Change>& pending, std::uint64_t seed) : pending_(pending), state_(seed) {}

  std::vector<CrashChoice> choices;

  void all(Fate::Kind kind, const char* name) { add(name, std::vector<Fate>(pending_.size(), {.kind = kind})); }
  void subset(const std::string& name, const auto& survives) {
    std::vector<Fate> fates(pending_.size());
    for (std::size_t i = 0; i < fates.size(); ++i) fates[i].kind = survives(i) ? Fate::Kind::kept : Fate::Kind::lost;
    add(name, std::move(fates));
  }
  void random_subset(const std::string& name) {
    subset(name, [this](std::size_t) { return random() % 2 != 0; });
  }
  /// At least one change is torn or trashed; false where nothing can be.
  bool damaged(const std::string& name, Fate::Kind damage) {
    std::vector<std::size_t> candidates;
    for (std::size_t i = 0; i < pending_.size(); ++i) {
      if (can_be(damage, pending_[i])) candidates.push_back(i);
    }
    if (candidates.empty()) return false;
    std::vector<Fate> fates(pending_.size());
    for (std::size_t i = 0; i < fates.size(); ++i) {
      const std::uint64_t roll = random() % 4;
      fates[i].kind = roll < 2 ? Fate::Kind::kept : Fate::Kind::lost;
      if (roll == 3 && can_be(damage, pending_[i])) fates[i] = damage_of(pending_[i], damage);
    }
    const std::size_t chosen = candidates[random() % candidates.size()];
    fates[chosen] = damage_of(pending_[chosen], damage);
    add(name, std::move(fates));
    return true;
  }

  [[nodiscard]] std::uint64_t random() {
    state_ += 0x9E3779B97F4A7C15U;
    std::uint64_t value = state_;
    value = (value ^ value >> 30U) * 0xBF58476D1CE4E5B9U;
    value = (value ^ value >> 27U) * 0x94D049BB133111EBU;
    return value ^ value >> 31U;
  }

 private:
  static bool can_be(Fate::Kind damage, const Change& change) {
    if (damage == Fate::Kind::torn && change.kind == Change::Kind::names) {
      return change.names.size() > 1 && !change.is_whole;
    }
    return change.has_contents() && (change.sectors() > 1 || damage == Fate::Kind::trashed);
  }
  /// A prefix, all but a prefix, one sector alone, or any.
  [[nodiscard]] Fate damage_of(const Change& change, Fate::Kind damage) {
    Fate fate{.kind = damage, .sectors = 0};
    const std::size_t sectors = std::min<std::size_t>(std::max<std::size_t>(change.sectors(), 1), 64);
    const std::uint64_t prefix = (std::uint64_t{1} << (random() % sectors)) - 1;
    switch (random() % 4) {
      case 0:
        fate.sectors = prefix;
        break;
      case 1:
        fate.sectors = ~prefix;
        break;
      case 2:
        fate.sectors = std::uint64_t{1} << (random() % sectors);
        break;
      default:
        fate.sectors = random();
        break;
    }
    if (damage == Fate::Kind::trashed && fate.sectors == 0) fate.sectors = 1;
    return fate;
  }
  void add(std::string name, std::vector<Fate> fates) {
    choices.push_back({.name = std::move(name), .fates = std::move(fates), .garbage_seed = random()});
  }

  const std::vector<Change>& pending_;
  std::uint64_t state_;
};

}  // namespace

std::vector<CrashChoice> crash_choices(const std::vector<Change>& pending, const CrashChoiceOptions& options,
                                       std::uint64_t seed) {
  Chooser chooser(pending, seed);
  chooser.all(Fate::Kind::kept, "kept");
  if (pending.empty()) return std::move(chooser.choices);
  chooser.all(Fate::Kind::lost, "lost");
  const std::size_t count = pending.size();
  if (count <= options.exhaustive_changes_max) {
    for (std::uint64_t mask = 1; mask + 1 < std::uint64_t{1} << count; ++mask) {
      chooser.subset("subset-" + std::to_string(mask), [mask](std::size_t i) { return (mask >> i & 1U) != 0; });
    }
  } else {
    for (std::size_t i = 0; i < options.singles_max; ++i) {
      const std::size_t one = chooser.random() % count;
      const std::size_t other = chooser.random() % count;
      const std::size_t prefix = chooser.random() % count;
      chooser.subset("only-" + std::to_string(one), [one](std::size_t at) { return at == one; });
      chooser.subset("without-" + std::to_string(other), [other](std::size_t at) { return at != other; });
      chooser.subset("prefix-" + std::to_string(prefix), [prefix](std::size_t at) { return at < prefix; });
    }
    for (std::size_t i = 0; i < options.random_subsets; ++i) chooser.random_subset("random-" + std::to_string(i));
  }
  for (std::size_t i = 0; i < options.torn; ++i) {
    if (!chooser.damaged("torn-" + std::to_string(i), Fate::Kind::torn)) break;
  }
  for (std::size_t i = 0; i < options.trashed; ++i) {
    if (!chooser.damaged("trashed-" + std::to_string(i), Fate::Kind::trashed)) break;
  }
  return std::move(chooser.choices);
}

}  // namespace slotkeeper::test

// The state store on its own disk: records, history, outbox, what was confirmed last, and the seal of an area. What was
// acknowledged is there after a cut; of what was going on there is the old or the new, never anything else.
#include <stdexcept>

#include "tests/crash_kernel/scene.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::test {
namespace {

constexpr std::size_t kShownEvents = 3;

/// What a reader of the store is to see, kept beside it.
struct Shown {
  std::string transaction;
  std::string facts;
  std::vector<std::string> history;  ///< newest first
  std::vector<std::string> events;   ///< oldest first
  SlotId confirmed = SlotId::a;
  std::string sealed;  ///< contents of the area; empty: not sealed
  bool operator==(const Shown&) const = default;
};

std::string in_words(const Shown& shown) {
  std::string text = "records '" + shown.transaction.substr(0, 12) + "' and '" + shown.facts.substr(0, 12) + "', " +
                     std::to_string(shown.history.size()) + " entries of history";
  if (!shown.history.empty()) text += " to " + shown.history.front().substr(0, 12);
  text += ", events";
  for (const std::string& event : shown.events) text += " " + event.substr(0, 8);
  text += std::string(", confirmed ") + std::string(name_of(shown.confirmed)) + ", ";
  return text + (shown.sealed.empty() ? "not sealed" : "sealed " + shown.sealed.substr(0, 12));
}

Shown read_shown(StateStore& store) {
  Shown shown;
  const auto record = [&](RecordKind kind) {
    const auto found = ok(store.read_record(kind));
    return found ? found->payload : std::string();
  };
  shown.transaction = record(RecordKind::transaction);
  shown.facts = record(RecordKind::facts);
  for (const StoredEntry& entry : ok(store.read_history())) shown.history.push_back(entry.payload);
  for (const StoredEntry& event : ok(store.pending_events())) shown.events.push_back(event.payload);
  const auto confirmed = ok(store.read_last_confirmed());
  if (!confirmed) throw std::runtime_error("nothing was confirmed last");
  shown.confirmed = *confirmed;
  StoreArea& area = store.area(AreaKind::snapshot_first);
  if (const auto seal = ok(area.read_seal())) {
    std::string contents(seal->length_bytes, '\0');
    contents.resize(ok(area.read_at(0, std::as_writable_bytes(std::span(contents)))));
    if (sha256(io::as_bytes(contents)) != seal->digest) throw std::runtime_error("a seal covers other contents");
    shown.sealed = contents;
  }
  return shown;
}

Result<void> seal(StoreArea& area, const std::string& contents) {
  SK_TRY(area.unseal());
  SK_TRY(area.write_at(0, io::as_bytes(contents)));
  return area.seal(
      {.length_bytes = contents.size(), .digest = sha256(io::as_bytes(contents)), .description = "{\"of\":\"test\"}"});
}

struct Operation {
  std::function<Result<void>(StateStore&)> run;
  std::function<void(Shown&)> shows;
  /// What may be seen besides old and new.
  std::function<void(Shown&)> shows_between = {};
};

class StoreScene final : public Scene {
 public:
  [[nodiscard]] std::string name() const override { return "store"; }

  void prepare(const Machine& machine) override {
    fill_partition(machine.root, seed());
    settle_times(machine.root, kOriginalTime);
    note_root(machine);
    const auto store = ok(machine.open_store(StateStore::Access::write));
    ok(store->write_record(RecordKind::transaction, text("begun", 5000)));
    ok(store->write_record(RecordKind::facts, text("facts", 300)));
    for (std::size_t i = 1; i <= kHistoryEntries; ++i) ok(store->append_history(text("h" + std::to_string(i), 40)));
    for (std::size_t i = 1; i <= kShownEvents; ++i) (void)ok(store->append_event(text("e" + std::to_string(i), 40)));
    ok(store->write_last_confirmed(SlotId::a));
    ok(seal(store->area(AreaKind::snapshot_first), text("old", 20'000)));
    states_ = {read_shown(*store)};
    ok(store->close());
    for (const Operation& operation : operations()) {
      states_.push_back(states_.back());
      operation.shows(states_.back());
    }
  }

  Result<void> act(const Machine& machine, const Acknowledge& acknowledge) override {
    return carry_out(machine, 0, acknowledge);
  }

  Problems check_instant(const Machine& machine, const Promised& promised) override {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < operations().size(); ++i) {
      if (promised(promise_of(i))) kept = i + 1;
    }
    const Shown shown = look(machine);
    for (std::size_t i = kept; i < states_.size(); ++i) {
      if (shown == states_[i] || is_between(i, shown)) return {};
    }
    return {"after " + std::to_string(kept) + " operations there are " + in_words(shown)};
  }

  /// Goes on where it was.
  Result<void> recover(const Machine& machine) override {
    const Shown shown = look(machine);
    for (std::size_t i = 0; i < states_.size(); ++i) {
      if (shown == states_[i] || is_between(i, shown)) return carry_out(machine, i, [](const std::string&) {});
    }
    return make_error(Errc::internal, "this never was: " + in_words(shown));
  }

  Problems check_finished(const Machine& machine) override {
    const Shown shown = look(machine);
    if (shown == states_.back()) return {};
    return {"in the end there are " + in_words(shown)};
  }

 private:
  [[nodiscard]] static std::string promise_of(std::size_t operation) {
    return "done-" + std::string(1, static_cast<char>('a' + operation));
  }

  /// Sizes are different with every seed, from one sector to several blocks.
  [[nodiscard]] std::string text(const std::string& name, std::size_t size) const {
    return marked_contents(name, size + (seed() - 1) * 523 % 1900);
  }

  [[nodiscard]] std::vector<Operation> operations() const {
    std::vector<Operation> all;
    const auto record = [&](RecordKind kind, std::string Shown::*member, const std::string& payload) {
      all.push_back({.run = [=](StateStore& store) { return store.write_record(kind, payload); },
                     .shows = [=](Shown& shown) { shown.*member = payload; }});
    };
    record(RecordKind::transaction, &Shown::transaction, text("staging", 9000));
    record(RecordKind::transaction, &Shown::transaction, text("staged", 100));
    record(RecordKind::facts, &Shown::facts, text("new facts", 7000));
    const std::string entry = text("h65", 1000);
    // A full ring gives up its oldest entry before the new one is there.
    all.push_back({.run = [=](StateStore& store) { return store.append_history(entry); },
                   .shows =
                       [=](Shown& shown) {
                         shown.history.pop_back();
                         shown.history.insert(shown.history.begin(), entry);
                       },
                   .shows_between = [](Shown& shown) { shown.history.pop_back(); }});
    const std::string event = text("e4", 900);
    all.push_back({.run = [=](StateStore& store) -> Result<void> {
                     SK_TRY(store.append_event(event));
                     return success();
                   },
                   .shows = [=](Shown& shown) { shown.events.push_back(event); }});
    all.push_back({.run = [](StateStore& store) { return store.acknowledge_events(2); },
                   .shows = [](Shown& shown) { shown.events.erase(shown.events.begin(), shown.events.begin() + 2); }});
    all.push_back({.run = [](StateStore& store) { return store.write_last_confirmed(SlotId::b); },
                   .shows = [](Shown& shown) { shown.confirmed = SlotId::b; }});
    const std::string contents = text("new", 30'000);
    all.push_back({.run = [=](StateStore& store) { return seal(store.area(AreaKind::snapshot_first), contents); },
                   .shows = [=](Shown& shown) { shown.sealed = contents; },
                   .shows_between = [](Shown& shown) { shown.sealed.clear(); }});
    record(RecordKind::transaction, &Shown::transaction, text("over", 5000));
    return all;
  }

  /// The operation behind this state was cut off in the middle.
  [[nodiscard]] bool is_between(std::size_t state, const Shown& shown) const {
    const auto all = operations();
    if (state >= all.size() || !all[state].shows_between) return false;
    Shown between = states_[state];
    all[state].shows_between(between);
    return shown == between;
  }

  [[nodiscard]] static Shown look(const Machine& machine) {
    const auto store = ok(machine.open_store(StateStore::Access::read));
    Shown shown = read_shown(*store);
    ok(store->close());
    return shown;
  }

  Result<void> carry_out(const Machine& machine, std::size_t first, const Acknowledge& acknowledge) const {
    SK_TRY_ASSIGN(const auto store, machine.open_store(StateStore::Access::write));
    const auto all = operations();
    for (std::size_t i = first; i < all.size(); ++i) {
      SK_TRY(all[i].run(*store));
      acknowledge(promise_of(i));
    }
    return store->close();
  }

  std::vector<Shown> states_;  ///< before the first operation, and after each
};

}  // namespace

std::unique_ptr<Scene> make_store_scene() { return std::make_unique<StoreScene>(); }

}  // namespace slotkeeper::test

// Cuts the power before every change that an operation of the state store makes, lets a random part of the unflushed
// writes reach the medium, torn between sectors, and looks at what is found afterwards: the old state or the new one.
#include <functional>

#include <gtest/gtest.h>

#include "partitions/state_store_layout.hpp"
#include "tests/support/memory_storage.hpp"

namespace slotkeeper {
namespace {

constexpr std::uint64_t kSize = 4 << 20;
constexpr std::uint64_t kSeeds = 24;
const std::string kPath = "/store";
constexpr std::string_view kIdentifier = "old-store";

using Store = std::unique_ptr<StateStore>;
using test::MemoryStorage;

/// Everything a reader can see, in words.
std::string describe(StateStore& store) {
  std::string text;
  for (const RecordKind kind : {RecordKind::transaction, RecordKind::facts}) {
    const auto record = store.read_record(kind);
    if (!record.has_value()) return "error: " + record.error().message;
    text += record.value() ? record.value()->payload.substr(0, 8) + "#" + std::to_string(record.value()->payload.size())
                           : "none";
    text += "; ";
  }
  const auto history = store.read_history();
  const auto events = store.pending_events();
  const auto confirmed = store.read_last_confirmed();
  if (!history.has_value() || !events.has_value() || !confirmed.has_value()) return "error";
  for (const StoredEntry& entry : history.value()) text += entry.payload + " ";
  text += "; ";
  for (const StoredEntry& event : events.value()) text += event.payload + " ";
  text += "; ";
  text += confirmed.value() ? name_of(*confirmed.value()) : "-";
  const auto seal = store.area(AreaKind::scratch).read_seal();
  if (!seal.has_value()) return "error: " + seal.error().message;
  text += seal.value() ? "; sealed " + seal.value()->description.substr(0, 8) : "; unsealed";
  return text;
}

struct Operation {
  std::string name;
  std::function<Result<void>(StateStore&)> run;
  /// Where more than old and new is legal, because the operation has several durable steps.
  std::function<bool(const std::string&)> is_legal_between = [](const std::string&) { return false; };
};

void PrintTo(const Operation& operation, std::ostream* into) { *into << operation.name; }

class StateStoreCrash : public testing::TestWithParam<Operation> {
 protected:
  static Store open(MemoryStorage& storage) {
    auto opened = StateStore::open(storage, kPath, StateStore::Access::write);
    EXPECT_TRUE(opened.has_value()) << opened.error().message;
    return opened.has_value() ? std::move(opened).assume_value() : nullptr;
  }

  /// A store in use: long records on both places, a full history, some events, a sealed area.
  static void prepare(MemoryStorage& storage) {
    ASSERT_TRUE(StateStore::format(storage, kPath, kSize, kIdentifier).has_value());
    const Store store = open(storage);
    for (const char* letter : {"a", "b", "c"}) {
      ASSERT_TRUE(store->write_record(RecordKind::transaction, std::string(9000, *letter)).has_value());
    }
    for (std::size_t i = 1; i <= kHistoryEntries; ++i) {
      ASSERT_TRUE(store->append_history("h" + std::to_string(i)).has_value());
    }
    for (const char* event : {"e1", "e2", "e3"}) ASSERT_TRUE(store->append_event(event).has_value());
    ASSERT_TRUE(store->write_last_confirmed(SlotId::a).has_value());
    const std::string contents(20000, 's');
    StoreArea& area = store->area(AreaKind::scratch);
    ASSERT_TRUE(area.write_at(0, io::as_bytes(contents)).has_value());
    ASSERT_TRUE(
        area.seal({.length_bytes = contents.size(), .digest = sha256(io::as_bytes(contents)), .description = "old"})
            .has_value());
  }
};

TEST_P(StateStoreCrash, LeavesTheOldStateOrTheNewOne) {
  const Operation& operation = GetParam();
  MemoryStorage storage;
  prepare(storage);
  const std::vector<std::byte> start = storage.node(kPath).contents;
  const auto restart = [&] {
    storage.crash(0);
    storage.node(kPath).contents = storage.node(kPath).durable = start;
  };

  std::string before;
  std::string after;
  std::uint64_t changes = 0;
  {
    const Store store = open(storage);
    before = describe(*store);
    storage.plan_faults({});
    ASSERT_TRUE(operation.run(*store).has_value());
    changes = storage.changes();
    after = describe(*store);
  }
  ASSERT_NE(before, after);
  ASSERT_GE(changes, 2U);

  bool has_seen_old = false;
  bool has_seen_new = false;
  for (std::uint64_t cut = 1; cut <= changes + 1; ++cut) {
    for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
      SCOPED_TRACE("cut before change " + std::to_string(cut) + ", seed " + std::to_string(seed));
      restart();
      bool has_succeeded = false;
      {
        const Store store = open(storage);
        storage.plan_faults({.cut_at_change = cut});
        has_succeeded = operation.run(*store).has_value();
      }
      ASSERT_EQ(has_succeeded, cut > changes);
      storage.crash(seed);
      const Store store = open(storage);
      ASSERT_NE(store, nullptr);
      const std::string found = describe(*store);
      if (has_succeeded) {
        ASSERT_EQ(found, after);
      } else {
        ASSERT_TRUE(found == before || found == after || operation.is_legal_between(found)) << found;
      }
      has_seen_old |= found == before;
      has_seen_new |= found == after;
      // Whatever was left behind, the work goes on.
      ASSERT_TRUE(operation.run(*store).has_value());
    }
  }
  EXPECT_TRUE(has_seen_old);
  EXPECT_TRUE(has_seen_new);
}

Result<void> reseal(StateStore& store, char letter) {
  StoreArea& area = store.area(AreaKind::scratch);
  SK_TRY(area.unseal());
  const std::string contents(30000, letter);
  SK_TRY(area.write_at(0, io::as_bytes(contents)));
  return area.seal({.length_bytes = contents.size(),
                    .digest = sha256(io::as_bytes(contents)),
                    .description = "new" + std::string(5000, ' ')});
}

/// Appending to a full ring gives up the oldest entry before the new one is there.
bool has_lost_only_the_oldest(const std::string& found) {
  return found.find("h64 h63 ") != std::string::npos && found.find(" h2 ") != std::string::npos &&
         found.find(" h1 ") == std::string::npos;
}

std::vector<Operation> operations() {
  return {
      {.name = "WriteRecord",
       .run = [](StateStore& store) { return store.write_record(RecordKind::transaction, std::string(20000, 'd')); }},
      {.name = "WriteFirstRecord",
       .run = [](StateStore& store) { return store.write_record(RecordKind::facts, std::string(9000, 'f')); }},
      {.name = "AppendHistory",
       .run = [](StateStore& store) { return store.append_history("h65" + std::string(3000, '.')); },
       .is_legal_between = has_lost_only_the_oldest},
      {.name = "AppendEvent",
       .run = [](StateStore& store) -> Result<void> {
         SK_TRY(store.append_event("e4" + std::string(3000, '.')));
         return success();
       }},
      {.name = "AcknowledgeEvents", .run = [](StateStore& store) { return store.acknowledge_events(2); }},
      {.name = "WriteLastConfirmed", .run = [](StateStore& store) { return store.write_last_confirmed(SlotId::b); }},
      {.name = "UnsealWriteAndSeal",
       .run = [](StateStore& store) { return reseal(store, 'n'); },
       .is_legal_between = [](const std::string& found) { return found.find("; unsealed") != std::string::npos; }},
  };
}

INSTANTIATE_TEST_SUITE_P(Operations, StateStoreCrash, testing::ValuesIn(operations()),
                         [](const auto& parameter) { return parameter.param.name; });

TEST(StateStoreSealCrash, ASealAlwaysCoversItsContents) {
  MemoryStorage storage;
  ASSERT_TRUE(StateStore::format(storage, kPath, kSize, kIdentifier).has_value());
  const std::vector<std::byte> start = storage.node(kPath).contents;
  for (std::uint64_t cut = 1; cut <= 8; ++cut) {
    for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
      SCOPED_TRACE("cut before change " + std::to_string(cut) + ", seed " + std::to_string(seed));
      storage.crash(0);
      storage.node(kPath).contents = storage.node(kPath).durable = start;
      {
        auto opened = StateStore::open(storage, kPath, StateStore::Access::write);
        ASSERT_TRUE(opened.has_value());
        ASSERT_TRUE(reseal(*opened.value(), 'o').has_value());
        storage.plan_faults({.cut_at_change = cut});
        ASSERT_EQ(reseal(*opened.value(), 'n').has_value(), cut > 6);
      }
      storage.crash(seed);
      auto opened = StateStore::open(storage, kPath, StateStore::Access::read);
      ASSERT_TRUE(opened.has_value());
      StoreArea& area = opened.value()->area(AreaKind::scratch);
      const auto seal = area.read_seal();
      ASSERT_TRUE(seal.has_value());
      if (!seal.value()) continue;
      std::vector<std::byte> contents(seal.value()->length_bytes);
      ASSERT_EQ(area.read_at(0, contents).value(), contents.size());
      ASSERT_EQ(sha256(contents), seal.value()->digest);
    }
  }
}

TEST(StateStoreFormatCrash, LeavesTheOldStoreOrNoneOrTheNewOne) {
  MemoryStorage storage;
  ASSERT_TRUE(StateStore::format(storage, kPath, kSize, "old").has_value());
  {
    auto opened = StateStore::open(storage, kPath, StateStore::Access::write);
    ASSERT_TRUE(opened.has_value());
    ASSERT_TRUE(opened.value()->write_record(RecordKind::facts, "old facts").has_value());
  }
  const std::vector<std::byte> start = storage.node(kPath).contents;
  storage.plan_faults({});
  ASSERT_TRUE(StateStore::format(storage, kPath, kSize, "new").has_value());
  const std::uint64_t changes = storage.changes();
  for (std::uint64_t cut = 1; cut <= changes + 1; ++cut) {
    for (std::uint64_t seed = 1; seed <= kSeeds / 3; ++seed) {
      SCOPED_TRACE("cut before change " + std::to_string(cut) + ", seed " + std::to_string(seed));
      storage.crash(0);
      storage.node(kPath).contents = storage.node(kPath).durable = start;
      storage.plan_faults({.cut_at_change = cut});
      const bool has_succeeded = StateStore::format(storage, kPath, kSize, "new").has_value();
      ASSERT_EQ(has_succeeded, cut > changes);
      storage.crash(seed);
      auto opened = StateStore::open(storage, kPath, StateStore::Access::read);
      if (!opened.has_value()) {
        ASSERT_FALSE(has_succeeded);
        ASSERT_EQ(opened.error().code, Errc::not_provisioned) << opened.error().message;
        continue;
      }
      const auto facts = opened.value()->read_record(RecordKind::facts);
      ASSERT_TRUE(facts.has_value()) << facts.error().message;
      if (opened.value()->identifier() == "old") {
        ASSERT_FALSE(has_succeeded);
        ASSERT_TRUE(facts.value());
        ASSERT_EQ(facts.value()->payload, "old facts");
      } else {
        ASSERT_FALSE(facts.value()) << "records of the old store must not come back";
      }
    }
  }
}

}  // namespace
}  // namespace slotkeeper

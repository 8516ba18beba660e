#include "partitions/state_store.hpp"

#include <cerrno>

#include <gtest/gtest.h>

#include "partitions/state_store_layout.hpp"
#include "tests/support/fault_storage.hpp"
#include "tests/support/memory_storage.hpp"

namespace slotkeeper {
namespace {

constexpr std::uint64_t kSize = 4 << 20;
constexpr std::string_view kIdentifier = "3f6c1a52-0f7e-4b1c-9a55-8d6f0f1f2a10";
const std::string kPath = "/store";
using store::RegionKind;
using test::MemoryStorage;

const store::Superblock& layout() {
  static const store::Superblock superblock = store::plan_layout(kSize, kIdentifier).value();
  return superblock;
}

class StateStoreOnMemory : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(StateStore::format(storage_, kPath, kSize, kIdentifier).has_value());
    reopen();
  }

  void reopen() {
    store_.reset();
    auto opened = StateStore::open(storage_, kPath, StateStore::Access::write);
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    store_ = std::move(opened).assume_value();
  }
  [[nodiscard]] Errc error_of_opening() {
    store_.reset();
    const auto opened = StateStore::open(storage_, kPath, StateStore::Access::write);
    return opened.has_value() ? Errc::internal : opened.error().code;
  }
  [[nodiscard]] std::string payload_of(RecordKind kind) {
    auto record = store_->read_record(kind);
    if (!record.has_value()) return "error: " + record.error().message;
    return record.value() ? record.value()->payload : "none";
  }
  void damage(std::uint64_t offset) { storage_.node(kPath).contents[offset] ^= std::byte{0xFF}; }
  void fill(std::uint64_t offset, std::uint64_t length, std::byte value) {
    auto& contents = storage_.node(kPath).contents;
    std::fill_n(contents.begin() + static_cast<std::ptrdiff_t>(offset), length, value);
  }
  [[nodiscard]] std::uint64_t place(RegionKind kind, std::size_t number) {
    const store::Region& region = layout().region(kind);
    return region.offset + number * region.length / 2;
  }

  MemoryStorage storage_;
  std::unique_ptr<StateStore> store_;
};

TEST_F(StateStoreOnMemory, IsEmptyAfterFormat) {
  EXPECT_EQ(store_->identifier(), kIdentifier);
  EXPECT_EQ(payload_of(RecordKind::transaction), "none");
  EXPECT_EQ(payload_of(RecordKind::facts), "none");
  EXPECT_TRUE(store_->read_history().value().empty());
  EXPECT_TRUE(store_->pending_events().value().empty());
  EXPECT_FALSE(store_->read_last_confirmed().value());
  for (const AreaKind kind : {AreaKind::snapshot_first, AreaKind::snapshot_second, AreaKind::scratch}) {
    EXPECT_FALSE(store_->area(kind).read_seal().value());
  }
}

TEST_F(StateStoreOnMemory, KeepsRecordsApartAndTheirGenerationsRise) {
  for (int i = 1; i <= 5; ++i) {
    ASSERT_TRUE(store_->write_record(RecordKind::transaction, "transaction " + std::to_string(i)).has_value());
  }
  ASSERT_TRUE(store_->write_record(RecordKind::facts, "facts").has_value());
  reopen();
  EXPECT_EQ(payload_of(RecordKind::transaction), "transaction 5");
  EXPECT_EQ(store_->read_record(RecordKind::transaction).value()->generation, 5U);
  EXPECT_EQ(payload_of(RecordKind::facts), "facts");
}

TEST_F(StateStoreOnMemory, KeepsTheLongestRecordAndRefusesALongerOne) {
  const std::string longest(kRecordPayloadMaxBytes, 'r');
  ASSERT_TRUE(store_->write_record(RecordKind::facts, longest).has_value());
  ASSERT_TRUE(store_->write_record(RecordKind::facts, "short again").has_value());
  EXPECT_EQ(payload_of(RecordKind::facts), "short again");
  ASSERT_TRUE(store_->write_record(RecordKind::facts, longest).has_value());
  EXPECT_EQ(store_->write_record(RecordKind::facts, longest + "r").error().code, Errc::internal);
  reopen();
  EXPECT_EQ(payload_of(RecordKind::facts), longest);
}

TEST_F(StateStoreOnMemory, WritesOnlyTheUnitsARecordNeeds) {
  const std::vector<std::byte> before = storage_.node(kPath).contents;
  ASSERT_TRUE(store_->write_record(RecordKind::transaction, "small").has_value());
  const std::vector<std::byte>& after = storage_.node(kPath).contents;
  const std::uint64_t written = place(RegionKind::transaction, 1);
  for (std::uint64_t i = 0; i < kSize; ++i) {
    if (before[i] != after[i]) {
      ASSERT_TRUE(i >= written && i < written + kStoreBlockBytes) << i;
    }
  }
}

TEST_F(StateStoreOnMemory, ReadsTheOtherCopyOfADamagedRecordAndGoesOn) {
  ASSERT_TRUE(store_->write_record(RecordKind::transaction, "one").has_value());  // second place
  ASSERT_TRUE(store_->write_record(RecordKind::transaction, "two").has_value());  // first place
  damage(place(RegionKind::transaction, 0) + 64);
  EXPECT_EQ(payload_of(RecordKind::transaction), "one");
  ASSERT_TRUE(store_->write_record(RecordKind::transaction, "three").has_value());
  damage(place(RegionKind::transaction, 1) + 64);
  EXPECT_EQ(payload_of(RecordKind::transaction), "three") << "the damaged place was the one to be rewritten";
}

TEST_F(StateStoreOnMemory, BothCopiesDamagedIsAnErrorForReadingAndWriting) {
  ASSERT_TRUE(store_->write_record(RecordKind::transaction, "one").has_value());
  damage(place(RegionKind::transaction, 0));
  damage(place(RegionKind::transaction, 1));
  EXPECT_EQ(store_->read_record(RecordKind::transaction).error().code, Errc::state_store);
  EXPECT_EQ(store_->write_record(RecordKind::transaction, "two").error().code, Errc::state_store);
  EXPECT_EQ(payload_of(RecordKind::facts), "none") << "the other record is untouched";
}

TEST_F(StateStoreOnMemory, CopiesThatDoNotFollowEachOtherAreAnError) {
  ASSERT_TRUE(store_->write_record(RecordKind::transaction, "one").has_value());
  const store::RecordHeader header{
      .kind = RegionKind::transaction, .payload_bytes = 4, .generation = 2, .previous = sha256(io::as_bytes("?"))};
  const std::vector<std::byte> forged = store::encode_record(header, "fake");
  std::copy(forged.begin(), forged.end(),
            storage_.node(kPath).contents.begin() + static_cast<std::ptrdiff_t>(place(RegionKind::transaction, 0)));
  EXPECT_EQ(store_->read_record(RecordKind::transaction).error().code, Errc::state_store);
}

TEST_F(StateStoreOnMemory, OneSuperblockIsEnoughAndTheNextWriteRepairsTheOther) {
  for (const std::uint64_t offset : {std::uint64_t{0}, kSize - kStoreBlockBytes}) {
    damage(offset + 20);
    reopen();
    EXPECT_EQ(store_->identifier(), kIdentifier);
    ASSERT_TRUE(store_->write_record(RecordKind::facts, "x").has_value());
    const auto& contents = storage_.node(kPath).contents;
    EXPECT_TRUE(store::decode_superblock(io::ConstBytes(contents).subspan(offset, kStoreBlockBytes)).has_value());
  }
}

TEST_F(StateStoreOnMemory, OpeningChangesNoByte) {
  damage(20);
  const std::vector<std::byte> before = storage_.node(kPath).contents;
  reopen();
  EXPECT_EQ(payload_of(RecordKind::facts), "none");
  EXPECT_EQ(storage_.node(kPath).contents, before);
}

TEST_F(StateStoreOnMemory, TellsNothingGarbageAndForeignApart) {
  damage(20);
  damage(kSize - kStoreBlockBytes + 20);
  EXPECT_EQ(error_of_opening(), Errc::state_store) << "both superblocks damaged";
  fill(0, kSize, std::byte{0});
  EXPECT_EQ(error_of_opening(), Errc::not_provisioned) << "all zero";
  fill(0, kSize, std::byte{0x55});
  EXPECT_EQ(error_of_opening(), Errc::state_store) << "garbage";
  storage_.node(kPath).contents.resize(1000);
  EXPECT_EQ(error_of_opening(), Errc::not_provisioned) << "too short";
  const auto missing = StateStore::open(storage_, "/elsewhere", StateStore::Access::read);
  EXPECT_EQ(missing.error().code, Errc::not_provisioned);
}

TEST_F(StateStoreOnMemory, AForeignFormatIsForeignAndUntouched) {
  store::Block block = store::encode_superblock(layout());
  block[8] = std::byte{9};
  const std::uint32_t crc = crc32(io::ConstBytes(block).first(508));
  for (std::size_t i = 0; i < 4; ++i) block[508 + i] = static_cast<std::byte>(crc >> (8 * i));
  auto& contents = storage_.node(kPath).contents;
  std::copy(block.begin(), block.end(), contents.begin());
  std::copy(block.begin(), block.end(), contents.end() - static_cast<std::ptrdiff_t>(kStoreBlockBytes));
  EXPECT_EQ(error_of_opening(), Errc::foreign_record);
}

TEST_F(StateStoreOnMemory, AStoreThatLostItsEndIsAnError) {
  store_.reset();
  ASSERT_TRUE(StateStore::format(storage_, kPath, 2 * kSize, kIdentifier).has_value());
  storage_.node(kPath).contents.resize(kSize);
  EXPECT_EQ(error_of_opening(), Errc::state_store);
}

TEST_F(StateStoreOnMemory, IsBusyForASecondWriterButNotForAReader) {
  const auto second = StateStore::open(storage_, kPath, StateStore::Access::write);
  EXPECT_EQ(second.error().code, Errc::busy);
  EXPECT_EQ(StateStore::format(storage_, kPath, kSize, kIdentifier).error().code, Errc::busy);
  EXPECT_TRUE(StateStore::open(storage_, kPath, StateStore::Access::read).has_value());
  ASSERT_TRUE(store_->close().has_value());
  EXPECT_TRUE(StateStore::open(storage_, kPath, StateStore::Access::write).has_value());
}

TEST_F(StateStoreOnMemory, HistoryKeepsTheNewestEntries) {
  for (std::size_t i = 1; i <= kHistoryEntries + 5; ++i) {
    ASSERT_TRUE(store_->append_history("entry " + std::to_string(i)).has_value());
  }
  reopen();
  const auto entries = store_->read_history().value();
  ASSERT_EQ(entries.size(), kHistoryEntries);
  EXPECT_EQ(entries.front().payload, "entry " + std::to_string(kHistoryEntries + 5));
  EXPECT_EQ(entries.front().sequence, kHistoryEntries + 5);
  EXPECT_EQ(entries.back().payload, "entry 6");
  EXPECT_EQ(store_->append_history(std::string(kEntryPayloadMaxBytes + 1, 'x')).error().code, Errc::internal);
}

TEST_F(StateStoreOnMemory, DamagedHistoryEntriesAreLeftOutAndTheirNumbersNotGivenTwice) {
  for (const char* payload : {"one", "two", "three"}) ASSERT_TRUE(store_->append_history(payload).has_value());
  const std::uint64_t ring = layout().region(RegionKind::history).offset;
  damage(ring + 2 * kStoreBlockBytes + 64);  // "three", the newest
  ASSERT_EQ(store_->read_history().value().size(), 2U);
  ASSERT_TRUE(store_->append_history("four").has_value());
  const auto entries = store_->read_history().value();
  ASSERT_EQ(entries.size(), 3U);
  EXPECT_EQ(entries.front().payload, "four");
  EXPECT_EQ(entries.front().sequence, 4U) << "3 was borne by the damaged one";
}

TEST_F(StateStoreOnMemory, OutboxKeepsEventsUntilTheyAreAcknowledged) {
  EXPECT_EQ(store_->append_event("first").value(), 1U);
  EXPECT_EQ(store_->append_event("second").value(), 2U);
  EXPECT_EQ(store_->acknowledge_events(3).error().code, Errc::usage) << "there is no third";
  ASSERT_TRUE(store_->acknowledge_events(1).has_value());
  reopen();
  const auto events = store_->pending_events().value();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].payload, "second");
  ASSERT_TRUE(store_->acknowledge_events(1).has_value()) << "again";
  EXPECT_EQ(store_->pending_events().value().size(), 1U);
}

TEST_F(StateStoreOnMemory, AFullOutboxDropsAcknowledgedEventsOnly) {
  for (std::size_t i = 1; i <= kOutboxEntries; ++i) {
    ASSERT_EQ(store_->append_event("event").value(), i);
  }
  EXPECT_EQ(store_->append_event("too many").error().code, Errc::storage_full);
  ASSERT_TRUE(store_->acknowledge_events(2).has_value());
  EXPECT_EQ(store_->append_event("room").value(), kOutboxEntries + 1);
  EXPECT_EQ(store_->append_event("room").value(), kOutboxEntries + 2);
  EXPECT_EQ(store_->append_event("too many").error().code, Errc::storage_full);
  const auto events = store_->pending_events().value();
  ASSERT_EQ(events.size(), kOutboxEntries);
  EXPECT_EQ(events.front().sequence, 3U);
}

TEST_F(StateStoreOnMemory, AnEventThatCannotBeReadThisTimeIsNotOverwritten) {
  for (std::size_t i = 1; i <= kOutboxEntries; ++i) {
    ASSERT_TRUE(store_->append_event("event " + std::to_string(i)).has_value());
  }
  store_.reset();
  test::FaultStorage faults(storage_);
  auto opened = StateStore::open(faults, kPath, StateStore::Access::write);
  ASSERT_TRUE(opened.has_value());
  std::uint64_t failed_reads = 0;
  for (std::uint64_t nth = 1;; ++nth) {
    faults.reset();
    faults.set(
        {.file = "", .line = 0, .operation = "read_exactly_at", .nth = nth, .os_errno = EIO, .persistent = false});
    faults.set({.file = "", .line = 0, .operation = "read_at", .nth = nth, .os_errno = EIO, .persistent = false});
    EXPECT_FALSE(opened.assume_value()->append_event("one too many").has_value()) << "read " << nth;
    if (faults.faults_met() == 0) break;
    ++failed_reads;
    faults.reset();
    ASSERT_EQ(opened.assume_value()->pending_events().value().size(), kOutboxEntries) << "read " << nth;
    ASSERT_EQ(opened.assume_value()->pending_events().value().front().payload, "event 1") << "read " << nth;
  }
  EXPECT_GT(failed_reads, kOutboxEntries);
}

TEST_F(StateStoreOnMemory, LastConfirmedIsFoundInEitherForm) {
  ASSERT_TRUE(store_->write_last_confirmed(SlotId::b).has_value());
  reopen();
  EXPECT_EQ(store_->read_last_confirmed().value(), SlotId::b);
  const std::uint64_t offset = layout().region(RegionKind::last_confirmed).offset;
  damage(offset);
  EXPECT_EQ(store_->read_last_confirmed().value(), SlotId::b);
  damage(offset + kStoreBlockBytes);
  EXPECT_EQ(store_->read_last_confirmed().error().code, Errc::state_store);
  ASSERT_TRUE(store_->write_last_confirmed(SlotId::a).has_value());
  EXPECT_EQ(store_->read_last_confirmed().value(), SlotId::a);
}

TEST_F(StateStoreOnMemory, EitherFormThatDoesNotSayTheLastConfirmedSlotIsNoticedAndMended) {
  ASSERT_TRUE(store_->write_last_confirmed(SlotId::b).has_value());
  EXPECT_TRUE(store_->is_last_confirmed_everywhere(SlotId::b).value());
  EXPECT_FALSE(store_->is_last_confirmed_everywhere(SlotId::a).value());
  const std::uint64_t offset = layout().region(RegionKind::last_confirmed).offset;
  for (const std::uint64_t place :
       {offset, offset + 600, offset + kStoreBlockBytes + 30, offset + kStoreBlockBytes + 900}) {
    damage(place);
    EXPECT_FALSE(store_->is_last_confirmed_everywhere(SlotId::b).value()) << place;
    ASSERT_TRUE(store_->write_last_confirmed(SlotId::b).has_value());
    EXPECT_TRUE(store_->is_last_confirmed_everywhere(SlotId::b).value()) << place;
  }
}

TEST_F(StateStoreOnMemory, AFormOfTheLastConfirmedSlotThatCannotBeReadIsNoticedToo) {
  ASSERT_TRUE(store_->write_last_confirmed(SlotId::b).has_value());
  store_.reset();
  test::FaultStorage faulty(storage_);
  auto opened = StateStore::open(faulty, kPath, StateStore::Access::write);
  ASSERT_TRUE(opened.has_value());
  StateStore& store = *opened.value();
  for (const std::uint64_t nth : {1U, 2U}) {
    faulty.set({.file = {}, .line = 0, .operation = "read_at", .nth = nth, .os_errno = EIO, .persistent = false});
    const auto is_known = store.is_last_confirmed_everywhere(SlotId::b);
    EXPECT_EQ(faulty.faults_met(), 1U);
    ASSERT_TRUE(is_known.has_value()) << is_known.error().message;
    EXPECT_FALSE(is_known.value());
    faulty.reset();
    EXPECT_TRUE(store.is_last_confirmed_everywhere(SlotId::b).value());
  }
}

TEST_F(StateStoreOnMemory, WritingTheSameLastConfirmedAgainWritesNothing) {
  ASSERT_TRUE(store_->write_last_confirmed(SlotId::b).has_value());
  storage_.plan_faults({});
  ASSERT_TRUE(store_->write_last_confirmed(SlotId::b).has_value());
  EXPECT_EQ(storage_.writes(), 0U);
}

TEST_F(StateStoreOnMemory, AreaIsSealedReadAndUnsealed) {
  StoreArea& area = store_->area(AreaKind::snapshot_second);
  const std::string contents = "some contents of no particular length";
  ASSERT_TRUE(area.write_at(0, io::as_bytes(contents.substr(0, 10))).has_value());
  ASSERT_TRUE(area.write_at(10, io::as_bytes(contents.substr(10))).has_value());
  const AreaSeal seal{
      .length_bytes = contents.size(), .digest = sha256(io::as_bytes(contents)), .description = R"({"generation":2})"};
  ASSERT_TRUE(area.seal(seal).has_value());
  reopen();
  StoreArea& again = store_->area(AreaKind::snapshot_second);
  const auto found = again.read_seal().value();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->length_bytes, contents.size());
  EXPECT_EQ(found->description, seal.description);
  std::string read(contents.size() - 3, '\0');
  ASSERT_EQ(again.read_at(3, std::as_writable_bytes(std::span(read))).value(), read.size());
  EXPECT_EQ(read, contents.substr(3));
  EXPECT_EQ(again.write_at(0, io::as_bytes("x")).error().code, Errc::internal) << "sealed";
  ASSERT_TRUE(again.unseal().has_value());
  EXPECT_FALSE(again.read_seal().value());
  EXPECT_TRUE(again.write_at(0, io::as_bytes("x")).has_value());
  EXPECT_FALSE(store_->area(AreaKind::snapshot_first).read_seal().value());
}

TEST_F(StateStoreOnMemory, AreaHasAnEnd) {
  StoreArea& area = store_->area(AreaKind::scratch);
  const std::uint64_t capacity = area.capacity_bytes();
  EXPECT_EQ(area.write_at(capacity - 1, io::as_bytes("xy")).error().code, Errc::storage_full);
  EXPECT_EQ(area.write_at(capacity + 1, {}).error().code, Errc::storage_full);
  EXPECT_TRUE(area.write_at(capacity - 2, io::as_bytes("xy")).has_value());
  std::array<std::byte, 8> bytes{};
  EXPECT_EQ(area.read_at(capacity - 2, bytes).value(), 2U);
  EXPECT_EQ(area.read_at(capacity, bytes).value(), 0U);
  EXPECT_EQ(area.seal({.length_bytes = capacity + 1, .digest = {}, .description = {}}).error().code, Errc::internal);
}

TEST_F(StateStoreOnMemory, ASealIsRefusedOverOtherContents) {
  StoreArea& area = store_->area(AreaKind::scratch);
  ASSERT_TRUE(area.write_at(0, io::as_bytes("contents")).has_value());
  const AreaSeal seal{.length_bytes = 8, .digest = sha256(io::as_bytes("contented")), .description = {}};
  EXPECT_EQ(area.seal(seal).error().code, Errc::readback_mismatch);
  EXPECT_FALSE(area.read_seal().value());
}

TEST_F(StateStoreOnMemory, AfterAFailedSyncAnAreaIsNotSealedByAskingAgain) {
  StoreArea& area = store_->area(AreaKind::scratch);
  ASSERT_TRUE(area.write_at(0, io::as_bytes("contents")).has_value());
  storage_.plan_faults({.fail_sync = 1});
  const AreaSeal seal{.length_bytes = 8, .digest = sha256(io::as_bytes("contents")), .description = {}};
  EXPECT_EQ(area.seal(seal).error().code, Errc::sync_failed);
  EXPECT_EQ(area.seal(seal).error().code, Errc::io_error);
  ASSERT_TRUE(area.unseal().has_value());
  ASSERT_TRUE(area.write_at(0, io::as_bytes("contents")).has_value());
  EXPECT_TRUE(area.seal(seal).has_value());
}

TEST_F(StateStoreOnMemory, ALyingDeviceAndAFailedSyncAreNoticed) {
  ASSERT_TRUE(store_->write_record(RecordKind::facts, "before").has_value());
  storage_.plan_faults({.flip_in_write = 1});
  const auto flipped = store_->write_record(RecordKind::facts, "after");
  EXPECT_EQ(flipped.error().code, Errc::readback_mismatch);
  EXPECT_NE(flipped.error().message.find("offset " + std::to_string(place(RegionKind::facts, 0))), std::string::npos)
      << flipped.error().message;
  EXPECT_EQ(payload_of(RecordKind::facts), "before");
  storage_.plan_faults({.fail_sync = 1});
  EXPECT_EQ(store_->write_record(RecordKind::facts, "after").error().code, Errc::sync_failed);
  storage_.plan_faults({.fail_write = 1});
  EXPECT_EQ(store_->append_history("x").error().code, Errc::io_error);
}

TEST_F(StateStoreOnMemory, WorksWhereThereIsNoDirectIo) {
  storage_.plan_faults({.without_direct_io = true});
  reopen();
  ASSERT_TRUE(store_->write_record(RecordKind::facts, "x").has_value());
  EXPECT_EQ(payload_of(RecordKind::facts), "x");
}

}  // namespace
}  // namespace slotkeeper

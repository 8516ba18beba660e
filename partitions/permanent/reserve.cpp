#include "partitions/permanent/reserve.hpp"

#include <algorithm>
#include <cerrno>
#include <set>

#include "partitions/permanent/reserve_files.hpp"
#include "partitions/permanent/reserve_need.hpp"
#include "partitions/permanent/restore_build.hpp"
#include "partitions/permanent/steady_file.hpp"

namespace slotkeeper::permanent {
namespace {

constexpr std::size_t kZerosBytes = std::size_t{1024} * 1024;
constexpr std::uint32_t kOwnMode = 0700;

/// Makes a directory durable, with its name, where it is missing.
Result<void> ensure_directory(io::Directory& parent, const std::string& name) {
  const Result<io::EntryStatus> status = parent.status_of(name);
  if (status.has_value()) {
    if (status.assume_value().type == io::EntryType::directory) return success();
    return make_error(Errc::config,
                      name + ": is in the place of Slotkeeper's own directory on the permanent partition");
  }
  if (!is_gone(status.assume_error())) return status.assume_error();
  SK_TRY(parent.create_directory(name, kOwnMode));
  return parent.sync();
}

Result<ReserveNeed> need_of(StoreArea& snapshot, std::uint64_t block_bytes) {
  SK_TRY_ASSIGN(const auto reader, SnapshotReader::open(snapshot));
  ReserveNeed need(block_bytes);
  for (;;) {
    SK_TRY_ASSIGN(const std::optional<SnapshotReader::Item> item, reader->next());
    if (!item) return need;
    if (!item->is_mount) need.add(item->entry);
  }
}

class Building {
 public:
  Building(io::Directory& reserve, const ReserveNeed& need, std::uint64_t slack_bytes, ProgressSink& progress)
      : reserve_(reserve), progress_(progress), zeros_(kZerosBytes) {
    for (const auto& [size, count] : need.files()) {
      for (std::uint64_t number = 0; number < count; ++number) wanted_.emplace_back(reserve_name(size, number), size);
    }
    wanted_.emplace_back(kSlackName, slack_bytes);
    std::ranges::sort(wanted_);
  }

  Result<ReserveFacts> run() {
    Result<void> made = make_missing();
    if (!made.has_value() && made.assume_error().code == Errc::storage_full) {
      // What another snapshot needed may be in the way.
      SK_TRY_ASSIGN(const bool removed, remove_surplus());
      if (removed) made = make_missing();
    }
    SK_TRY(made);
    // One sync for all: blocks that were only promised so far are found now, and a failure to write any of them shows.
    SK_TRY(reserve_.sync_filesystem());
    SK_TRY_ASSIGN(const bool removed, remove_surplus());
    (void)removed;
    ReserveFacts facts;
    facts.files = wanted_.size();
    for (const auto& [name, size] : wanted_) facts.bytes += size;
    return facts;
  }

 private:
  Result<void> make_missing() {
    for (const auto& [name, size] : wanted_) {
      SK_TRY(progress_.check_cancelled());
      SK_TRY_ASSIGN(const bool whole, is_whole(reserve_, name, size));
      if (!whole) SK_TRY(make_file(name, size));
    }
    return success();
  }

  /// Zeros are written, not just allocated: a later write then needs no block for bookkeeping either.
  Result<void> make_file(const std::string& name, std::uint64_t size) {
    Result<void> removed = remove_entry(reserve_, name);
    if (!removed.has_value() && !is_gone(removed.assume_error())) return removed;
    SK_TRY_ASSIGN(const auto file, reserve_.open_file(name, io::OpenMode::create_new(0600)));
    for (std::uint64_t offset = 0; offset < size;) {
      const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(zeros_.size(), size - offset));
      SK_TRY(file->write_at(offset, io::ConstBytes(zeros_.data(), step)));
      offset += step;
      SK_TRY(progress_.check_cancelled());
    }
    return file->close();
  }

  /// True when anything was removed.
  Result<bool> remove_surplus() {
    std::vector<std::string> surplus;
    SK_TRY(reserve_.visit_entries([&](const io::DirectoryEntry& entry) -> Result<void> {
      const auto found =
          std::ranges::lower_bound(wanted_, entry.name, {}, &std::pair<std::string, std::uint64_t>::first);
      if (found == wanted_.end() || found->first != entry.name) surplus.push_back(entry.name);
      return success();
    }));
    for (const std::string& name : surplus) SK_TRY(remove_entry(reserve_, name));
    if (!surplus.empty()) SK_TRY(reserve_.sync());
    return !surplus.empty();
  }

  io::Directory& reserve_;
  ProgressSink& progress_;
  std::vector<std::byte> zeros_;
  std::vector<std::pair<std::string, std::uint64_t>> wanted_;  ///< name and size, sorted
};

/// The directory of the reserve, or nothing when there is none.
Result<std::unique_ptr<io::Directory>> open_reserve(io::Directory& root) {
  Result<std::unique_ptr<io::Directory>> opened = root.open_directory(reserve_path());
  if (opened.has_value()) return opened;
  if (is_gone(opened.assume_error())) return std::unique_ptr<io::Directory>();
  return opened;
}

}  // namespace

Result<void> make_own_directory(io::Directory& root) { return ensure_directory(root, std::string(kOwnDirectory)); }

Result<ReserveFacts> make_reserve(io::Directory& root, StoreArea& snapshot, std::uint64_t slack_bytes,
                                  ProgressSink& progress) {
  SK_TRY_ASSIGN(const io::SpaceFacts space, root.space());
  SK_TRY_ASSIGN(const ReserveNeed need, need_of(snapshot, space.block_bytes));
  SK_TRY(make_own_directory(root));
  SK_TRY_ASSIGN(const auto own, root.open_directory(std::string(kOwnDirectory)));
  SK_TRY(ensure_directory(*own, std::string(kReserveDirectory)));
  SK_TRY(own->close());
  SK_TRY_ASSIGN(const auto reserve, root.open_directory(reserve_path()));
  const std::uint64_t slack = whole_blocks(slack_bytes + need.loose_bytes(), space.block_bytes);
  SK_TRY_ASSIGN(const ReserveFacts facts, with_context(Building(*reserve, need, slack, progress).run(), "reserve"));
  SK_TRY(reserve->close());
  return facts;
}

Result<bool> reserve_is_whole(io::Directory& root, StoreArea& snapshot) {
  SK_TRY_ASSIGN(const io::SpaceFacts space, root.space());
  SK_TRY_ASSIGN(const ReserveNeed need, need_of(snapshot, space.block_bytes));
  SK_TRY_ASSIGN(const auto reserve, open_reserve(root));
  if (!reserve) return false;
  for (const auto& [size, count] : need.files()) {
    for (std::uint64_t number = 0; number < count; ++number) {
      SK_TRY_ASSIGN(const bool whole, is_whole(*reserve, reserve_name(size, number), size));
      if (!whole) return false;
    }
  }
  const Result<io::EntryStatus> slack = reserve->status_of(std::string(kSlackName));
  if (!slack.has_value() && is_gone(slack.assume_error())) return false;
  SK_TRY(slack);
  SK_TRY_ASSIGN(const bool slack_whole, is_whole(*reserve, std::string(kSlackName),
                                                 std::max(slack.assume_value().size_bytes,
                                                          whole_blocks(need.loose_bytes(), space.block_bytes))));
  SK_TRY(reserve->close());
  return slack_whole;
}

Result<void> release_reserve(io::Directory& root) {
  SK_TRY_ASSIGN(const auto reserve, open_reserve(root));
  if (!reserve) return success();
  std::vector<std::string> names;
  SK_TRY(reserve->visit_entries([&](const io::DirectoryEntry& entry) -> Result<void> {
    names.push_back(entry.name);
    return success();
  }));
  for (const std::string& name : names) SK_TRY(with_context(remove_entry(*reserve, name), "release of the reserve"));
  SK_TRY(reserve->close());
  SK_TRY_ASSIGN(const auto own, root.open_directory(std::string(kOwnDirectory)));
  SK_TRY(remove_entry(*own, std::string(kReserveDirectory)));
  SK_TRY(own->sync());
  return own->close();
}

}  // namespace slotkeeper::permanent

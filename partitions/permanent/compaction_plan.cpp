// What can go and what can shrink, in a fixed order.
#include <algorithm>
#include <cerrno>
#include <tuple>

#include "partitions/permanent/compaction.hpp"
#include "partitions/permanent/compaction_file.hpp"
#include "partitions/permanent/paths.hpp"
#include "partitions/permanent/retention.hpp"
#include "partitions/permanent/segment_codec.hpp"
#include "partitions/permanent/segment_name.hpp"

namespace slotkeeper::permanent {
namespace {

constexpr std::size_t kNameMaxBytes = 255;
constexpr std::size_t kSampleBytes = std::size_t{32} * 1024;

/// A segment in the order of its series.
struct Member {
  std::size_t entry = 0;  ///< index into the inventory
  std::string order;
  io::TimeStamp modified;
};

struct Series {
  SegmentMark mark = SegmentMark::number;
  std::string active;
  std::vector<Member> members;  ///< the oldest first, once `put_in_order` was called
  bool order_is_known = true;
};

/// The members by the time they were made. Where the direction of the numbers differs between programs, only time
/// stamps that rise or fall all along say which it is.
void put_in_order(Series& series) {
  std::ranges::stable_sort(series.members, {}, &Member::order);
  if (series.mark != SegmentMark::infix) return;
  if (!std::ranges::is_sorted(series.members, {}, &Member::modified)) std::ranges::reverse(series.members);
  series.order_is_known = std::ranges::is_sorted(series.members, {}, &Member::modified) &&
                          series.members.front().modified != series.members.back().modified;
}

class Planner {
 public:
  Planner(io::Directory& root, Inventory inventory, const ClassTable& classes, const CompactionLimits& limits)
      : root_(root), classes_(classes), limits_(limits) {
    plan_.inventory = std::move(inventory);
  }

  Result<CompactionPlan> run() {
    SK_TRY_ASSIGN(const io::SpaceFacts space, root_.space());
    block_bytes_ = std::max<std::uint64_t>(space.block_bytes, 1);
    SK_TRY(look_at_entries());
    std::ranges::sort(plan_.actions, [this](const CompactionAction& a, const CompactionAction& b) {
      const std::string_view first = plan_.path(a);
      const std::string_view second = plan_.path(b);
      return std::tuple(parent_of(first), first) < std::tuple(parent_of(second), second);
    });
    for (const auto& [directory, entries] : logs_) SK_TRY(look_at_directory(entries));
    std::ranges::sort(compressions_, [this](const CompactionAction& a, const CompactionAction& b) {
      return std::tuple(b.frees.bytes, plan_.path(a)) < std::tuple(a.frees.bytes, plan_.path(b));
    });
    std::ranges::move(compressions_, std::back_inserter(plan_.actions));
    return std::move(plan_);
  }

 private:
  /// Disposable files are dealt with at once, logs are put together by directory.
  Result<void> look_at_entries() {
    std::size_t index = 0;
    for (const Entry& entry : plan_.inventory.entries) {
      const std::size_t here = index++;
      if (entry.status.type != io::EntryType::regular) continue;
      if (entry.status.modified <= limits_.now) newest_ = std::max(newest_, entry.status.modified);
      if (entry.kind == ClassKind::disposable) SK_TRY(look_at_disposable(entry, here));
      if (entry.kind != ClassKind::log && entry.kind != ClassKind::security_log) continue;
      logs_[parent_of(entry.path)].push_back(here);
    }
    return success();
  }

  Result<void> look_at_disposable(const Entry& entry, std::size_t index) {
    if (must_stay(entry.status)) return success();
    if (entry.status.links != 1) return leave(entry.path, LeftAloneReason::several_names);
    SK_TRY_ASSIGN(const auto held, take_unused(root_, entry.path, io::LeaseKind::nobody));
    if (!held) return leave(entry.path, LeftAloneReason::in_use);
    plan_.actions.push_back(action_for(entry, index, CompactionAction::Kind::remove_disposable,
                                       {.bytes = entry.status.allocated_bytes, .inodes = 1}));
    return success();
  }

  /// The segments of one directory, series by series.
  Result<void> look_at_directory(const std::vector<std::size_t>& entries) {
    std::map<std::string, Series> all;
    names_.clear();
    for (const std::size_t index : entries) {
      const Entry& entry = plan_.inventory.entries[index];
      std::string name = last_name_of(entry.path);
      if (auto segment = understand_segment(name)) {
        Series& series = all[segment->series];
        series.mark = segment->mark;
        series.active = std::move(segment->active);
        series.members.push_back(
            {.entry = index, .order = std::move(segment->order), .modified = entry.status.modified});
      }
      names_.push_back(std::move(name));
    }
    std::ranges::sort(names_);
    for (auto& [key, series] : all) {
      put_in_order(series);
      SK_TRY(look_at_series(series));
    }
    return success();
  }

  Result<void> look_at_series(Series& series) {
    std::span<const Member> closed(series.members);
    if (!std::ranges::binary_search(names_, series.active)) {
      // Nothing is written under the plain name, so it may be the newest one that is.
      const std::string newest = closed.back().order;
      while (!closed.empty() && closed.back().order == newest) closed = closed.first(closed.size() - 1);
      if (series.mark == SegmentMark::infix && !closed.empty()) closed = closed.subspan(1);
    }
    SK_TRY_ASSIGN(const std::size_t dropped, drop_expired(series, closed));
    for (const Member& member : closed.subspan(dropped)) SK_TRY(look_at_segment(member.entry));
    return success();
  }

  /// Number of segments that go, all from the oldest on.
  Result<std::size_t> drop_expired(const Series& series, std::span<const Member> closed) {
    if (!series.order_is_known || closed.empty()) return std::size_t{0};
    // All of the series, so that every time stamp is compared with those of its neighbours.
    std::vector<SegmentAge> ages;
    for (const Member& member : series.members) {
      const Entry& entry = plan_.inventory.entries[member.entry];
      const bool may_go = entry.kind == ClassKind::log;
      ages.push_back(
          {.modified = member.modified, .keep_days = may_go ? classes_.rule_at(entry.rule).keep_days : std::nullopt});
    }
    const bool begins_at_the_oldest = closed.data() == series.members.data();
    const std::size_t expired = begins_at_the_oldest ? expired_segments(ages, credible_now(limits_.now, newest_)) : 0;
    ++series_;
    for (std::size_t i = 0; i < std::min(expired, closed.size()); ++i) {
      const Entry& entry = plan_.inventory.entries[closed[i].entry];
      SK_TRY_ASSIGN(const auto obstacle, obstacle_of(entry));
      if (obstacle) return i;  // what was made after it stays, too
      plan_.actions.push_back(action_for(entry, closed[i].entry, CompactionAction::Kind::drop_expired,
                                         {.bytes = entry.status.allocated_bytes, .inodes = 1}));
      plan_.actions.back().series = series_;
    }
    return std::min(expired, closed.size());
  }

  /// Why nothing can be done with this segment now.
  Result<std::optional<LeftAloneReason>> obstacle_of(const Entry& entry) {
    const io::EntryStatus& status = entry.status;
    if (must_stay(status)) return std::optional(LeftAloneReason::being_finished);
    if (status.links != 1) return std::optional(LeftAloneReason::several_names);
    if (!is_quiet(status)) return std::optional(LeftAloneReason::not_quiet);
    // Nothing is written: an immutable file cannot be opened for that.
    Result<std::unique_ptr<io::File>> writable = root_.open_file(entry.path, io::OpenMode::read_write());
    if (!writable.has_value()) {
      const Error& error = writable.assume_error();
      if (error.os_errno == EPERM) return std::optional(LeftAloneReason::cannot_be_changed);
      if (error.code != Errc::read_only && !is_about_this_file(error)) return std::move(writable).assume_error();
      if (error.code != Errc::read_only) return std::optional(LeftAloneReason::in_use);
    } else {
      SK_TRY(writable.assume_value()->close());
    }
    SK_TRY_ASSIGN(const auto held, take_unused(root_, entry.path, io::LeaseKind::no_writer));
    return held ? std::optional<LeftAloneReason>() : std::optional(LeftAloneReason::in_use);
  }

  Result<void> look_at_segment(std::size_t index) {
    const Entry entry = plan_.inventory.entries[index];
    const std::string name = last_name_of(entry.path);
    if (compressor_suffix(name) != 0) return success();  // of a kind that is never of interest
    if (entry.status.allocated_bytes <= block_bytes_ || entry.status.size_bytes <= block_bytes_) {
      return leave(entry.path, LeftAloneReason::too_small);
    }
    if (name.size() + kCompressedSuffix.size() > kNameMaxBytes) {
      return leave(entry.path, LeftAloneReason::name_too_long);
    }
    SK_TRY_ASSIGN(const auto taken, find_entry(root_, compressed_name(entry.path)));
    if (taken) return leave(entry.path, LeftAloneReason::name_taken);
    if (classes_.index_of(compressed_name(entry.path)) != entry.rule) {
      return leave(entry.path, LeftAloneReason::other_class);
    }
    SK_TRY_ASSIGN(const auto obstacle, obstacle_of(entry));
    if (obstacle) return leave(entry.path, *obstacle);
    return estimate(entry, index);
  }

  /// From samples of the beginning and the middle; the worse one counts, and a ninth is added: what is far apart in a
  /// segment may be less alike than what is near.
  Result<void> estimate(const Entry& entry, std::size_t index) {
    Result<std::unique_ptr<io::File>> opened = root_.open_file(entry.path, io::OpenMode::read_only());
    if (!opened.has_value()) {
      if (is_about_this_file(opened.assume_error())) return leave(entry.path, LeftAloneReason::changed);
      return std::move(opened).as_failure();
    }
    io::File& file = *opened.assume_value();
    const std::uint64_t size = entry.status.size_bytes;
    std::uint64_t stored = 0;
    for (const std::uint64_t offset : {std::uint64_t{0}, size / 2}) {
      SK_TRY_ASSIGN(const std::size_t count, file.read_at(offset, sample_));
      if (count == 0) return leave(entry.path, LeftAloneReason::changed);
      const io::ConstBytes plain(sample_.data(), count);
      if (offset == 0 && looks_compressed(plain)) return leave(entry.path, LeftAloneReason::compressed_already);
      SK_TRY_ASSIGN(const auto frame, encoder_.encode(plain));
      const auto whole = static_cast<std::uint64_t>(static_cast<double>(frame.size()) / static_cast<double>(count) *
                                                    static_cast<double>(size));
      stored = std::max(stored, whole + whole / 9);
    }
    SK_TRY(file.close());
    const std::uint64_t stored_blocks = (stored + block_bytes_ - 1) / block_bytes_ * block_bytes_;
    if (stored_blocks + block_bytes_ > entry.status.allocated_bytes)
      return leave(entry.path, LeftAloneReason::too_small);
    compressions_.push_back(action_for(entry, index, CompactionAction::Kind::compress,
                                       {.bytes = entry.status.allocated_bytes - stored_blocks, .inodes = 0}));
    return success();
  }

  CompactionAction action_for(const Entry& entry, std::size_t index, CompactionAction::Kind kind, Amount frees) {
    plan_.frees.bytes += frees.bytes;
    plan_.frees.inodes += frees.inodes;
    Amount& of_class = plan_.frees_by_class[classes_.rule_at(entry.rule).name];
    of_class.bytes += frees.bytes;
    of_class.inodes += frees.inodes;
    return {.kind = kind, .entry = static_cast<std::uint32_t>(index), .series = 0, .frees = frees};
  }

  Result<void> leave(const std::string& path, LeftAloneReason reason) {
    plan_.left_alone.add(path, reason);
    return success();
  }

  [[nodiscard]] bool must_stay(const io::EntryStatus& status) const {
    return status.inode == limits_.half_compressed_inode ||
           std::ranges::find(limits_.keep, std::pair(status.device, status.inode)) != limits_.keep.end();
  }

  /// A change that lies in the future was made before the clock went back: nobody can say how long ago.
  [[nodiscard]] bool is_quiet(const io::EntryStatus& status) const {
    const auto is_recent = [&](io::TimeStamp time) {
      io::TimeStamp until = time;
      until.seconds += kQuietSeconds;
      return time <= limits_.now && limits_.now < until;
    };
    return !is_recent(status.modified) && !is_recent(status.changed);
  }

  io::Directory& root_;
  const ClassTable& classes_;
  const CompactionLimits& limits_;
  std::uint64_t block_bytes_ = 0;
  std::uint32_t series_ = 0;
  io::TimeStamp newest_;
  std::map<std::string, std::vector<std::size_t>> logs_;  ///< by directory
  std::vector<std::string> names_;                        ///< of the logs in the directory being looked at
  std::vector<CompactionAction> compressions_;
  std::vector<std::byte> sample_ = std::vector<std::byte>(kSampleBytes);
  SegmentEncoder encoder_{1};
  CompactionPlan plan_;
};

}  // namespace

void CompactionPlan::keep_planned_files() {
  EntryList planned;
  for (CompactionAction& action : actions) {
    planned.push_back(file(action));
    action.entry = static_cast<std::uint32_t>(planned.size() - 1);
  }
  inventory.entries = std::move(planned);
  actions.shrink_to_fit();
}

Result<CompactionPlan> plan_compaction(io::Directory& root, Inventory inventory, const ClassTable& classes,
                                       const CompactionLimits& limits) {
  return with_context(Planner(root, std::move(inventory), classes, limits).run(), "compaction");
}

}  // namespace slotkeeper::permanent

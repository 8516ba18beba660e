#include "partitions/permanent/compaction_replace.hpp"

#include <algorithm>
#include <cerrno>

#include "partitions/permanent/compaction_file.hpp"
#include "partitions/permanent/paths.hpp"
#include "partitions/permanent/steady_file.hpp"

namespace slotkeeper::permanent {
namespace {

/// How often room is looked at while a replacement grows.
constexpr std::uint64_t kLookEveryBytes = std::uint64_t{1} << 20;

/// One segment on its way to NAME.zst. Each step returns why it went no further, or nothing.
class Replacement {
 public:
  using Refusal = Result<std::optional<LeftAloneReason>>;

  Replacement(io::Directory& root, const PlannedSegment& segment, SegmentEncoder& encoder, CompactionProgress& progress)
      : root_(root),
        segment_(segment),
        encoder_(encoder),
        progress_(progress),
        name_(last_name_of(segment.file.path)),
        built_(std::string(kOwnDirectory) + "/" + replacement_name(segment.file.status.inode)),
        retired_(std::string(kOwnDirectory) + "/" + retired_name(segment.file.status.inode)) {}

  Result<Replaced> run() {
    for (const auto step : {&Replacement::take, &Replacement::build, &Replacement::publish, &Replacement::retire}) {
      SK_TRY_ASSIGN(const auto refusal, (this->*step)());
      if (!refusal) continue;
      SK_TRY(undo());
      return Replaced{.left_alone = refusal, .after_bytes = 0};
    }
    return Replaced{.left_alone = {}, .after_bytes = stored_bytes_};
  }

 private:
  static std::optional<LeftAloneReason> none() { return std::nullopt; }

  Refusal take() {
    Result<std::unique_ptr<io::Directory>> parent = root_.open_directory(parent_of(segment_.file.path));
    if (!parent.has_value()) {
      if (is_about_this_file(parent.assume_error())) return std::optional(LeftAloneReason::changed);
      return std::move(parent).assume_error();
    }
    parent_ = std::move(parent).assume_value();
    SK_TRY_ASSIGN(original_, take_unused(*parent_, name_, io::LeaseKind::no_writer));
    if (!original_) return std::optional(LeftAloneReason::in_use);
    SK_TRY_ASSIGN(status_, original_->status());
    if (!is_as_planned(segment_.file, status_, true)) return std::optional(LeftAloneReason::changed);
    SK_TRY_ASSIGN(const auto taken, find_entry(*parent_, compressed_name(name_)));
    if (taken) return std::optional(LeftAloneReason::name_taken);
    // What the plan counted with must be there, and something for those who write logs meanwhile.
    SK_TRY_ASSIGN(const io::SpaceFacts space, root_.space());
    const std::uint64_t expected = status_.allocated_bytes - std::min(status_.allocated_bytes, segment_.frees_bytes);
    const bool inodes = space.inodes == 0 || space.inodes_free > kRoomForWritersInodes;
    if (!inodes || space.available_bytes < expected + kRoomForWritersBytes)
      return std::optional(LeftAloneReason::no_room);
    return none();
  }

  Refusal build() {
    Result<std::unique_ptr<io::File>> created = root_.open_file(built_, io::OpenMode::create_new(0600));
    if (!created.has_value()) {
      if (is_about_room(created.assume_error())) return std::optional(LeftAloneReason::no_room);
      return std::move(created).assume_error();
    }
    replacement_ = std::move(created).assume_value();
    Refusal filled = fill();
    // ENOSPC may also come from the sync: then the file is thrown away, so what is in it does not matter.
    if (!filled.has_value() && is_about_room(filled.assume_error())) return std::optional(LeftAloneReason::no_room);
    return filled;
  }

  Refusal fill() {
    std::uint64_t plain_bytes = 0;
    std::uint64_t looked_at = 0;
    bool has_room = true;
    const SegmentOutput store = [&](io::ConstBytes piece) -> Result<void> {
      SK_TRY(replacement_->write_at(stored_bytes_, piece));
      stored_bytes_ += piece.size();
      if (stored_bytes_ - looked_at < kLookEveryBytes) return success();
      looked_at = stored_bytes_;
      SK_TRY_ASSIGN(const io::SpaceFacts space, root_.space());
      has_room = space.available_bytes >= kRoomForWritersBytes;
      return success();
    };
    encoder_.begin(status_.size_bytes);
    std::vector<std::byte> buffer(std::size_t{256} * 1024);
    for (;;) {
      SK_TRY(progress_.sink().check_cancelled());
      SK_TRY_ASSIGN(const std::size_t count, original_->read_at(plain_bytes, buffer));
      const io::ConstBytes plain(buffer.data(), count);
      plain_bytes += count;
      if (plain_bytes > status_.size_bytes) return std::optional(LeftAloneReason::changed);
      SK_TRY(encoder_.add(plain, store));
      progress_.add(count);
      if (!has_room) return std::optional(LeftAloneReason::no_room);
      if (stored_bytes_ >= status_.size_bytes) return std::optional(LeftAloneReason::too_small);
      if (count < buffer.size()) break;
    }
    if (plain_bytes != status_.size_bytes) return std::optional(LeftAloneReason::changed);
    SK_TRY(encoder_.finish(store));
    SK_TRY(give_attributes());
    SK_TRY(replacement_->sync());
    SK_TRY(read_back(buffer));
    SK_TRY_ASSIGN(const io::EntryStatus built, replacement_->status());
    if (built.allocated_bytes >= status_.allocated_bytes) return std::optional(LeftAloneReason::too_small);
    return none();
  }

  /// Owner, mode and times first: a new owner takes capabilities away, and an access list agrees with the mode.
  Result<void> give_attributes() {
    SK_TRY_ASSIGN(attributes_, original_->extended_attributes());
    SK_TRY_ASSIGN(const auto present, replacement_->extended_attributes());
    for (const auto& attribute : present) {
      const bool wanted =
          std::ranges::find(attributes_, attribute.name, &io::ExtendedAttribute::name) != attributes_.end();
      if (!wanted) SK_TRY(replacement_->remove_extended_attribute(attribute.name));
    }
    SK_TRY(replacement_->set_attributes({.mode = status_.mode,
                                         .owner = status_.owner,
                                         .group = status_.group,
                                         .accessed = status_.accessed,
                                         .modified = status_.modified}));
    for (const auto& attribute : attributes_) SK_TRY(replacement_->set_extended_attribute(attribute));
    return success();
  }

  /// Compares what the replacement unpacks to with the original, both read from the disk once more: the original is
  /// about to go, and a bit that turned over while it was read for the first time would be all that is left of it.
  Result<void> read_back(io::Bytes buffer) {
    for (io::File* const file : {replacement_.get(), original_.get()}) {
      SK_TRY_ASSIGN(const io::ReadBackLevel level, file->drop_cache());
      (void)level;  // where the cache cannot be dropped, reading from it is what can be done
    }
    bool is_same = true;
    std::uint64_t offset = 0;
    std::uint64_t plain_bytes = 0;
    Result<void> decoded = decode_segment(
        [&](io::Bytes into) -> Result<std::size_t> {
          SK_TRY_ASSIGN(const std::size_t count, replacement_->read_at(offset, into));
          offset += count;
          return count;
        },
        [&](io::ConstBytes plain) -> Result<void> {
          for (std::size_t compared = 0; is_same && compared < plain.size();) {
            const io::ConstBytes piece =
                plain.subspan(compared).first(std::min(plain.size() - compared, buffer.size()));
            SK_TRY_ASSIGN(const std::size_t count,
                          original_->read_at(plain_bytes + compared, buffer.first(piece.size())));
            is_same = count == piece.size() && std::equal(piece.begin(), piece.end(), buffer.begin());
            compared += piece.size();
          }
          plain_bytes += plain.size();
          return success();
        });
    const auto differs = [&] {
      return make_error(Errc::readback_mismatch, segment_.file.path + ": its compressed form read back differently");
    };
    if (!decoded.has_value() && decoded.assume_error().code == Errc::corrupt) return differs();
    SK_TRY(std::move(decoded));
    if (plain_bytes != status_.size_bytes || !is_same) return differs();
    SK_TRY_ASSIGN(const io::EntryStatus now, replacement_->status());
    SK_TRY_ASSIGN(const auto attributes, replacement_->extended_attributes());
    if (now.size_bytes != stored_bytes_ || now.mode != status_.mode || now.owner != status_.owner ||
        now.group != status_.group || now.modified != status_.modified || attributes != attributes_) {
      return differs();
    }
    return success();
  }

  Refusal publish() {
    SK_TRY_ASSIGN(const bool same, is_still_the_same());
    if (!same) return std::optional(LeftAloneReason::changed);
    // What tells a recovery that NAME.zst is ours must not come up later than NAME.zst.
    SK_TRY_ASSIGN(const auto own, root_.open_directory(std::string(kOwnDirectory)));
    SK_TRY(own->sync());
    SK_TRY(own->close());
    const Result<void> linked = root_.create_hard_link(built_, compressed_name(segment_.file.path));
    if (!linked.has_value()) {
      const Error& error = linked.assume_error();
      if (error.os_errno == EEXIST) return std::optional(LeftAloneReason::name_taken);
      if (is_about_room(error)) return std::optional(LeftAloneReason::no_room);
      if (is_about_this_file(error)) return std::optional(LeftAloneReason::changed);
      return Error(error);
    }
    is_published_ = true;
    SK_TRY(parent_->sync());
    return none();
  }

  /// Moves the original out of everybody's sight, shows that nobody was quicker, and removes it.
  Refusal retire() {
    SK_TRY_ASSIGN(const bool same, is_still_the_same());
    if (!same) return std::optional(LeftAloneReason::changed);
    const Result<void> moved = root_.rename(segment_.file.path, retired_, io::RenameKind::no_replace);
    if (!moved.has_value()) {
      const Error& error = moved.assume_error();
      if (error.os_errno == EPERM) return std::optional(LeftAloneReason::cannot_be_changed);
      if (is_about_room(error)) return std::optional(LeftAloneReason::no_room);
      if (is_about_this_file(error)) return std::optional(LeftAloneReason::changed);
      return Error(error);
    }
    SK_TRY_ASSIGN(const io::EntryStatus status, root_.status_of(retired_));
    SK_TRY_ASSIGN(const bool unused, original_->try_lease(io::LeaseKind::no_writer));
    if (!unused || !is_as_planned(segment_.file, status, false)) {
      // `finish_replacements` knows how to put it back.
      return std::optional(LeftAloneReason::in_use);
    }
    SK_TRY(root_.remove_file(retired_));
    // Before the name that tells a recovery what this was: else both forms of the log might stay for ever.
    SK_TRY(parent_->sync());
    SK_TRY(root_.remove_file(built_));
    SK_TRY(original_->close());
    SK_TRY(replacement_->close());
    SK_TRY(parent_->close());
    return none();
  }

  /// Nobody writes it, nothing of it was touched, and the name is still its name.
  Result<bool> is_still_the_same() {
    SK_TRY_ASSIGN(const bool unused, original_->try_lease(io::LeaseKind::no_writer));
    SK_TRY_ASSIGN(const io::EntryStatus now, original_->status());
    SK_TRY_ASSIGN(const auto named, find_entry(*parent_, name_));
    return unused && is_as_planned(segment_.file, now, true) && named && is_as_planned(segment_.file, *named, true);
  }

  Result<void> undo() {
    original_.reset();  // gives the lease back to those who wait for it
    if (!replacement_) return success();
    replacement_.reset();
    if (!is_published_) return remove_if_there(root_, built_);
    SK_TRY_ASSIGN(const bool found, finish_replacements(root_, progress_.sink()));
    SK_INVARIANT(found);
    return success();
  }

  io::Directory& root_;
  const PlannedSegment& segment_;
  SegmentEncoder& encoder_;
  CompactionProgress& progress_;
  std::string name_;
  std::string built_;
  std::string retired_;
  std::unique_ptr<io::Directory> parent_;
  std::unique_ptr<io::File> original_;
  std::unique_ptr<io::File> replacement_;
  io::EntryStatus status_;
  std::vector<io::ExtendedAttribute> attributes_;
  std::uint64_t stored_bytes_ = 0;
  bool is_published_ = false;
};

}  // namespace

Result<Replaced> replace_segment(io::Directory& root, const PlannedSegment& segment, SegmentEncoder& encoder,
                                 CompactionProgress& progress) {
  return with_context(Replacement(root, segment, encoder, progress).run(), segment.file.path);
}

}  // namespace slotkeeper::permanent

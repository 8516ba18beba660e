#include "partitions/permanent/compaction_in_place.hpp"

#include <algorithm>
#include <cerrno>

#include "partitions/digest.hpp"
#include "partitions/permanent/compaction_file.hpp"
#include "partitions/permanent/compaction_redo.hpp"
#include "partitions/permanent/inode_finder.hpp"
#include "partitions/permanent/paths.hpp"
#include "partitions/permanent/segment_codec.hpp"
#include "partitions/permanent/segment_name.hpp"

namespace slotkeeper::permanent {
namespace {

constexpr std::uint64_t kPieceMaxBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kProbeMaxBytes = 4096;
constexpr int kNameAttemptsMax = 8;
/// What an incompressible piece grows by at most (RFC 8878): header and checksum of its frame, 3 bytes for each block.
constexpr std::uint64_t growth_max_bytes(std::uint64_t piece_bytes) {
  constexpr std::uint64_t kBlockBytes = std::uint64_t{128} * 1024;
  return 18 + 3 * (piece_bytes / kBlockBytes + 1);
}

/// Filesystems on which overwriting allocated blocks needs no new ones. (XFS does with shared extents, which logs have
/// only when somebody made a reflink copy; then the write fails and recovery tries again.)
bool overwrites_in_place(std::uint64_t filesystem_magic) {
  constexpr std::uint64_t kExt = 0xEF53;
  constexpr std::uint64_t kXfs = 0x58465342;
  constexpr std::uint64_t kTmpfs = 0x01021994;
  return filesystem_magic == kExt || filesystem_magic == kXfs || filesystem_magic == kTmpfs;
}

Result<Probe> take_probe(io::File& file, std::uint64_t offset, std::uint64_t end) {
  Probe probe{.offset = offset, .length = 0, .hash = fast_hash({})};
  if (end <= offset) return probe;
  std::vector<std::byte> bytes(static_cast<std::size_t>(std::min(kProbeMaxBytes, end - offset)));
  SK_TRY_ASSIGN(const std::size_t count, file.read_at(offset, bytes));
  probe.length = bytes.size();
  probe.hash = fast_hash(io::ConstBytes(bytes.data(), count));
  return probe;
}

Result<bool> matches(io::File& file, const Probe& probe) {
  SK_TRY_ASSIGN(const Probe found, take_probe(file, probe.offset, probe.offset + probe.length));
  return found == probe;
}

/// PATH.zst is another log, renamed by mistake: it is called PATH again, or PATH.INODE where that is taken by now.
Result<void> give_back_name(io::Directory& root, const std::string& path, std::uint64_t inode) {
  Result<void> renamed = root.rename(compressed_name(path), path, io::RenameKind::no_replace);
  if (!renamed.has_value() && renamed.assume_error().os_errno == EEXIST) {
    renamed = root.rename(compressed_name(path), path + "." + std::to_string(inode), io::RenameKind::no_replace);
  }
  SK_TRY(std::move(renamed));
  SK_TRY_ASSIGN(const auto parent, root.open_directory(parent_of(path)));
  SK_TRY(parent->sync());
  return parent->close();
}

/// Cut between a rename that met another log and its taking back: PATH.zst is neither ours nor compressed.
Result<void> heal_name(io::Directory& root, const RedoStep& step) {
  const std::string name = compressed_name(step.path);
  SK_TRY_ASSIGN(const auto status, find_entry(root, name));
  if (!status || status->inode == step.inode || status->type != io::EntryType::regular) return success();
  SK_TRY_ASSIGN(const auto file, root.open_file(name, io::OpenMode::read_only()));
  std::vector<std::byte> beginning(16);
  SK_TRY_ASSIGN(const std::size_t count, file->read_at(0, beginning));
  SK_TRY(file->close());
  if (looks_compressed(io::ConstBytes(beginning.data(), count))) return success();
  return give_back_name(root, step.path, step.inode);
}

/// The file that is being compressed, and how far it is. `path` is its name now.
class InPlaceWork {
 public:
  InPlaceWork(io::Directory& root, RedoLog& redo, std::unique_ptr<io::File> file, RedoStep step)
      : root_(root), redo_(redo), file_(std::move(file)), step_(std::move(step)) {}

  /// Compresses from `consumed` on until nothing plain is left, then finishes. False when somebody has the file.
  Result<bool> run(std::uint64_t stored, std::uint64_t consumed, CompactionProgress* progress) {
    stored_ = stored;
    consumed_ = consumed;
    SK_TRY_ASSIGN(end_, file_->size());
    // Entries may be appended while the last piece is at work, when it takes long enough for the lease to be broken.
    for (std::uint64_t last_end = 0; last_end != end_;) {
      last_end = end_;
      while (consumed_ < end_) SK_TRY(next_piece(progress));
      SK_TRY_ASSIGN(const std::uint64_t size, file_->size());
      end_ = std::max(end_, size);
    }
    step_.kind = RedoStep::Kind::finish;
    step_.plain_bytes = end_;
    step_.consumed_bytes = end_;
    step_.stored_bytes = stored_;
    const std::uint64_t tail = std::max(stored_, end_ - std::min(end_, kProbeMaxBytes));
    SK_TRY_ASSIGN(step_.probe, take_probe(*file_, tail, end_));
    SK_TRY(redo_.append(step_, {}));
    return settle();
  }

  /// Puts the frame of the last step into place.
  Result<void> apply(std::uint64_t offset, io::ConstBytes frame) {
    SK_TRY(file_->write_at(offset, frame));
    SK_TRY(file_->sync());
    SK_TRY_ASSIGN(const io::ReadBackLevel level, file_->drop_cache());
    (void)level;
    std::vector<std::byte> found(frame.size());
    SK_TRY(file_->read_exactly_at(offset, found));
    if (std::equal(found.begin(), found.end(), frame.begin())) return success();
    return make_error(Errc::readback_mismatch,
                      step_.path + ": its compressed form read back differently at offset " + std::to_string(offset));
  }

  /// Everything is in frames: the file is cut off, gets its times and its name.
  Result<bool> settle() {
    SK_TRY_ASSIGN(const bool alone, file_->try_lease(io::LeaseKind::nobody));
    if (!alone && !readers_may_look_) return false;
    SK_TRY_ASSIGN(const io::EntryStatus status, file_->status());
    if (status.size_bytes > std::max(step_.plain_bytes, step_.stored_bytes)) return false;  // appended this moment
    if (status.size_bytes > step_.stored_bytes) SK_TRY(file_->resize(step_.stored_bytes));
    SK_TRY(file_->set_attributes({.mode = status.mode,
                                  .owner = status.owner,
                                  .group = status.group,
                                  .accessed = step_.accessed,
                                  .modified = step_.modified}));
    SK_TRY(file_->sync());
    SK_TRY_ASSIGN(const bool has_name, give_name());
    if (!has_name) return false;
    SK_TRY_ASSIGN(const auto parent, root_.open_directory(parent_of(path_)));
    SK_TRY(parent->sync());
    SK_TRY(parent->close());
    SK_TRY_ASSIGN(const bool still_alone, file_->try_lease(io::LeaseKind::nobody));
    if (!still_alone && !readers_may_look_) return false;
    SK_TRY(redo_.clear());
    SK_TRY(file_->close());
    return true;
  }

  void set_path(std::string path) { path_ = std::move(path); }
  void let_readers_look() { readers_may_look_ = true; }
  [[nodiscard]] std::uint64_t stored_bytes() const { return step_.stored_bytes; }

  /// Plain bytes of one piece: its frame always fits the scratch area.
  [[nodiscard]] static std::uint64_t piece_bytes(const RedoLog& redo) {
    const std::uint64_t capacity = redo.capacity_bytes();
    std::uint64_t piece = std::min(kPieceMaxBytes, capacity);
    while (piece > kProbeMaxBytes && frame_bound(static_cast<std::size_t>(piece)) > capacity) piece -= kProbeMaxBytes;
    return piece;
  }

  /// Names the log NAME.zst. A rename goes by name, and a logger that rotates meanwhile has put another segment there:
  /// then that one gets its name back, and ours is looked for.
  Result<bool> give_name() {
    for (int attempt = 0; attempt < kNameAttemptsMax && !path_.ends_with(kCompressedSuffix); ++attempt) {
      if (step_.path != path_) {
        step_.path = path_;  // where recovery looks for a segment that has our name
        SK_TRY(redo_.append(step_, {}));
      }
      const std::string name = compressed_name(path_);
      const Result<void> renamed = root_.rename(path_, name, io::RenameKind::no_replace);
      if (renamed.has_value()) {
        SK_TRY_ASSIGN(const io::EntryStatus status, root_.status_of(name));
        if (status.inode != step_.inode) SK_TRY(give_back_name(root_, path_, step_.inode));
      } else if (renamed.assume_error().os_errno == EEXIST) {
        SK_TRY_ASSIGN(const bool dropped, drop_old_name());
        if (!dropped) return false;
      } else if (renamed.assume_error().os_errno != ENOENT) {
        return renamed.assume_error();
      }
      SK_TRY_ASSIGN(auto found, find_inodes(root_, {step_.inode}));
      if (!found.contains(step_.inode)) return false;
      path_ = found[step_.inode];
    }
    return path_.ends_with(kCompressedSuffix);
  }

  /// The frame of a piece, shown to hold it.
  static Result<std::vector<std::byte>> checked_frame(SegmentEncoder& encoder, io::ConstBytes plain) {
    SK_TRY_ASSIGN(auto frame, encoder.encode(plain));
    std::size_t read = 0;
    std::size_t compared = 0;
    bool is_same = true;
    const Result<void> decoded = decode_segment(
        [&](io::Bytes into) -> Result<std::size_t> {
          const std::size_t count = std::min(into.size(), frame.size() - read);
          std::copy_n(frame.begin() + static_cast<std::ptrdiff_t>(read), count, into.begin());
          read += count;
          return count;
        },
        [&](io::ConstBytes piece) -> Result<void> {
          is_same = is_same && piece.size() <= plain.size() - compared &&
                    std::equal(piece.begin(), piece.end(), plain.begin() + static_cast<std::ptrdiff_t>(compared));
          compared += piece.size();
          return success();
        });
    if (decoded.has_value() && is_same && compared == plain.size()) return frame;
    return make_error(Errc::internal, "a piece of a log did not survive its compression");
  }

 private:
  Result<void> next_piece(CompactionProgress* progress) {
    std::vector<std::byte> plain(static_cast<std::size_t>(std::min(piece_bytes(redo_), end_ - consumed_)));
    SK_TRY(file_->read_exactly_at(consumed_, plain));
    SK_TRY_ASSIGN(const auto frame, checked_frame(encoder_, plain));
    const std::uint64_t after = consumed_ + plain.size();
    const std::uint64_t frame_end = stored_ + frame.size();
    if (frame_end > after && after < end_) {
      return make_error(Errc::internal, path_ + " grows by compression after all");
    }
    step_.kind = RedoStep::Kind::frame;
    step_.plain_bytes = end_;
    step_.consumed_bytes = after;
    step_.stored_bytes = stored_;
    // What this step does not change: the beginning once it is compressed, before that the end.
    const std::uint64_t tail = std::max(frame_end, end_ - std::min(end_, kProbeMaxBytes));
    SK_TRY_ASSIGN(step_.probe, stored_ > 0 ? take_probe(*file_, 0, stored_) : take_probe(*file_, tail, end_));
    SK_TRY(read_again(consumed_, plain));
    SK_TRY(redo_.append(step_, frame));
    SK_TRY(apply(stored_, frame));
    stored_ = frame_end;
    consumed_ = std::max(after, frame_end);  // the last frame of appended entries may reach past them
    end_ = std::max(end_, frame_end);
    if (progress != nullptr) progress->add(plain.size());
    return success();
  }

  /// A cut inside the rename may leave both names: then the old one goes. By way of our own directory, because a logger
  /// that rotates meanwhile may have put another segment there, which gets its name back. False when PATH.zst is
  /// somebody else's.
  Result<bool> drop_old_name() {
    SK_TRY_ASSIGN(const auto compressed, find_entry(root_, compressed_name(path_)));
    if (!compressed || compressed->inode != step_.inode) return false;
    SK_TRY(clear_aside());  // of another cut
    const Result<void> moved = root_.rename(path_, aside(), io::RenameKind::no_replace);
    if (!moved.has_value() && is_about_this_file(moved.assume_error())) return true;
    SK_TRY(moved);
    SK_TRY(clear_aside());
    return true;
  }

  [[nodiscard]] std::string aside() const { return std::string(kOwnDirectory) + "/" + retired_name(step_.inode); }
  Result<void> clear_aside() {
    SK_TRY_ASSIGN(const auto status, find_entry(root_, aside()));
    if (!status) return success();
    if (status->inode == step_.inode) return root_.remove_file(aside());
    return root_.rename(aside(), path_ + "." + std::to_string(status->inode), io::RenameKind::no_replace);
  }

  /// The piece is about to be overwritten: a bit that turned over while it was read would be all that is left of it.
  Result<void> read_again(std::uint64_t offset, io::ConstBytes plain) {
    SK_TRY_ASSIGN(const io::ReadBackLevel level, file_->drop_cache());
    (void)level;
    std::vector<std::byte> found(plain.size());
    SK_TRY(file_->read_exactly_at(offset, found));
    if (std::equal(found.begin(), found.end(), plain.begin())) return success();
    return make_error(Errc::readback_mismatch,
                      path_ + ": reads differently a second time at offset " + std::to_string(offset));
  }

  io::Directory& root_;
  RedoLog& redo_;
  std::unique_ptr<io::File> file_;
  RedoStep step_;
  std::string path_ = step_.path;
  std::uint64_t stored_ = 0;
  std::uint64_t consumed_ = 0;
  std::uint64_t end_ = 0;
  bool readers_may_look_ = false;
  SegmentEncoder encoder_{1};
};

Replaced left_alone(LeftAloneReason reason) { return {.left_alone = reason, .after_bytes = 0}; }

/// The first piece decides whether it is worth the while, and whether later pieces may grow without meeting what is not
/// compressed yet.
Result<bool> gains_enough(io::File& file, const io::EntryStatus& status, const RedoLog& redo,
                          std::uint64_t block_bytes) {
  const std::uint64_t piece = InPlaceWork::piece_bytes(redo);
  std::vector<std::byte> plain(static_cast<std::size_t>(std::min(piece, status.size_bytes)));
  SK_TRY(file.read_exactly_at(0, plain));
  SegmentEncoder encoder(1);
  SK_TRY_ASSIGN(const auto frame, encoder.encode(plain));
  const std::uint64_t pieces = status.size_bytes / piece + 1;
  return frame.size() + std::max(block_bytes, pieces * growth_max_bytes(piece)) <= plain.size();
}

/// Where the log is now, and its status; nothing when it is gone.
struct Whereabouts {
  std::string path;
  io::EntryStatus status;
};
Result<std::optional<Whereabouts>> locate(io::Directory& root, const RedoStep& step) {
  for (const std::string& path : {step.path, compressed_name(step.path)}) {
    const Result<io::EntryStatus> status = root.status_of(path);
    if (!status.has_value() && !is_about_this_file(status.assume_error())) return Error(status.assume_error());
    if (status.has_value() && status.assume_value().inode == step.inode) {
      return std::optional(Whereabouts{path, status.assume_value()});
    }
  }
  SK_TRY_ASSIGN(auto found, find_inodes(root, {step.inode}));
  if (!found.contains(step.inode)) return std::optional<Whereabouts>();
  SK_TRY_ASSIGN(const io::EntryStatus status, root.status_of(found[step.inode]));
  return std::optional(Whereabouts{found[step.inode], status});
}

/// Goes on from the last step. False when somebody has the file.
Result<bool> continue_from(InPlaceWork& work, io::File& file, RedoLog& redo, const RedoStep& step) {
  SK_TRY_ASSIGN(const std::uint64_t size, file.size());
  if (step.kind == RedoStep::Kind::frame) {
    SK_TRY_ASSIGN(const auto frame, redo.frame());
    SK_TRY(work.apply(step.stored_bytes, frame));
    const std::uint64_t frame_end = step.stored_bytes + frame.size();
    // A last frame that reaches past the plain bytes is all there is up to its end.
    const std::uint64_t consumed = frame_end > step.plain_bytes ? frame_end : step.consumed_bytes;
    return work.run(frame_end, std::min(consumed, std::max(size, frame_end)), nullptr);
  }
  SK_TRY_ASSIGN(const bool tail_is_there, matches(file, step.probe));
  const bool is_cut_off = step.plain_bytes <= step.stored_bytes || size < step.plain_bytes || !tail_is_there;
  const std::uint64_t plain_from = is_cut_off ? step.stored_bytes : step.plain_bytes;
  if (size > plain_from) return work.run(step.stored_bytes, plain_from, nullptr);  // entries were appended
  return work.settle();
}

}  // namespace

Result<Replaced> compress_in_place(io::Directory& root, const Entry& planned, ScratchAreas scratch,
                                   CompactionProgress& progress) {
  SK_TRY_ASSIGN(const io::SpaceFacts space, root.space());
  if (!overwrites_in_place(space.filesystem_magic)) return left_alone(LeftAloneReason::no_room);
  RedoLog redo(scratch);
  SK_TRY_ASSIGN(const auto unfinished, redo.newest());
  if (unfinished) return left_alone(LeftAloneReason::no_room);
  Result<std::unique_ptr<io::File>> opened = root.open_file(planned.path, io::OpenMode::read_write());
  if (!opened.has_value()) {
    if (!is_about_this_file(opened.assume_error())) return std::move(opened).assume_error();
    const bool is_immutable = opened.assume_error().os_errno == EPERM;
    return left_alone(is_immutable ? LeftAloneReason::cannot_be_changed : LeftAloneReason::changed);
  }
  io::File& file = *opened.assume_value();
  SK_TRY_ASSIGN(const bool alone, file.try_lease(io::LeaseKind::nobody));
  if (!alone) return left_alone(LeftAloneReason::in_use);
  SK_TRY_ASSIGN(const io::EntryStatus status, file.status());
  if (!is_as_planned(planned, status, true)) return left_alone(LeftAloneReason::changed);
  if (status.allocated_bytes < status.size_bytes) return left_alone(LeftAloneReason::no_room);  // holes need blocks
  SK_TRY_ASSIGN(const auto taken, find_entry(root, compressed_name(planned.path)));
  if (taken) return left_alone(LeftAloneReason::name_taken);
  SK_TRY_ASSIGN(const bool worth_it, gains_enough(file, status, redo, space.block_bytes));
  if (!worth_it) return left_alone(LeftAloneReason::too_small);
  const RedoStep begin{.kind = RedoStep::Kind::frame,
                       .sequence = 0,
                       .path = planned.path,
                       .inode = planned.status.inode,
                       .plain_bytes = status.size_bytes,
                       .consumed_bytes = 0,
                       .stored_bytes = 0,
                       .probe = {},
                       .accessed = status.accessed,
                       .modified = status.modified};
  std::optional<InPlaceWork> work(std::in_place, root, redo, std::move(opened).assume_value(), begin);
  SK_TRY_ASSIGN(const bool finished, with_context(work->run(0, 0, &progress), planned.path));
  const std::uint64_t stored = work->stored_bytes();
  work.reset();
  if (finished) return Replaced{.left_alone = {}, .after_bytes = stored};
  // Those who wait for our lease may only want to read: then it can be finished now.
  SK_TRY_ASSIGN(const InPlaceState state, finish_in_place(root, scratch, progress.sink()));
  if (state == InPlaceState::waits) return left_alone(LeftAloneReason::being_finished);
  return Replaced{.left_alone = {}, .after_bytes = stored};
}

Result<InPlaceState> finish_in_place(io::Directory& root, ScratchAreas scratch, ProgressSink& progress) {
  RedoLog redo(scratch);
  SK_TRY_ASSIGN(const auto step, redo.newest());
  if (!step) return InPlaceState::nothing;
  if (step->kind == RedoStep::Kind::finish) SK_TRY(heal_name(root, *step));
  SK_TRY_ASSIGN(const auto found, locate(root, *step));
  const auto forget = [&]() -> Result<InPlaceState> {
    progress.notice("the log " + step->path + ", which was being compressed, was deleted by somebody else");
    SK_TRY(redo.clear());
    return InPlaceState::finished;
  };
  if (!found || found->status.type != io::EntryType::regular) return forget();
  SK_TRY_ASSIGN(const auto without_writer, take_unused(root, found->path, io::LeaseKind::no_writer));
  const auto wait = [&] {
    progress.notice(found->path + " is " + std::string(text_of(LeftAloneReason::being_finished)));
    return InPlaceState::waits;
  };
  if (!without_writer) return wait();
  SK_TRY(without_writer->close());
  SK_TRY_ASSIGN(auto file, root.open_file(found->path, io::OpenMode::read_write()));
  SK_TRY_ASSIGN(const bool alone, file->try_lease(io::LeaseKind::nobody));
  io::File& opened = *file;
  if (step->kind == RedoStep::Kind::frame) {
    SK_TRY_ASSIGN(const bool is_the_log, matches(opened, step->probe));
    if (!is_the_log) return forget();
  }
  InPlaceWork work(root, redo, std::move(file), *step);
  work.set_path(found->path);
  if (!alone) work.let_readers_look();
  SK_TRY_ASSIGN(const bool finished, with_context(continue_from(work, opened, redo, *step), found->path));
  return finished ? InPlaceState::finished : wait();
}

}  // namespace slotkeeper::permanent

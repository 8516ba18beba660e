// What replacements that were cut off have left. The names in kOwnDirectory hold the inode of the original, and the
// replacement is the same file as NAME.zst, so a walk finds both wherever somebody has renamed them to.
#include <cerrno>
#include <charconv>
#include <set>

#include "partitions/permanent/compaction_file.hpp"
#include "partitions/permanent/compaction_replace.hpp"
#include "partitions/permanent/inode_finder.hpp"
#include "partitions/permanent/paths.hpp"
#include "partitions/permanent/segment_name.hpp"
#include "partitions/permanent/steady_file.hpp"

namespace slotkeeper::permanent {
namespace {

/// Inode of the original in such a name; nothing when it is none of ours.
std::optional<std::uint64_t> inode_of(const std::string& name) {
  constexpr std::string_view kPrefix = "compaction-";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  std::uint64_t inode = 0;
  const char* const end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(name.data() + kPrefix.size(), end, inode);
  if (error != std::errc() || (name != replacement_name(inode) && name != retired_name(inode))) return std::nullopt;
  return inode;
}

enum class Likeness : std::uint8_t { same, continued, different };

/// How the contents of a log compare with what a compressed file holds: the same, more behind it, or something else.
Result<Likeness> compare(io::File& compressed, io::File& plain) {
  constexpr std::size_t kBufferBytes = std::size_t{128} * 1024;
  std::vector<std::byte> buffer(kBufferBytes);
  std::uint64_t stored_offset = 0;
  std::uint64_t plain_offset = 0;
  bool is_same = true;
  const Result<void> decoded = decode_segment(
      [&](io::Bytes into) -> Result<std::size_t> {
        SK_TRY_ASSIGN(const std::size_t count, compressed.read_at(stored_offset, into));
        stored_offset += count;
        return count;
      },
      [&](io::ConstBytes piece) -> Result<void> {
        for (std::size_t done = 0; done < piece.size() && is_same;) {
          const io::ConstBytes part = piece.subspan(done, std::min(buffer.size(), piece.size() - done));
          SK_TRY_ASSIGN(const std::size_t count, plain.read_at(plain_offset, io::Bytes(buffer.data(), part.size())));
          is_same = count == part.size() && std::equal(part.begin(), part.end(), buffer.begin());
          plain_offset += count;
          done += part.size();
        }
        return success();
      });
  if (!decoded.has_value()) {
    if (decoded.assume_error().code == Errc::corrupt) return Likeness::different;
    return Error(decoded.assume_error());
  }
  if (!is_same) return Likeness::different;
  SK_TRY_ASSIGN(const std::uint64_t size, plain.size());
  return size == plain_offset ? Likeness::same : Likeness::continued;
}

/// One original and what is left of its replacement.
class Leftover {
 public:
  Leftover(io::Directory& root, std::uint64_t inode, ProgressSink& progress)
      : root_(root),
        inode_(inode),
        progress_(progress),
        built_(own(replacement_name(inode))),
        retired_(own(retired_name(inode))) {}

  Result<void> finish() {
    SK_TRY_ASSIGN(const auto built, find_entry(root_, built_));
    SK_TRY_ASSIGN(auto retired, find_entry(root_, retired_));
    if (retired) {
      SK_TRY_ASSIGN(retired, without_second_name(*retired));
    }
    if (!built || built->links < 2) {
      // Not published; or, with a retired original and no second name, published, renamed aside and removed by others.
      if (retired) SK_TRY(retired_without_replacement(built.has_value()));
      return remove_if_there(root_, built_);
    }
    SK_TRY_ASSIGN(auto found, find_inodes(root_, {built->inode, inode_}));
    published_ = found[built->inode];
    const std::string original = found[inode_];
    if (retired) {
      SK_TRY(decide_retired());
    } else if (!original.empty()) {
      SK_TRY(decide(original));
    }
    return remove_if_there(root_, built_);
  }

 private:
  static std::string own(const std::string& name) { return std::string(kOwnDirectory) + "/" + name; }

  /// A cut inside the rename may leave the original both names: then the one in our directory goes, and the original is
  /// where it was. Another log that was moved away by mistake gets a name of its own back.
  Result<std::optional<io::EntryStatus>> without_second_name(const io::EntryStatus& retired) {
    if (retired.inode != inode_) {
      const std::string back = "log-" + std::to_string(retired.inode);
      progress_.notice("a log that was moved away is put back as " + back);
      SK_TRY(root_.rename(retired_, back, io::RenameKind::no_replace));
      SK_TRY(root_.sync());
      return std::optional<io::EntryStatus>();
    }
    if (retired.links < 2) return std::optional(retired);
    SK_TRY(root_.remove_file(retired_));
    return std::optional<io::EntryStatus>();
  }

  /// The replacement goes last, so without it the original was on its way out; with it and nothing published, somebody
  /// removed NAME.zst, and the original is put back.
  Result<void> retired_without_replacement(bool has_replacement) {
    if (!has_replacement) return remove_if_there(root_, retired_);
    const std::string back = "log-" + std::to_string(inode_);
    progress_.notice("a log whose compressed form was removed is put back as " + back);
    SK_TRY(root_.rename(retired_, back, io::RenameKind::no_replace));
    return root_.sync();
  }

  Result<Likeness> likeness(const std::string& path) {
    SK_TRY_ASSIGN(const auto compressed, root_.open_file(built_, io::OpenMode::read_only()));
    SK_TRY_ASSIGN(const auto plain, root_.open_file(path, io::OpenMode::read_only()));
    SK_TRY_ASSIGN(const Likeness found, compare(*compressed, *plain));
    SK_TRY(compressed->close());
    SK_TRY(plain->close());
    return found;
  }

  /// The original was moved away: it goes, unless somebody got hold of it before.
  Result<void> decide_retired() {
    SK_TRY_ASSIGN(const Likeness found, likeness(retired_));
    SK_TRY_ASSIGN(const auto held, take_unused(root_, retired_, io::LeaseKind::no_writer));
    if (found == Likeness::same && held) return remove_if_there(root_, retired_);
    SK_TRY(put_back());
    return found == Likeness::different ? success() : remove_published();
  }

  Result<void> put_back() {
    const std::string plain = published_.ends_with(kCompressedSuffix)
                                  ? published_.substr(0, published_.size() - kCompressedSuffix.size())
                                  : "log-" + std::to_string(inode_);
    Result<void> renamed = root_.rename(retired_, plain, io::RenameKind::no_replace);
    if (!renamed.has_value() && renamed.assume_error().os_errno == EEXIST) {
      renamed = root_.rename(retired_, plain + "." + std::to_string(inode_), io::RenameKind::no_replace);
    }
    SK_TRY(std::move(renamed));
    return sync_directory(parent_of(plain));
  }

  /// Both are there. The original goes only when it is under its name, nobody writes it and it holds nothing more.
  Result<void> decide(const std::string& original) {
    SK_TRY_ASSIGN(const Likeness found, likeness(original));
    if (found == Likeness::different) return success();  // another file has the number now; ours is gone
    SK_TRY_ASSIGN(const auto held, take_unused(root_, original, io::LeaseKind::no_writer));
    if (found != Likeness::same || !held || compressed_name(original) != published_) return remove_published();
    Result<void> removed = root_.remove_file(original);
    if (!removed.has_value()) {
      if (!is_about_this_file(removed.assume_error())) return removed;
      return remove_published();
    }
    return sync_directory(parent_of(original));
  }

  Result<void> remove_published() {
    if (published_.empty()) return success();
    SK_TRY(remove_if_there(root_, published_));
    return sync_directory(parent_of(published_));
  }

  Result<void> sync_directory(const std::string& path) {
    SK_TRY_ASSIGN(const auto directory, root_.open_directory(path));
    SK_TRY(directory->sync());
    return directory->close();
  }

  io::Directory& root_;
  std::uint64_t inode_;
  ProgressSink& progress_;
  std::string built_;
  std::string retired_;
  std::string published_;
};

}  // namespace

Result<bool> finish_replacements(io::Directory& root, ProgressSink& progress) {
  Result<std::unique_ptr<io::Directory>> own = root.open_directory(std::string(kOwnDirectory));
  if (!own.has_value()) {
    if (is_gone(own.assume_error())) return false;
    return std::move(own).assume_error();
  }
  std::set<std::uint64_t> originals;
  SK_TRY(own.assume_value()->visit_entries([&](const io::DirectoryEntry& entry) -> Result<void> {
    if (const auto inode = inode_of(entry.name); inode && entry.type == io::EntryType::regular)
      originals.insert(*inode);
    return success();
  }));
  for (const std::uint64_t inode : originals) SK_TRY(Leftover(root, inode, progress).finish());
  if (!originals.empty()) SK_TRY(own.assume_value()->sync());
  SK_TRY(own.assume_value()->close());
  return !originals.empty();
}

}  // namespace slotkeeper::permanent

#include "partitions/permanent/snapshot.hpp"

#include <algorithm>
#include <set>

#include "partitions/permanent/root_digest.hpp"
#include "partitions/permanent/snapshot_archive.hpp"
#include "partitions/permanent/steady_file.hpp"

namespace slotkeeper::permanent {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{256} * 1024;

bool is_same_inode(const io::EntryStatus& a, const io::EntryStatus& b) {
  return a.device == b.device && a.inode == b.inode && a.type == b.type;
}

bool has_contents(const Entry& entry) { return entry.status.type == io::EntryType::regular && entry.hard_link.empty(); }

/// One try at archiving the whole configuration and state.
class Attempt {
 public:
  enum class Verdict : std::uint8_t { whole, config_changed, state_changed };

  Attempt(io::Directory& root, StoreArea& area, ProgressSink& progress, bool takes_changing_state)
      : root_(root), area_(area), progress_(progress), takes_changing_state_(takes_changing_state) {
    buffer_.resize(kBufferBytes);
  }

  Result<Verdict> run(const ClassTable& classes) {
    SK_TRY_ASSIGN(Inventory inventory, take_inventory(root_, classes, HashScope::nothing, progress_));
    const std::vector<bool> members = snapshot_members(inventory.entries);
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (!members[i] || inventory.entries.type(i) != io::EntryType::regular) continue;
      if (const Entry entry = inventory.entries[i]; has_contents(entry)) total_bytes_ += entry.status.size_bytes;
    }
    SK_TRY_ASSIGN(writer_, SnapshotArchiveWriter::begin(area_));
    for (const std::string& path : inventory.mounts) SK_TRY(add_mount(path));
    for (std::size_t i = 0; i < members.size() && verdict_ == Verdict::whole; ++i) {
      if (!members[i]) continue;
      SK_TRY(progress_.check_cancelled());
      Entry entry = inventory.entries[i];
      SK_TRY(add(entry));
    }
    if (verdict_ != Verdict::whole) return verdict_;
    const Roots roots = roots_.finish();
    facts_.config_root = roots.config;
    facts_.protected_root = roots.with_state;
    SK_TRY_ASSIGN(const auto archive, writer_->finish());
    facts_.stored_bytes = archive.stored_bytes;
    digest_ = archive.digest;
    return verdict_;
  }

  [[nodiscard]] const std::string& changed_path() const { return changed_path_; }
  [[nodiscard]] const SnapshotFacts& facts() const { return facts_; }
  [[nodiscard]] const Sha256& digest() const { return digest_; }

 private:
  enum class Step : std::uint8_t { archived, left_out, start_over };

  Result<void> add_mount(const std::string& path) {
    SnapshotReader::Item item;
    item.is_mount = true;
    item.entry.path = path;
    item.entry.status.type = io::EntryType::directory;
    return writer_->add(item);
  }

  Result<void> add(Entry& entry) {
    SK_TRY_ASSIGN(const Step step, has_contents(entry) ? add_file(entry) : add_other(entry));
    if (step == Step::left_out) progress_.notice(entry.path + " disappeared while the snapshot was taken");
    if (step == Step::start_over) {
      verdict_ = entry.kind == ClassKind::state ? Verdict::state_changed : Verdict::config_changed;
      changed_path_ = entry.path;
    }
    if (step != Step::archived) return success();
    roots_.add(entry);
    ++facts_.entries;
    return success();
  }

  Result<Step> add_file(Entry& entry) {
    Result<SteadyFile> opened = SteadyFile::open(root_, entry.path);
    if (!opened.has_value()) return gone(entry, opened.assume_error());
    SteadyFile& file = opened.assume_value();
    // Its other names were found by the inventory; they must mean this file.
    if (entry.status.links > 1 && !is_same_inode(file.status(), entry.status)) return Step::start_over;
    entry.status = file.status();
    SK_TRY_ASSIGN(entry.attributes, file.file().extended_attributes());
    std::ranges::sort(entry.attributes);
    SK_TRY(writer_->add({.entry = entry}));
    SK_TRY(add_contents(entry, file.file()));
    SK_TRY_ASSIGN(const bool same, file.stayed_the_same());
    SK_TRY(file.file().close());
    if (entry.status.links > 1) first_names_.push_back(entry);
    const bool taken = same || (entry.kind == ClassKind::state && takes_changing_state_);
    return taken ? Step::archived : Step::start_over;
  }

  /// The header has promised a size: what grew is cut there, what shrank is filled with zeros. Either shows afterwards
  /// as a change.
  Result<void> add_contents(Entry& entry, io::File& file) {
    Sha256Stream digest;
    for (std::uint64_t offset = 0; offset < entry.status.size_bytes;) {
      const std::uint64_t left = entry.status.size_bytes - offset;
      const io::Bytes piece(buffer_.data(), static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), left)));
      SK_TRY_ASSIGN(const std::size_t count, file.read_at(offset, piece));
      std::ranges::fill(piece.subspan(count), std::byte{0});
      digest.update(piece);
      SK_TRY(writer_->add_contents(piece));
      offset += piece.size();
      facts_.plain_bytes += piece.size();
      progress_.progress(Phase::snapshot, facts_.plain_bytes, std::max(total_bytes_, facts_.plain_bytes));
      SK_TRY(progress_.check_cancelled());
    }
    entry.digest = digest.finish();
    return success();
  }

  /// Directories, links and nodes were read in full by the inventory; what is left is whether they are still the same.
  Result<Step> add_other(Entry& entry) {
    const Result<io::EntryStatus> status = root_.status_of(entry.path);
    if (!status.has_value()) return gone(entry, status.assume_error());
    const io::EntryStatus& now = status.assume_value();
    const bool same = is_same_inode(now, entry.status) && now.mode == entry.status.mode &&
                      now.owner == entry.status.owner && now.group == entry.status.group;
    if (!same) return Step::start_over;
    if (!entry.hard_link.empty() && entry.status.type == io::EntryType::regular) {
      const std::optional<std::size_t> found = first_names_.find(entry.hard_link);
      if (!found) return Step::start_over;
      Entry first = first_names_[*found];
      if (!is_same_inode(first.status, now)) return Step::start_over;
      entry.digest = first.digest;
      entry.attributes = std::move(first.attributes);
      entry.status = first.status;
    }
    SK_TRY(writer_->add({.entry = entry}));
    return Step::archived;
  }

  /// State that is gone is left out from the second try on, unless it has other names.
  [[nodiscard]] Result<Step> gone(const Entry& entry, const Error& error) const {
    if (!is_gone(error) && !is_mount(error) && !is_replaced(error)) return Error(error);
    const bool left_out = entry.kind == ClassKind::state && takes_changing_state_ && entry.status.links < 2;
    return left_out ? Step::left_out : Step::start_over;
  }

  io::Directory& root_;
  StoreArea& area_;
  ProgressSink& progress_;
  bool takes_changing_state_;
  std::vector<std::byte> buffer_;
  std::unique_ptr<SnapshotArchiveWriter> writer_;
  RootDigest roots_;
  EntryList first_names_;
  std::uint64_t total_bytes_ = 0;
  SnapshotFacts facts_;
  Sha256 digest_;
  Verdict verdict_ = Verdict::whole;
  std::string changed_path_;
};

}  // namespace

Result<SnapshotFacts> take_snapshot(io::Directory& root, const ClassTable& classes, StoreArea& area,
                                    const std::function<std::string(const SnapshotFacts&)>& description,
                                    ProgressSink& progress) {
  SK_TRY(area.unseal());
  std::set<std::string> changed_paths;
  for (int number = 1; number <= kSnapshotAttemptsMax; ++number) {
    Attempt attempt(root, area, progress, number > 1);
    SK_TRY_ASSIGN(const Attempt::Verdict verdict, with_context(attempt.run(classes), "snapshot"));
    if (verdict == Attempt::Verdict::whole) {
      SK_TRY(area.seal({.length_bytes = attempt.facts().stored_bytes,
                        .digest = attempt.digest(),
                        .description = description(attempt.facts())}));
      return attempt.facts();
    }
    changed_paths.insert(attempt.changed_path());
  }
  return make_error(Errc::config_busy,
                    "the configuration keeps changing while a snapshot is taken, last " + *changed_paths.rbegin())
      .with_detail({"paths", std::vector<std::string>(changed_paths.begin(), changed_paths.end())});
}

std::uint64_t snapshot_bound_bytes(const Inventory& inventory) {
  // Per entry: a header and its records, each in whole 512-byte blocks; names at most three times as long when they are
  // escaped, values a third longer in base64. Then what zstd adds to data that does not compress.
  constexpr std::uint64_t kBlock = 512;
  constexpr std::uint64_t kFixed = 4 * kBlock;
  std::uint64_t plain = 2 * kBlock;
  const std::vector<bool> members = snapshot_members(inventory.entries);
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (!members[i]) continue;
    const Entry entry = inventory.entries[i];
    std::uint64_t records = entry.path.size() + entry.link_target.size() + entry.hard_link.size();
    for (const auto& attribute : entry.attributes) {
      records += 3 * attribute.name.size() + attribute.value.size() * 4 / 3 + 64;
    }
    plain += kFixed + (records + kBlock - 1) / kBlock * kBlock;
    if (has_contents(entry)) plain += (entry.status.size_bytes + kBlock - 1) / kBlock * kBlock;
  }
  return plain + plain / 128 + std::uint64_t{64} * 1024;
}

}  // namespace slotkeeper::permanent

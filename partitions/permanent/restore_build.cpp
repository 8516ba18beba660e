#include "partitions/permanent/restore_build.hpp"

#include <algorithm>
#include <cerrno>

#include "partitions/permanent/reserve.hpp"
#include "partitions/permanent/reserve_files.hpp"
#include "partitions/permanent/reserve_need.hpp"
#include "partitions/permanent/reserve_strength.hpp"
#include "partitions/permanent/steady_file.hpp"
#include "partitions/permanent/write_protection.hpp"

namespace slotkeeper::permanent {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{256} * 1024;

io::Attributes attributes_of(const Entry& entry) {
  return {.mode = entry.status.mode,
          .owner = entry.status.owner,
          .group = entry.status.group,
          .accessed = entry.status.modified,
          .modified = entry.status.modified};
}

bool is_wanted(const Entry& entry, const std::string& attribute) {
  return std::ranges::find(entry.attributes, attribute, &io::ExtendedAttribute::name) != entry.attributes.end();
}

/// Some filesystems show one attribute under two names (xfs: access lists as trusted.SGI_ACL_FILE, too): with the one
/// the other goes.
Result<void> unless_missing(Result<void> removed) {
  if (!removed.has_value() && removed.assume_error().os_errno == ENODATA) return success();
  return removed;
}

/// The order matters: an access list that goes first cannot change the mode behind our back, a new owner takes set-id
/// bits and capabilities away, and an access list that comes last agrees with the mode it was recorded with.
Result<void> give_attributes(io::File& file, const Entry& wanted) {
  SK_TRY_ASSIGN(const auto present, file.extended_attributes());
  for (const auto& attribute : present) {
    if (!is_wanted(wanted, attribute.name)) SK_TRY(unless_missing(file.remove_extended_attribute(attribute.name)));
  }
  SK_TRY(file.set_attributes(attributes_of(wanted)));
  for (const auto& attribute : wanted.attributes) SK_TRY(file.set_extended_attribute(attribute));
  return success();
}

Error differs(const Entry& entry, const std::string& what) {
  return make_error(Errc::readback_mismatch, entry.path + ": " + what + " of its replacement read back differently");
}

bool same_attributes(std::vector<io::ExtendedAttribute> attributes, const Entry& wanted) {
  std::ranges::sort(attributes);
  return attributes == wanted.attributes;
}

class ReplacementBuilder {
 public:
  ReplacementBuilder(io::Directory& reserve, const RestorePlan& plan, StoreArea& snapshot, const io::SpaceFacts& space,
                     ProgressSink& progress)
      : reserve_(reserve),
        plan_(plan),
        snapshot_(snapshot),
        block_bytes_(space.block_bytes),
        in_place_(overwrites_in_place(space.filesystem_magic)),
        progress_(progress),
        buffer_(kBufferBytes) {}

  Result<void> make_room() {
    SK_TRY_ASSIGN(files_, list_reserve(reserve_));
    for (const std::string& name : files_.foreign) SK_TRY(remove_entry(reserve_, name));
    if (files_.slack) SK_TRY(remove_entry(reserve_, *files_.slack));
    files_.slack.reset();
    const auto give_back = [&](const Entry& entry) -> Result<void> {
      std::vector<std::string>& names = files_.by_size[reserve_size_of(entry, block_bytes_)];
      if (names.empty()) return success();
      SK_TRY(remove_entry(reserve_, names.back()));
      names.pop_back();
      return success();
    };
    for (const std::size_t index : plan_.create_directories) SK_TRY(give_back(plan_.entries[index]));
    if (!in_place_ || !plan_.build.only_regular_files()) {
      SK_TRY(for_each_to_build([&](const Entry& entry, SnapshotReader&) -> Result<void> {
        const bool is_filled = entry.status.type == io::EntryType::regular && in_place_;
        return is_filled ? success() : give_back(entry);
      }));
    }
    return reserve_.sync_filesystem();  // before that, some do not let anybody have what was given back
  }

  Result<void> build(const SnapshotFacts& facts) {
    SK_TRY(for_each_to_build([&](const Entry& entry, SnapshotReader& reader) {
      const bool is_file = entry.status.type == io::EntryType::regular;
      return with_context(is_file ? fill(entry, reader) : create_special(entry), entry.path);
    }));
    // One sync for all: on small storage a sync takes as long as writing hundreds of such files.
    SK_TRY(reserve_.sync_filesystem());
    return verify(facts);
  }

  [[nodiscard]] Replacements take_built() { return std::move(built_); }

 private:
  /// `visit(entry, reader)` for each entry that is to be built, in the order of the snapshot.
  template <class Visit>
  Result<void> for_each_to_build(Visit visit) {
    std::size_t left = plan_.build.size();
    if (left == 0) return success();
    SK_TRY_ASSIGN(const auto reader, SnapshotReader::open(snapshot_));
    for (std::size_t place = 0; left > 0;) {
      SK_TRY_ASSIGN(const std::optional<SnapshotReader::Item> item, reader->next());
      if (!item) return make_error(Errc::state_store, std::to_string(left) + " files are no longer in the snapshot");
      if (item->is_mount || !plan_.build.contains(place++)) continue;
      SK_TRY(visit(item->entry, *reader));
      --left;
    }
    return success();
  }

  /// Compares what was built with the snapshot, and that with what was recorded: nothing of it was kept in memory.
  Result<void> verify(const SnapshotFacts& facts) {
    if (plan_.build.empty()) return success();
    auto path = built_.paths.begin();
    auto name = built_.names.begin();
    std::size_t place = 0;
    const auto verify_next = [&](SnapshotReader::Item&& item) -> Result<void> {
      const Entry& entry = item.entry;
      if (item.is_mount || !plan_.build.contains(place++)) return success();
      if (entry.path != *path) return make_error(Errc::state_store, *path + ": is no longer in the snapshot");
      if (entry.status.type == io::EntryType::regular) SK_TRY(with_context(verify_file(*name, entry), entry.path));
      ++path;
      ++name;
      return success();
    };
    SK_TRY(read_recorded_snapshot(snapshot_, facts, verify_next));
    if (path == built_.paths.end()) return success();
    return make_error(Errc::state_store, *path + ": is no longer in the snapshot");
  }

  Result<void> fill(const Entry& entry, SnapshotReader& reader) {
    SK_TRY_ASSIGN(const auto file, take_file(entry));
    for (std::uint64_t offset = 0;;) {
      SK_TRY_ASSIGN(const std::size_t count, reader.read(buffer_));
      SK_TRY(file->write_at(offset, io::ConstBytes(buffer_.data(), count)));
      offset += count;
      done_bytes_ += count;
      progress_.progress(Phase::restore, done_bytes_, std::max(done_bytes_, plan_.build.contents_bytes()));
      if (count < buffer_.size()) break;
    }
    SK_TRY(file->resize(entry.status.size_bytes));
    SK_TRY(give_attributes(*file, entry));
    return file->close();
  }

  /// A file of the reserve of the right size, or a new one where the reserve has none left.
  Result<std::unique_ptr<io::File>> take_file(const Entry& entry) {
    std::vector<std::string>& names = files_.by_size[reserve_size_of(entry, block_bytes_)];
    while (!names.empty()) {
      const std::string name = std::move(names.back());
      names.pop_back();
      SK_TRY_ASSIGN(auto file, open_reserved(name));
      SK_TRY_ASSIGN(const io::EntryStatus status, file->status());
      if (status.links == 1) {
        built_.add(entry.path, name);
        return file;
      }
      // A restore that was cut off has renamed it into place, and only the new name survived: what is written now would
      // be written to the file that lies there.
      SK_TRY(file->close());
      SK_TRY(remove_entry(reserve_, name));
    }
    const std::string name = new_name();
    built_.add(entry.path, name);
    return reserve_.open_file(name, io::OpenMode::create_new(0600));
  }

  Result<std::unique_ptr<io::File>> open_reserved(const std::string& name) {
    return despite_write_protection(reserve_, {name}, {},
                                    [&] { return reserve_.open_file(name, io::OpenMode::read_write()); });
  }

  Result<void> verify_file(const std::string& name, const Entry& entry) {
    SK_TRY_ASSIGN(const auto file, reserve_.open_file(name, io::OpenMode::read_only()));
    SK_TRY_ASSIGN(const io::ReadBackLevel level, file->drop_cache());
    (void)level;  // the caller's filesystem is what it is; the snapshot's digest is compared in any case
    std::uint64_t size = 0;
    SK_TRY_ASSIGN(const Sha256 digest, hash_contents(*file, buffer_, size));
    if (size != entry.status.size_bytes || digest != entry.digest) return differs(entry, "the contents");
    SK_TRY_ASSIGN(const io::EntryStatus status, file->status());
    SK_TRY_ASSIGN(const auto attributes, file->extended_attributes());
    if (!has_attributes(status, attributes, entry) || status.links != 1)
      return differs(entry, "owner, mode or attributes");
    return file->close();
  }

  Result<void> create_special(const Entry& entry) {
    const std::string name = new_name();
    if (entry.status.type == io::EntryType::symlink) {
      SK_TRY(reserve_.create_symlink(entry.link_target, name));
    } else {
      SK_TRY(reserve_.create_node(name, entry.status.type, 0600, entry.status.node_device));
    }
    SK_TRY(permanent::give_attributes(reserve_, name, entry));
    SK_TRY_ASSIGN(const io::EntryStatus status, reserve_.status_of(name));
    SK_TRY_ASSIGN(const auto attributes, reserve_.extended_attributes_of(name));
    if (!has_attributes(status, attributes, entry)) return differs(entry, "owner, mode or attributes");
    built_.add(entry.path, name);
    return success();
  }

  std::string new_name() { return "new-" + std::to_string(new_names_++); }

  io::Directory& reserve_;
  const RestorePlan& plan_;
  StoreArea& snapshot_;
  std::uint64_t block_bytes_;
  bool in_place_;  ///< else what the reserve holds is given back and written anew
  ProgressSink& progress_;
  ReserveFiles files_;
  Replacements built_;
  std::uint64_t new_names_ = 0;
  std::uint64_t done_bytes_ = 0;
  std::vector<std::byte> buffer_;
};

Result<std::unique_ptr<io::Directory>> open_reserve(io::Directory& root) {
  Result<std::unique_ptr<io::Directory>> opened = root.open_directory(reserve_path());
  if (opened.has_value() || !is_gone(opened.assume_error())) return opened;
  SK_TRY(make_own_directory(root));
  SK_TRY(root.create_directory(reserve_path(), 0700));
  return root.open_directory(reserve_path());
}

}  // namespace

Result<void> give_attributes(io::Directory& directory, const std::string& name, const Entry& wanted) {
  SK_TRY_ASSIGN(const auto present, directory.extended_attributes_of(name));
  for (const auto& attribute : present) {
    if (!is_wanted(wanted, attribute.name))
      SK_TRY(unless_missing(directory.remove_extended_attribute_of(name, attribute.name)));
  }
  SK_TRY(directory.set_attributes_of(name, attributes_of(wanted)));
  for (const auto& attribute : wanted.attributes) SK_TRY(directory.set_extended_attribute_of(name, attribute));
  return success();
}

bool has_attributes(const io::EntryStatus& status, const std::vector<io::ExtendedAttribute>& attributes,
                    const Entry& wanted) {
  const bool same_mode = status.type == io::EntryType::symlink || status.mode == wanted.status.mode;
  return status.type == wanted.status.type && same_mode && status.owner == wanted.status.owner &&
         status.group == wanted.status.group && status.modified == wanted.status.modified &&
         same_attributes(attributes, wanted);
}

Result<void> remove_entry(io::Directory& parent, const std::string& name) {
  SK_TRY_ASSIGN(const io::EntryStatus status, parent.status_of(name));
  return despite_write_protection(parent, {name, "."}, {}, [&] {
    return status.type == io::EntryType::directory ? parent.remove_directory(name) : parent.remove_file(name);
  });
}

Result<Replacements> build_replacements(io::Directory& root, const RestorePlan& plan, StoreArea& snapshot,
                                        const SnapshotFacts& facts, ProgressSink& progress) {
  SK_TRY_ASSIGN(const io::SpaceFacts space, root.space());
  SK_TRY_ASSIGN(const auto reserve, open_reserve(root));
  ReplacementBuilder builder(*reserve, plan, snapshot, space, progress);
  SK_TRY(builder.make_room());
  SK_TRY(builder.build(facts));
  SK_TRY(reserve->close());
  return builder.take_built();
}

}  // namespace slotkeeper::permanent

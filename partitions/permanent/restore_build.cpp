#include "partitions/permanent/restore_build.hpp"

#include <algorithm>

#include "partitions/permanent/reserve.hpp"
#include "partitions/permanent/reserve_files.hpp"
#include "partitions/permanent/reserve_need.hpp"
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

/// The order matters: an access list that goes first cannot change the mode behind our back, a new owner takes set-id
/// bits and capabilities away, and an access list that comes last agrees with the mode it was recorded with.
Result<void> give_attributes(io::File& file, const Entry& wanted) {
  SK_TRY_ASSIGN(const auto present, file.extended_attributes());
  for (const auto& attribute : present) {
    if (!is_wanted(wanted, attribute.name)) SK_TRY(file.remove_extended_attribute(attribute.name));
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
  ReplacementBuilder(io::Directory& reserve, const SnapshotListing& wanted, std::uint64_t block_bytes,
                     ProgressSink& progress)
      : reserve_(reserve), wanted_(wanted), block_bytes_(block_bytes), progress_(progress), buffer_(kBufferBytes) {}

  Result<void> make_room(const RestorePlan& plan) {
    SK_TRY_ASSIGN(files_, list_reserve(reserve_));
    for (const std::string& name : files_.foreign) SK_TRY(remove_entry(reserve_, name));
    if (files_.slack) SK_TRY(remove_entry(reserve_, *files_.slack));
    files_.slack.reset();
    const auto give_back = [&](std::size_t index) -> Result<void> {
      std::vector<std::string>& names = files_.by_size[reserve_size_of(wanted_.entries[index], block_bytes_)];
      if (names.empty()) return success();
      SK_TRY(remove_entry(reserve_, names.back()));
      names.pop_back();
      return success();
    };
    for (const std::size_t index : plan.create_directories) SK_TRY(give_back(index));
    for (const std::size_t index : plan.build) {
      if (wanted_.entries[index].status.type != io::EntryType::regular) SK_TRY(give_back(index));
    }
    return reserve_.sync();
  }

  Result<void> build(const RestorePlan& plan, StoreArea& snapshot) {
    std::map<std::string, std::size_t> files;
    for (const std::size_t index : plan.build) {
      const Entry& entry = wanted_.entries[index];
      if (entry.status.type == io::EntryType::regular) {
        files.emplace(entry.path, index);
        total_bytes_ += entry.status.size_bytes;
      } else {
        SK_TRY(with_context(create_special(index), entry.path));
      }
    }
    SK_TRY_ASSIGN(const auto reader, SnapshotReader::open(snapshot));
    while (!files.empty()) {
      SK_TRY_ASSIGN(const std::optional<SnapshotReader::Item> item, reader->next());
      if (!item) return make_error(Errc::state_store, files.begin()->first + ": is no longer in the snapshot");
      const auto wanted = files.find(item->entry.path);
      if (wanted == files.end() || item->is_mount) continue;
      SK_TRY(with_context(fill(wanted->second, *reader), wanted->first));
      files.erase(wanted);
    }
    SK_TRY(reserve_.sync());
    // ext4 has it all by now; others write a directory's sync down without what changed in its entries.
    return reserve_.sync_filesystem();
  }

  [[nodiscard]] const Replacements& built() const { return built_; }

 private:
  Result<void> fill(std::size_t index, SnapshotReader& reader) {
    const Entry& entry = wanted_.entries[index];
    SK_TRY_ASSIGN(const auto file, take_file(index));
    for (std::uint64_t offset = 0;;) {
      SK_TRY_ASSIGN(const std::size_t count, reader.read(buffer_));
      SK_TRY(file->write_at(offset, io::ConstBytes(buffer_.data(), count)));
      offset += count;
      done_bytes_ += count;
      progress_.progress(Phase::restore, done_bytes_, std::max(done_bytes_, total_bytes_));
      if (count < buffer_.size()) break;
    }
    SK_TRY(file->resize(entry.status.size_bytes));
    SK_TRY(give_attributes(*file, entry));
    SK_TRY(file->sync());
    SK_TRY(verify_file(*file, entry));
    return file->close();
  }

  /// A file of the reserve of the right size, or a new one where the reserve has none left.
  Result<std::unique_ptr<io::File>> take_file(std::size_t index) {
    std::vector<std::string>& names = files_.by_size[reserve_size_of(wanted_.entries[index], block_bytes_)];
    if (!names.empty()) {
      const std::string name = names.back();
      names.pop_back();
      built_[index] = name;
      return despite_write_protection(reserve_, {name}, {},
                                      [&] { return reserve_.open_file(name, io::OpenMode::read_write()); });
    }
    built_[index] = new_name();
    return reserve_.open_file(built_[index], io::OpenMode::create_new(0600));
  }

  Result<void> verify_file(io::File& file, const Entry& entry) {
    SK_TRY_ASSIGN(const io::ReadBackLevel level, file.drop_cache());
    (void)level;  // the caller's filesystem is what it is; the snapshot's digest is compared in any case
    std::uint64_t size = 0;
    SK_TRY_ASSIGN(const Sha256 digest, hash_contents(file, buffer_, size));
    if (size != entry.status.size_bytes || digest != entry.digest) return differs(entry, "the contents");
    SK_TRY_ASSIGN(const io::EntryStatus status, file.status());
    SK_TRY_ASSIGN(const auto attributes, file.extended_attributes());
    if (!has_attributes(status, attributes, entry) || status.links != 1)
      return differs(entry, "owner, mode or attributes");
    return success();
  }

  Result<void> create_special(std::size_t index) {
    const Entry& entry = wanted_.entries[index];
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
    built_[index] = name;
    return success();
  }

  std::string new_name() { return "new-" + std::to_string(new_names_++); }

  io::Directory& reserve_;
  const SnapshotListing& wanted_;
  std::uint64_t block_bytes_;
  ProgressSink& progress_;
  ReserveFiles files_;
  Replacements built_;
  std::uint64_t new_names_ = 0;
  std::uint64_t done_bytes_ = 0;
  std::uint64_t total_bytes_ = 0;
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
    if (!is_wanted(wanted, attribute.name)) SK_TRY(directory.remove_extended_attribute_of(name, attribute.name));
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

Result<Replacements> build_replacements(io::Directory& root, const SnapshotListing& wanted, const RestorePlan& plan,
                                        StoreArea& snapshot, ProgressSink& progress) {
  SK_TRY_ASSIGN(const io::SpaceFacts space, root.space());
  SK_TRY_ASSIGN(const auto reserve, open_reserve(root));
  ReplacementBuilder builder(*reserve, wanted, space.block_bytes, progress);
  SK_TRY(builder.make_room(plan));
  SK_TRY(builder.build(plan, snapshot));
  SK_TRY(reserve->close());
  return builder.built();
}

}  // namespace slotkeeper::permanent

#include "partitions/permanent/snapshot_archive.hpp"

#include <algorithm>
#include <archive.h>
#include <archive_entry.h>
#include <cerrno>
#include <charconv>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace slotkeeper::permanent {
namespace {

constexpr std::size_t kBlockBytes =
    std::size_t{64} * 1024;  ///< the area is written in multiples of this, but for the last piece

/// What a pax archive has no field for goes with the entry as attributes of these names. They have no namespace that
/// Linux knows, so no attribute of a file is ever called so.
constexpr std::string_view kClassAttribute = "slotkeeper.class";
constexpr std::string_view kLinksAttribute = "slotkeeper.links";  ///< number of names, where it is not 1
constexpr std::string_view kTypeAttribute = "slotkeeper.type";
constexpr std::string_view kSocketType = "socket";
constexpr std::string_view kMountType = "mount";

struct FreeWriter {
  void operator()(archive* handle) const { archive_write_free(handle); }
};
struct FreeReader {
  void operator()(archive* handle) const { archive_read_free(handle); }
};
struct FreeEntry {
  void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};
using EntryHandle = std::unique_ptr<archive_entry, FreeEntry>;

std::string reason_of(archive* handle) {
  const char* const text = archive_error_string(handle);
  return text != nullptr ? text : "no reason given";
}

unsigned int file_type(io::EntryType type) {
  switch (type) {
    case io::EntryType::directory:
      return AE_IFDIR;
    case io::EntryType::symlink:
      return AE_IFLNK;
    case io::EntryType::block_device:
      return AE_IFBLK;
    case io::EntryType::character_device:
      return AE_IFCHR;
    case io::EntryType::fifo:
      return AE_IFIFO;
    case io::EntryType::regular:
    case io::EntryType::socket:  // tar has none: an empty file with an attribute
      return AE_IFREG;
  }
  return AE_IFREG;
}

std::optional<io::EntryType> entry_type(unsigned int type) {
  switch (type) {
    case AE_IFREG:
      return io::EntryType::regular;
    case AE_IFDIR:
      return io::EntryType::directory;
    case AE_IFLNK:
      return io::EntryType::symlink;
    case AE_IFBLK:
      return io::EntryType::block_device;
    case AE_IFCHR:
      return io::EntryType::character_device;
    case AE_IFIFO:
      return io::EntryType::fifo;
    default:
      return std::nullopt;
  }
}

void add_attribute(archive_entry* entry, std::string_view name, std::string_view value) {
  archive_entry_xattr_add_entry(entry, std::string(name).c_str(), value.data(), value.size());
}

void describe(archive_entry* out, const SnapshotReader::Item& item) {
  const Entry& entry = item.entry;
  const io::EntryStatus& status = entry.status;
  archive_entry_copy_pathname(out, entry.path.c_str());
  archive_entry_set_filetype(out, file_type(status.type));
  archive_entry_set_perm(out, static_cast<mode_t>(status.mode));
  archive_entry_set_uid(out, status.owner);
  archive_entry_set_gid(out, status.group);
  archive_entry_set_mtime(out, status.modified.seconds, status.modified.nanoseconds);
  archive_entry_set_size(out, 0);
  if (!entry.hard_link.empty()) {
    archive_entry_copy_hardlink(out, entry.hard_link.c_str());
  } else if (status.type == io::EntryType::regular) {
    archive_entry_set_size(out, static_cast<la_int64_t>(status.size_bytes));
  } else if (status.type == io::EntryType::symlink) {
    archive_entry_copy_symlink(out, entry.link_target.c_str());
  } else if (status.type == io::EntryType::block_device || status.type == io::EntryType::character_device) {
    archive_entry_set_rdevmajor(out, major(status.node_device));
    archive_entry_set_rdevminor(out, minor(status.node_device));
  }
  for (const io::ExtendedAttribute& attribute : entry.attributes) add_attribute(out, attribute.name, attribute.value);
  add_attribute(out, kClassAttribute, name_of(entry.kind));
  if (status.links > 1 && status.type != io::EntryType::directory)
    add_attribute(out, kLinksAttribute, std::to_string(status.links));
  if (status.type == io::EntryType::socket) add_attribute(out, kTypeAttribute, kSocketType);
  if (item.is_mount) add_attribute(out, kTypeAttribute, kMountType);
}

/// libarchive finishes an archive that is given up, and leaks when its callback fails. So the callback always succeeds;
/// what failed is kept and asked for after every call, and nothing is stored any more.
class Writer final : public SnapshotArchiveWriter {
 public:
  explicit Writer(StoreArea& area) : area_(area), handle_(archive_write_new()) {}
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() override { given_up_ = true; }

  Result<void> open() {
    archive* const a = handle_.get();
    if (a == nullptr) return make_error(Errc::internal, "libarchive gives no archive");
    const bool good = archive_write_set_format_pax(a) == ARCHIVE_OK &&
                      archive_write_set_format_option(a, "pax", "hdrcharset", "BINARY") == ARCHIVE_OK &&
                      // The other spelling has the name as it is, and a '=' in it would end it.
                      archive_write_set_format_option(a, "pax", "xattrheader", "LIBARCHIVE") == ARCHIVE_OK &&
                      archive_write_add_filter_zstd(a) == ARCHIVE_OK &&
                      archive_write_set_filter_option(a, "zstd", "compression-level", "3") == ARCHIVE_OK &&
                      archive_write_set_bytes_per_block(a, kBlockBytes) == ARCHIVE_OK &&
                      archive_write_set_bytes_in_last_block(a, 1) == ARCHIVE_OK &&
                      archive_write_open2(a, this, nullptr, &Writer::on_write, nullptr, nullptr) == ARCHIVE_OK;
    if (!good) return make_error(Errc::internal, "the snapshot's archive cannot be begun: " + reason_of(a));
    return success();
  }

  Result<void> add(const SnapshotReader::Item& item) override {
    std::size_t attribute_bytes = 0;
    for (const auto& attribute : item.entry.attributes)
      attribute_bytes += attribute.name.size() + attribute.value.size();
    if (attribute_bytes > kAttributesMaxBytes) {
      return make_error(Errc::io_error, item.entry.path + ": has more extended attributes than a snapshot can hold",
                        E2BIG);
    }
    const EntryHandle entry(archive_entry_new());
    if (!entry) throw std::bad_alloc();
    describe(entry.get(), item);
    if (archive_write_header(handle_.get(), entry.get()) != ARCHIVE_OK || error_) return failure(item.entry.path);
    path_ = item.entry.path;
    return success();
  }

  Result<void> add_contents(io::ConstBytes data) override {
    const la_ssize_t count = archive_write_data(handle_.get(), data.data(), data.size());
    if (count != static_cast<la_ssize_t>(data.size()) || error_) return failure(path_);
    return success();
  }

  Result<Facts> finish() override {
    if (archive_write_close(handle_.get()) != ARCHIVE_OK || error_) return failure("the end of the archive");
    if (offset_ > area_.capacity_bytes()) {
      return make_error(Errc::no_space, "the snapshot of the configuration takes " + std::to_string(offset_) +
                                            " bytes and its area in the state store has " +
                                            std::to_string(area_.capacity_bytes()))
          .with_detail({"needed_bytes", static_cast<std::int64_t>(offset_)})
          .with_detail({"capacity_bytes", static_cast<std::int64_t>(area_.capacity_bytes())});
    }
    return Facts{.stored_bytes = offset_, .digest = digest_.finish()};
  }

 private:
  static la_ssize_t on_write(archive*, void* self, const void* data, std::size_t length) {
    static_cast<Writer*>(self)->store(io::ConstBytes(static_cast<const std::byte*>(data), length));
    return static_cast<la_ssize_t>(length);
  }

  void store(io::ConstBytes data) {
    if (given_up_ || error_) return;
    if (offset_ + data.size() <= area_.capacity_bytes()) {
      if (Result<void> written = area_.write_at(offset_, data); !written.has_value()) {
        error_ = std::move(written).assume_error();
        return;
      }
    }
    digest_.update(data);
    offset_ += data.size();
  }

  Error failure(const std::string& path) {
    if (error_) return *error_;
    return make_error(Errc::io_error, path + ": cannot be archived: " + reason_of(handle_.get()),
                      archive_errno(handle_.get()));
  }

  StoreArea& area_;
  bool given_up_ = false;
  std::uint64_t offset_ = 0;
  Sha256Stream digest_;
  std::optional<Error> error_;
  std::string path_;
  std::unique_ptr<archive, FreeWriter> handle_;  // last, so that it goes first: it may still call `store`
};

class Reader final : public SnapshotReader {
 public:
  Reader(StoreArea& area, std::uint64_t length) : area_(area), length_(length), handle_(archive_read_new()) {
    buffer_.resize(kBlockBytes);
  }

  Result<void> open() {
    archive* const a = handle_.get();
    if (a == nullptr) return make_error(Errc::internal, "libarchive gives no archive");
    const bool good = archive_read_support_format_tar(a) == ARCHIVE_OK &&
                      archive_read_support_filter_zstd(a) == ARCHIVE_OK &&
                      archive_read_open(a, this, nullptr, &Reader::on_read, nullptr) == ARCHIVE_OK;
    if (!good) return failure();
    return success();
  }

  Result<std::optional<Item>> next() override {
    archive_entry* entry = nullptr;
    const int outcome = archive_read_next_header(handle_.get(), &entry);
    if (outcome == ARCHIVE_EOF) return std::optional<Item>();
    if (outcome != ARCHIVE_OK) return failure();
    return understand(entry);
  }

  Result<std::size_t> read(io::Bytes into) override {
    std::size_t done = 0;
    while (done < into.size()) {
      const la_ssize_t count = archive_read_data(handle_.get(), into.data() + done, into.size() - done);
      if (count < 0) return failure();
      if (count == 0) break;
      done += static_cast<std::size_t>(count);
    }
    return done;
  }

 private:
  static la_ssize_t on_read(archive* handle, void* self, const void** data) {
    auto* const reader = static_cast<Reader*>(self);
    const la_ssize_t count = reader->fetch();
    if (count < 0) archive_set_error(handle, EIO, "the state store cannot be read");
    *data = reader->buffer_.data();
    return count;
  }

  la_ssize_t fetch() {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), length_ - offset_));
    if (wanted == 0) return 0;
    const Result<std::size_t> count = area_.read_at(offset_, io::Bytes(buffer_.data(), wanted));
    if (!count.has_value()) {
      error_ = count.assume_error();
      return -1;
    }
    offset_ += count.assume_value();
    return static_cast<la_ssize_t>(count.assume_value());
  }

  Result<std::optional<Item>> understand(archive_entry* in) {
    Item item;
    Entry& entry = item.entry;
    if (archive_entry_pathname(in) == nullptr) return damaged("an entry without a name");
    entry.path = archive_entry_pathname(in);
    // Directories carry a slash at the end.
    if (entry.path.size() > 1 && entry.path.back() == '/') entry.path.pop_back();
    io::EntryStatus& status = entry.status;
    const char* const linked = archive_entry_hardlink(in);
    if (linked != nullptr) entry.hard_link = linked;
    const auto type = entry_type(archive_entry_filetype(in));
    if (!type && linked == nullptr) return damaged("an entry of unknown type");
    status.type = type.value_or(io::EntryType::regular);
    status.mode = static_cast<std::uint32_t>(archive_entry_perm(in));
    status.owner = static_cast<std::uint32_t>(archive_entry_uid(in));
    status.group = static_cast<std::uint32_t>(archive_entry_gid(in));
    status.links = 1;
    status.modified = {.seconds = archive_entry_mtime(in),
                       .nanoseconds = static_cast<std::int32_t>(archive_entry_mtime_nsec(in))};
    status.accessed = status.modified;
    if (status.type == io::EntryType::regular) status.size_bytes = static_cast<std::uint64_t>(archive_entry_size(in));
    if (status.type == io::EntryType::symlink && archive_entry_symlink(in) != nullptr) {
      entry.link_target = archive_entry_symlink(in);
    }
    if (status.type == io::EntryType::block_device || status.type == io::EntryType::character_device) {
      status.node_device = makedev(static_cast<unsigned int>(archive_entry_rdevmajor(in)),
                                   static_cast<unsigned int>(archive_entry_rdevminor(in)));
    }
    SK_TRY(take_attributes(in, item));
    return std::optional<Item>(std::move(item));
  }

  Result<void> take_attributes(archive_entry* in, Item& item) {
    const char* name = nullptr;
    const void* value = nullptr;
    std::size_t size = 0;
    std::optional<ClassKind> kind;
    archive_entry_xattr_reset(in);
    while (archive_entry_xattr_next(in, &name, &value, &size) == ARCHIVE_OK) {
      std::string text(static_cast<const char*>(value), value != nullptr ? size : 0);
      if (name == kClassAttribute) {
        kind = kind_from_name(text);
      } else if (name == kLinksAttribute) {
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), item.entry.status.links);
        if (error != std::errc() || end != text.data() + text.size()) return damaged("a broken number of links");
      } else if (name == kTypeAttribute) {
        if (text == kSocketType) item.entry.status.type = io::EntryType::socket;
        if (text == kMountType) item.is_mount = true;
      } else {
        item.entry.attributes.push_back({.name = name, .value = std::move(text)});
      }
    }
    if (!kind) return damaged(item.entry.path + " has no class");
    item.entry.kind = *kind;
    std::ranges::sort(item.entry.attributes);
    return success();
  }

  static Error damaged(const std::string& what) {
    return make_error(Errc::state_store, "the snapshot's archive has " + what);
  }

  Error failure() {
    if (error_) return *error_;
    return make_error(Errc::state_store, "the snapshot's archive is damaged: " + reason_of(handle_.get()));
  }

  StoreArea& area_;
  std::uint64_t length_;
  std::uint64_t offset_ = 0;
  std::vector<std::byte> buffer_;
  std::optional<Error> error_;
  std::unique_ptr<archive, FreeReader> handle_;
};

}  // namespace

Result<std::unique_ptr<SnapshotArchiveWriter>> SnapshotArchiveWriter::begin(StoreArea& area) {
  auto writer = std::make_unique<Writer>(area);
  SK_TRY(writer->open());
  return std::unique_ptr<SnapshotArchiveWriter>(std::move(writer));
}

Result<std::unique_ptr<SnapshotReader>> SnapshotReader::open(StoreArea& area) {
  SK_TRY_ASSIGN(const std::optional<AreaSeal> seal, area.read_seal());
  if (!seal) return make_error(Errc::state_store, "the state store holds no complete snapshot there");
  if (seal->length_bytes > area.capacity_bytes()) {
    return make_error(Errc::state_store, "the snapshot's seal names more bytes than its area has");
  }
  auto reader = std::make_unique<Reader>(area, seal->length_bytes);
  SK_TRY(reader->open());
  return std::unique_ptr<SnapshotReader>(std::move(reader));
}

}  // namespace slotkeeper::permanent

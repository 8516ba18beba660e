#include "bootloader-hooks/grub_block_file.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>

#include "partitions/io/aligned_buffer.hpp"

namespace slotkeeper::boot {
namespace {

constexpr std::uint32_t kFileMode = 0644;  ///< as grub-editenv makes it
constexpr std::chrono::milliseconds kFreezeLimit{5'000};
constexpr std::size_t kKernelTextBytesMax = 64 * 1024;

/// Values of statfs(2), f_type.
constexpr std::uint64_t kExtMagic = 0xEF53;
constexpr std::uint64_t kXfsMagic = 0x58465342;
constexpr std::uint64_t kFatMagic = 0x4D44;

struct KnownFilesystem {
  std::uint64_t magic;
  const char* name;
};
/// For the message only: whatever is not one of the three above is refused.
constexpr std::array kRefused{
    KnownFilesystem{0x9123683E, "btrfs"}, KnownFilesystem{0xF2F52010, "f2fs"},
    KnownFilesystem{0x24051905, "ubifs"}, KnownFilesystem{0x794C7630, "overlay"},
    KnownFilesystem{0x01021994, "tmpfs"}, KnownFilesystem{0x73717368, "squashfs"},
};

std::string filesystem_name(std::uint64_t magic) {
  const auto known = std::ranges::find(kRefused, magic, &KnownFilesystem::magic);
  return known == kRefused.end() ? "a filesystem of an unknown kind" : known->name;
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

bool is_absent(const Error& error) { return error.os_errno == ENOENT || error.os_errno == ENOTDIR; }

std::string numbers_of(std::uint64_t device) {
  // As the kernel's major() and minor() take a 64-bit number apart.
  const std::uint64_t major = ((device >> 8U) & 0xfffU) | ((device >> 32U) & ~std::uint64_t{0xfff});
  const std::uint64_t minor = (device & 0xffU) | ((device >> 12U) & ~std::uint64_t{0xff});
  return std::to_string(major) + ":" + std::to_string(minor);
}

std::optional<std::string> line_after(const std::string& text, const std::string& start) {
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    if (text.compare(begin, start.size(), start) == 0)
      return text.substr(begin + start.size(), end - begin - start.size());
    begin = end + 1;
  }
  return std::nullopt;
}

/// ext4 mounted with data=journal, where contents lie in the journal first. What the kernel does not tell is not known.
bool journals_contents(io::Storage& storage, std::uint64_t device) {
  const auto event = storage.read_text("/sys/dev/block/" + numbers_of(device) + "/uevent", kKernelTextBytesMax);
  if (!event.has_value()) return false;
  const auto name = line_after(event.assume_value(), "DEVNAME=");
  if (!name) return false;
  const auto options = storage.read_text("/proc/fs/ext4/" + *name + "/options", kKernelTextBytesMax);
  return options.has_value() && line_after(options.assume_value(), "data=journal").has_value();
}

/// Why GRUB would not find what is written to the file at its place; nothing when it would.
std::optional<std::string> obstacle_in(const io::FileLayout& layout, std::uint64_t size_bytes) {
  if (layout.is_encrypted) return "is encrypted";
  if (layout.is_compressed) return "is compressed";
  if (layout.is_journaled) return "goes through the journal (chattr +j)";
  if (!layout.is_known) return std::nullopt;
  std::uint64_t covered = 0;
  for (const io::FileExtent& extent : layout.extents) {
    if (!extent.in_place) return "has no block of its own (inline, packed, compressed or encrypted)";
    if (extent.shared) return "shares its block with another file (reflink)";
    if (extent.offset > covered || !extent.written) return "has a hole";
    covered = std::max(covered, extent.offset + extent.length);
  }
  if (covered < size_bytes) return "has a hole";
  return std::nullopt;
}

Result<GrubBlock> block_from(const std::vector<std::byte>& bytes, const std::string& path) {
  if (bytes.size() > kGrubBlockBytes) {
    return make_error(Errc::config, path + ": is longer than the " + std::to_string(kGrubBlockBytes) +
                                        " bytes of a GRUB environment block");
  }
  GrubBlock block{};
  std::ranges::copy(bytes, block.begin());
  if (bytes.size() == kGrubBlockBytes && is_grub_block(block)) return block;
  const std::string why = bytes.size() == kGrubBlockBytes
                              ? "its first line is missing"
                              : "it has " + std::to_string(bytes.size()) + " bytes instead of 1024";
  return make_error(Errc::boot_environment,
                    "the GRUB environment " + path + " is damaged: " + why +
                        "; the bootloader starts the last confirmed slot until 'slotkeeper recover' makes it anew");
}

}  // namespace

GrubBlockFile::GrubBlockFile(io::Storage& storage, std::string path)
    : storage_(&storage),
      path_(std::move(path)),
      folder_(folder_of(path_)),
      name_(path_.substr(path_.rfind('/') + 1)) {}

Result<GrubBlockFile> GrubBlockFile::find(io::Storage& storage, const std::string& path) {
  if (!path.starts_with('/') || path.ends_with('/')) {
    return make_error(Errc::config, "the GRUB environment '" + path + "' is not named by an absolute path of a file");
  }
  GrubBlockFile file(storage, path);
  SK_TRY(with_context(file.check_filesystem(), "the GRUB environment"));
  SK_TRY(with_context(file.check_file(), "the GRUB environment"));
  return file;
}

Result<void> GrubBlockFile::check_filesystem() {
  auto opened = storage_->open_directory(folder_);
  if (!opened.has_value()) {
    if (!is_absent(opened.assume_error())) return std::move(opened).as_failure();
    return make_error(Errc::config, folder_ + " does not exist; is the boot partition mounted?");
  }
  SK_TRY_ASSIGN(const io::SpaceFacts facts, opened.assume_value()->space());
  SK_TRY(opened.assume_value()->close());
  const std::uint64_t magic = facts.filesystem_magic;
  has_journal_ = magic != kFatMagic;
  if (magic == kExtMagic || magic == kXfsMagic || magic == kFatMagic) return success();
  return make_error(Errc::config,
                    path_ + ": lies on " + filesystem_name(magic) +
                        ", where an overwrite in place that GRUB sees cannot be promised; put it on ext2, "
                        "ext3, ext4, xfs or vfat");
}

Result<void> GrubBlockFile::check_file() {
  SK_TRY_ASSIGN(const auto directory, storage_->open_directory(folder_));
  auto status = directory->status_of(name_);
  SK_TRY(directory->close());
  if (!status.has_value()) {
    if (status.assume_error().os_errno == ENOENT) return success();
    if (status.assume_error().os_errno != EXDEV) return std::move(status).as_failure();
    return make_error(Errc::config, path_ + ": is mounted by itself, so it is another file than the one GRUB finds");
  }
  if (status.assume_value().type == io::EntryType::symlink) {
    return make_error(Errc::config, path_ + ": is a symbolic link; name the file itself");
  }
  if (status.assume_value().type != io::EntryType::regular) {
    return make_error(Errc::config, path_ + ": is not a regular file");
  }
  if (status.assume_value().size_bytes > kGrubBlockBytes) {
    return make_error(Errc::config, path_ + ": has " + std::to_string(status.assume_value().size_bytes) +
                                        " bytes; a GRUB environment block has " + std::to_string(kGrubBlockBytes));
  }
  if (journals_contents(*storage_, status.assume_value().device)) {
    return make_error(Errc::config,
                      path_ + ": lies on ext4 with data=journal, where GRUB does not see what was written");
  }
  io::OpenMode mode = io::OpenMode::read_only();
  mode.direct = true;
  SK_TRY_ASSIGN(const auto file, storage_->open_file(path_, mode));
  SK_TRY(check_layout(*file));
  SK_TRY_ASSIGN(const io::ReadBackLevel level, file->drop_cache());
  reads_device_ = level != io::ReadBackLevel::cached;
  return file->close();
}

Result<void> GrubBlockFile::check_layout(io::File& file) const {
  SK_TRY_ASSIGN(const std::uint64_t size_bytes, file.size());
  SK_TRY_ASSIGN(const io::FileLayout layout, file.layout());
  const auto obstacle = obstacle_in(layout, size_bytes);
  if (!obstacle) return success();
  // A hole in what is no block anyway goes away when the block is made.
  if (*obstacle == "has a hole") {
    const auto block = read();
    if (!block.has_value() && block.assume_error().code == Errc::boot_environment) return success();
  }
  return make_error(Errc::config, path_ + ": " + *obstacle +
                                      ", so GRUB would not see what is written to it, or could not save; make it anew "
                                      "with 'grub-editenv FILE create' on a filesystem without that property");
}

Result<std::vector<std::byte>> GrubBlockFile::read_bytes() const {
  io::OpenMode mode = io::OpenMode::read_only();
  mode.direct = true;
  auto opened = storage_->open_file(path_, mode);
  if (!opened.has_value()) {
    if (opened.assume_error().os_errno != ENOENT) return std::move(opened).as_failure();
    return make_error(Errc::boot_environment, "there is no GRUB environment " + path_ +
                                                  "; 'slotkeeper provision' makes it, and until then the bootloader "
                                                  "starts the last confirmed slot");
  }
  io::File& file = *opened.assume_value();
  SK_TRY(file.drop_cache());
  io::AlignedBuffer buffer(io::kDirectAlignment);
  SK_TRY_ASSIGN(const std::size_t count, file.read_at(0, buffer.bytes()));
  SK_TRY(file.close());
  const io::ConstBytes bytes = io::ConstBytes(buffer.bytes()).first(count);
  return std::vector<std::byte>(bytes.begin(), bytes.end());
}

Result<GrubBlock> GrubBlockFile::read() const {
  SK_TRY_ASSIGN(const auto bytes, read_bytes());
  return block_from(bytes, path_);
}

Result<void> GrubBlockFile::settle() const {
  SK_TRY_ASSIGN(const auto directory, storage_->open_directory(folder_));
  SK_TRY(directory->sync_filesystem());
  SK_TRY(directory->close());
  if (!has_journal_) return success();
  auto frozen = storage_->freeze(folder_, kFreezeLimit);
  if (!frozen.has_value()) {
    const int failure = frozen.assume_error().os_errno;
    Error error = std::move(frozen).assume_error().with_context("emptying the journal of the boot filesystem");
    if (failure == EBUSY) return std::move(error).with_code(Errc::busy);
    return error;
  }
  // Once it was frozen the journal is empty, however the freeze ended.
  SK_TRY(frozen.assume_value()->thaw());
  return success();
}

Result<void> GrubBlockFile::write_sector(const GrubBlock& before, const GrubBlock& next) const {
  const auto differs = [&](std::size_t sector) {
    const auto begin = static_cast<std::ptrdiff_t>(sector * kGrubSectorBytes);
    return !std::equal(before.begin() + begin, before.begin() + begin + kGrubSectorBytes, next.begin() + begin);
  };
  SK_INVARIANT(!(differs(0) && differs(1)));
  const std::size_t sector = differs(1) ? 1 : 0;
  const std::size_t offset = sector * kGrubSectorBytes;
  return write_and_compare(offset, io::ConstBytes(next).subspan(offset, kGrubSectorBytes), next);
}

Result<void> GrubBlockFile::create(const GrubBlock& block) const {
  auto created = storage_->open_file(path_, io::OpenMode::create_new(kFileMode));
  if (created.has_value()) {
    SK_TRY(created.assume_value()->close());
  } else if (created.assume_error().os_errno != EEXIST) {
    return std::move(created).as_failure();
  }
  SK_TRY(write_and_compare(0, block, block));
  SK_TRY_ASSIGN(const auto directory, storage_->open_directory(folder_));
  SK_TRY(directory->sync());
  SK_TRY(directory->close());
  SK_TRY(settle());
  SK_TRY_ASSIGN(const auto file, storage_->open_file(path_, io::OpenMode::read_only()));
  SK_TRY(check_layout(*file));
  return file->close();
}

Result<void> GrubBlockFile::write_and_compare(std::size_t offset, io::ConstBytes data, const GrubBlock& wanted) const {
  SK_TRY_ASSIGN(const auto file, storage_->open_file(path_, io::OpenMode::read_write()));
  SK_TRY(file->write_at(offset, data));
  SK_TRY(file->sync());
  SK_TRY(file->close());
  SK_TRY_ASSIGN(const auto read_back, read_bytes());
  if (std::ranges::equal(read_back, wanted)) return success();
  return make_error(Errc::readback_mismatch, path_ + " does not read back as it was written");
}

}  // namespace slotkeeper::boot

#include "partitions/permanent/root_reserve.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <sys/sysmacros.h>

namespace slotkeeper::permanent {
namespace {

constexpr std::uint64_t kSuperblockOffset = 1024;
constexpr std::size_t kSuperblockBytes = 1024;
// Little-endian fields, Documentation/filesystems/ext4/super.rst.
constexpr std::size_t kReservedLow = 0x08;
constexpr std::size_t kLogBlockSize = 0x18;  // block size is 2^(10 + this)
constexpr std::size_t kLogClusterSize = 0x1C;
constexpr std::size_t kMagic = 0x38;
constexpr std::size_t kIncompatible = 0x60;
constexpr std::size_t kReservedHigh = 0x154;
constexpr std::uint64_t kMagicOfExt4 = 0xEF53;
constexpr std::uint64_t kHas64Bits = 0x80;
constexpr std::uint64_t kLogBlockSizeMax = 6;     // 64 KiB
constexpr std::uint64_t kLogClusterSizeMax = 19;  // 512 MiB
constexpr std::size_t kSysTextBytes = 4096;       // an attribute of /sys is at most one page

std::uint64_t field(io::ConstBytes bytes, std::size_t offset, std::size_t width) {
  std::uint64_t value = 0;
  for (std::size_t i = width; i-- > 0;) value = value << 8U | std::to_integer<std::uint64_t>(bytes[offset + i]);
  return value;
}

/// Clusters that the kernel keeps for its bookkeeping; it decides on them when it mounts. Nothing where it does not
/// tell.
std::optional<std::uint64_t> kernel_clusters(io::Storage& storage, std::uint64_t device) {
  const std::string number = std::to_string(major(device)) + ":" + std::to_string(minor(device));
  const auto event = storage.read_text("/sys/dev/block/" + number + "/uevent", kSysTextBytes);
  if (!event.has_value()) return std::nullopt;
  constexpr std::string_view kKey = "DEVNAME=";
  const std::string& text = event.assume_value();
  const std::size_t at = text.find(kKey);
  if (at == std::string::npos) return std::nullopt;
  const std::size_t begin = at + kKey.size();
  const std::string name = text.substr(begin, text.find('\n', begin) - begin);
  const auto attribute = storage.read_text("/sys/fs/ext4/" + name + "/reserved_clusters", kSysTextBytes);
  if (!attribute.has_value()) return std::nullopt;
  const std::string& digits = attribute.assume_value();
  std::uint64_t clusters = 0;
  if (std::from_chars(digits.data(), digits.data() + digits.size(), clusters).ec != std::errc()) return std::nullopt;
  return clusters;
}

}  // namespace

std::optional<RootReserve> reserved_in_superblock(io::ConstBytes superblock) {
  if (superblock.size() < kSuperblockBytes || field(superblock, kMagic, 2) != kMagicOfExt4) return std::nullopt;
  const std::uint64_t shift = field(superblock, kLogBlockSize, 4);
  const std::uint64_t cluster_shift = field(superblock, kLogClusterSize, 4);
  if (shift > kLogBlockSizeMax || cluster_shift < shift || cluster_shift > kLogClusterSizeMax) return std::nullopt;
  std::uint64_t blocks = field(superblock, kReservedLow, 4);
  if ((field(superblock, kIncompatible, 4) & kHas64Bits) != 0) blocks |= field(superblock, kReservedHigh, 4) << 32U;
  const std::uint64_t bytes = blocks << (10 + shift);
  if (bytes >> (10 + shift) != blocks) return std::nullopt;
  return RootReserve{.bytes = bytes, .cluster_bytes = std::uint64_t{1} << (10 + cluster_shift)};
}

Result<std::optional<std::uint64_t>> bytes_kept_back(io::Storage& storage, const std::string& mount_point) {
  using Bytes = std::optional<std::uint64_t>;
  SK_TRY_ASSIGN(const auto mounts, storage.mounts());
  // The last one covers those before it.
  const auto mount = std::find_if(mounts.rbegin(), mounts.rend(),
                                  [&](const io::Mount& one) { return one.mount_point == mount_point; });
  if (mount == mounts.rend() || mount->filesystem != "ext4") return Bytes();
  const auto status = storage.status_of(mount->source);
  if (!status.has_value()) return Bytes();  // the kernel's name for it has no node here
  const bool is_it =
      status.assume_value().type == io::EntryType::block_device && status.assume_value().node_device == mount->device;
  if (!is_it) return Bytes();
  io::OpenMode mode = io::OpenMode::read_only();
  mode.follow_symlink = true;
  SK_TRY_ASSIGN(const auto file, storage.open_file(mount->source, mode));
  std::array<std::byte, kSuperblockBytes> superblock{};
  SK_TRY(file->read_exactly_at(kSuperblockOffset, superblock));
  SK_TRY(file->close());
  const auto reserve = reserved_in_superblock(superblock);
  const auto clusters = kernel_clusters(storage, mount->device);
  if (!reserve || !clusters) return Bytes();
  return Bytes(reserve->bytes + *clusters * reserve->cluster_bytes);
}

}  // namespace slotkeeper::permanent

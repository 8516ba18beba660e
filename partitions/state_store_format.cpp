// Makes an empty state store: every byte of it is written, so that an update never has to allocate here.
#include <algorithm>
#include <cerrno>

#include "partitions/state_store_device.hpp"
#include "partitions/state_store_layout.hpp"
#include "partitions/state_store_record.hpp"

namespace slotkeeper {
namespace {

using store::StoreDevice;
using store::Superblock;

constexpr std::uint64_t kPieceBytes = 1 << 20;

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// Durable: the empty file's name.
Result<void> create_file(io::Storage& storage, const std::string& path) {
  SK_TRY_ASSIGN(const auto file, storage.open_file(path, io::OpenMode::create_new(0600)));
  SK_TRY(file->sync());
  SK_TRY(file->close());
  SK_TRY_ASSIGN(const auto directory, storage.open_directory(parent_of(path)));
  SK_TRY(directory->sync());
  return directory->close();
}

/// From here on no old superblock makes anybody believe in what the following writes destroy.
Result<void> remove_superblocks(StoreDevice& device, std::uint64_t size_bytes) {
  if (size_bytes < kStoreBlockBytes) return success();
  SK_TRY(device.write_checked(0, store::Block{}));
  return device.write_checked(io::round_down_to_block(size_bytes) - kStoreBlockBytes, store::Block{});
}

Result<void> write_zeros(StoreDevice& device, std::uint64_t total_bytes) {
  const io::AlignedBuffer zeros(kPieceBytes);
  for (std::uint64_t offset = 0; offset < total_bytes; offset += kPieceBytes) {
    const auto length = static_cast<std::size_t>(std::min(kPieceBytes, total_bytes - offset));
    SK_TRY(device.write(offset, zeros.bytes().first(length)));
  }
  SK_TRY(device.sync());
  for (std::uint64_t offset = 0; offset < total_bytes; offset += kPieceBytes) {
    SK_TRY_ASSIGN(const io::AlignedBuffer found,
                  device.read_blocks(offset, std::min(kPieceBytes, total_bytes - offset)));
    if (!io::is_all_zero(found.bytes())) {
      return make_error(Errc::readback_mismatch, "the state store " + device.path() +
                                                     " reads back other bytes than zeros after offset " +
                                                     std::to_string(offset));
    }
  }
  return success();
}

Result<void> write_initial_contents(StoreDevice& device, const Superblock& superblock) {
  using store::RegionKind;
  for (const RegionKind kind : {RegionKind::acknowledgement, RegionKind::transaction, RegionKind::facts}) {
    SK_TRY(device.write_checked(superblock.region(kind).offset, store::RecordPair::initial_units(kind)));
  }
  // With GRUB's second sector in place, a change of the slot is a write of one sector.
  const std::uint64_t grub_offset = superblock.region(RegionKind::last_confirmed).offset + kStoreBlockBytes;
  return device.write_checked(grub_offset, store::encode_grub_confirmed(std::nullopt));
}

}  // namespace

Result<void> StateStore::format(io::Storage& storage, const std::string& path, std::uint64_t file_size_bytes,
                                std::string_view identifier) {
  auto opened = StoreDevice::open(storage, path, Access::write);
  if (!opened.has_value() && opened.error().code == Errc::not_provisioned) {
    SK_TRY(store::plan_layout(file_size_bytes, identifier));  // refuse before there is a file
    SK_TRY(create_file(storage, path));
    opened = StoreDevice::open(storage, path, Access::write);
  }
  if (!opened.has_value()) return std::move(opened).as_failure();
  StoreDevice& device = *opened.value();
  SK_TRY_ASSIGN(const std::uint64_t size_before, device.size_bytes());
  const std::uint64_t total_bytes = device.is_block_device() ? io::round_down_to_block(size_before) : file_size_bytes;
  SK_TRY_ASSIGN(const Superblock superblock, with_context(store::plan_layout(total_bytes, identifier), path));

  SK_TRY(remove_superblocks(device, size_before));
  if (!device.is_block_device()) SK_TRY(device.resize(total_bytes));
  SK_TRY(write_zeros(device, total_bytes));
  SK_TRY(write_initial_contents(device, superblock));
  const store::Block block = store::encode_superblock(superblock);
  SK_TRY(device.write_checked(total_bytes - kStoreBlockBytes, block));
  SK_TRY(device.write_checked(0, block));
  return device.close();
}

}  // namespace slotkeeper

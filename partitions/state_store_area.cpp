#include "partitions/state_store_area.hpp"

#include <algorithm>

namespace slotkeeper::store {

Result<void> DeviceArea::unseal() {
  SK_TRY_ASSIGN(const io::AlignedBuffer front, device_.read_blocks(region_.offset, kStoreBlockBytes));
  if (!io::is_all_zero(front.bytes())) SK_TRY(device_.write_checked(region_.offset, Block{}));
  is_known_unsealed_ = true;
  has_failed_ = false;
  return success();
}

Result<void> DeviceArea::check_open_for_writing() {
  if (has_failed_) {
    return make_error(Errc::io_error, "an earlier write to the " + std::string(name_of(region_.kind)) + " failed");
  }
  if (is_known_unsealed_) return success();
  SK_TRY_ASSIGN(const auto seal, read_seal());
  if (seal) {
    return make_error(Errc::internal,
                      "the " + std::string(name_of(region_.kind)) + " is sealed and must not be written");
  }
  is_known_unsealed_ = true;
  return success();
}

Result<void> DeviceArea::write_at(std::uint64_t offset, io::ConstBytes data) {
  SK_TRY(check_open_for_writing());
  if (offset > capacity_bytes() || data.size() > capacity_bytes() - offset) {
    return make_error(Errc::storage_full, "the " + std::string(name_of(region_.kind)) + " in " + device_.path() +
                                              " has room for " + std::to_string(capacity_bytes()) + " bytes only");
  }
  auto written = device_.write(contents_offset() + offset, data);
  has_failed_ = !written.has_value();
  return written;
}

Result<void> DeviceArea::seal(const AreaSeal& seal) {
  SK_TRY(check_open_for_writing());
  if (seal.length_bytes > capacity_bytes() || seal.description.size() > kAreaDescriptionMaxBytes) {
    return make_error(Errc::internal, "the seal of the " + std::string(name_of(region_.kind)) + " is too large");
  }
  // Until the seal is read back the area counts as failed, so that no second seal covers what a first one lost.
  has_failed_ = true;
  SK_TRY(device_.sync());
  SK_TRY_ASSIGN(const Sha256 found, device_.hash_past_cache(contents_offset(), seal.length_bytes));
  if (found != seal.digest) {
    return make_error(Errc::readback_mismatch, "the contents of the " + std::string(name_of(region_.kind)) + " in " +
                                                   device_.path() + " read back differently at offset " +
                                                   std::to_string(contents_offset()) + " and the " +
                                                   std::to_string(seal.length_bytes) + " bytes from there");
  }
  SK_TRY(device_.write_checked(region_.offset, encode_seal(region_.kind, seal)));
  has_failed_ = false;
  is_known_unsealed_ = false;
  return success();
}

Result<std::optional<AreaSeal>> DeviceArea::read_seal() {
  SK_TRY_ASSIGN(const io::AlignedBuffer units, device_.read_blocks(region_.offset, kSealBytes));
  return decode_seal(units.bytes(), region_.kind, capacity_bytes());
}

Result<std::size_t> DeviceArea::read_at(std::uint64_t offset, io::Bytes into) {
  if (offset >= capacity_bytes()) return std::size_t{0};
  const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), capacity_bytes() - offset));
  SK_TRY(device_.read_past_cache(contents_offset() + offset, into.first(length)));
  return length;
}

}  // namespace slotkeeper::store

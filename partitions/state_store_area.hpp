// An area of the state store: a seal, then contents.
#pragma once

#include "partitions/state_store_device.hpp"
#include "partitions/state_store_layout.hpp"

namespace slotkeeper::store {

class DeviceArea final : public StoreArea {
 public:
  DeviceArea(StoreDevice& device, const Region& region) : device_(device), region_(region) {}

  [[nodiscard]] std::uint64_t capacity_bytes() const override { return region_.length - kSealBytes; }
  [[nodiscard]] Result<void> unseal() override;
  [[nodiscard]] Result<void> write_at(std::uint64_t offset, io::ConstBytes data) override;
  [[nodiscard]] Result<void> seal(const AreaSeal& seal) override;
  [[nodiscard]] Result<std::optional<AreaSeal>> read_seal() override;
  [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, io::Bytes into) override;

 private:
  [[nodiscard]] std::uint64_t contents_offset() const { return region_.offset + kSealBytes; }
  [[nodiscard]] Result<void> check_open_for_writing();

  StoreDevice& device_;
  Region region_;
  bool is_known_unsealed_ = false;
  bool has_failed_ = false;  ///< a write or sync of the contents failed: nothing is known about them
};

}  // namespace slotkeeper::store

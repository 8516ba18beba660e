// The configuration file of the U-Boot tools with any content.
#include <cstdint>
#include <cstdlib>

#include "bootloader-hooks/fw_env_config.hpp"

using namespace slotkeeper;
using namespace slotkeeper::boot;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto places = parse_fw_env_config({reinterpret_cast<const char*>(data), size}, "fw_env.config");
  if (!places.has_value()) {
    if (places.error().code != Errc::config) std::abort();
    return 0;
  }
  for (const EnvironmentPlace& place : places.value()) {
    const bool is_sound = place.device_path.starts_with('/') && place.size_bytes >= kEnvironmentBytesMin &&
                          place.size_bytes <= kEnvironmentBytesMax && place.offset + place.size_bytes > place.offset;
    if (!is_sound) std::abort();
  }
  return 0;
}

#include "partitions/io/posix_device_facts.hpp"

namespace slotkeeper::io {
namespace {
Error missing() { return make_error(Errc::internal, "this question about devices has no answer yet"); }
}  // namespace
Result<DeviceIdentity> identify_device(const std::string&) { return missing(); }
Result<std::vector<Mount>> read_mounts(Storage&) { return missing(); }
Result<std::string> find_holder(Storage&, const std::string&) { return missing(); }
Result<std::optional<int>> find_lock_holder(Storage&, const std::string&) { return missing(); }
Result<std::optional<std::uint64_t>> read_filesystem_errors(Storage&, const std::string&) { return missing(); }
Result<DeviceIdentity> find_root_device(Storage&) { return missing(); }
}  // namespace slotkeeper::io

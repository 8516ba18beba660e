// What a device holds, as text that two points in time can be compared by.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace slotkeeper::test {

/// Part of the device ("slot A", "permanent ./network/vpn.conf") to what identifies its contents.
using Fingerprint = std::map<std::string, std::string>;

/// SHA-256 of a file or block device, read from the medium where it is a device.
[[nodiscard]] std::string hash_of(const std::string& path);
/// SHA-256 of the first `bytes`.
[[nodiscard]] std::string hash_of(const std::string& path, std::uint64_t bytes);

/// Every entry below `root` with type, mode, owner, links, size, times of change of what is no folder, link target,
/// extended attributes and SHA-256 of the contents. Keys are `name` + " ./path".
/// `left_out`: paths below the root that are not looked at, nor what is in them.
[[nodiscard]] Fingerprint fingerprint_tree(const std::string& root, const std::string& name,
                                           const std::vector<std::string>& left_out = {});

/// The state store without its history, and the history alone: "store", "store history".
[[nodiscard]] Fingerprint fingerprint_store(const std::string& path);

/// One line for every part that is in one of them only or differs; "" when they are equal.
[[nodiscard]] std::string difference(const Fingerprint& before, const Fingerprint& after);

/// Those parts whose name does not begin with any of these.
[[nodiscard]] Fingerprint without(Fingerprint fingerprint, const std::vector<std::string>& beginnings);
/// Those parts whose name begins with one of these.
[[nodiscard]] Fingerprint only(Fingerprint fingerprint, const std::vector<std::string>& beginnings);

}  // namespace slotkeeper::test

#include "tests/loopback/fingerprint.hpp"

#include <algorithm>
#include <fcntl.h>
#include <filesystem>
#include <linux/fs.h>
#include <sstream>
#include <stdexcept>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "partitions/digest.hpp"
#include "partitions/state_store_layout.hpp"
#include "tests/support/file_contents.hpp"

namespace slotkeeper::test {
namespace {

std::string hex_of(const std::string& bytes) {
  std::ostringstream text;
  text << std::hex;
  for (const char byte : bytes) text << (static_cast<unsigned>(byte) & 0xffu) << '.';
  return text.str();
}

std::string attributes_of(const std::string& path) {
  std::string names(65536, '\0');
  const ssize_t length = ::llistxattr(path.c_str(), names.data(), names.size());
  if (length < 0) throw std::runtime_error("the attributes of " + path + " cannot be listed");
  std::istringstream list(names.substr(0, static_cast<std::size_t>(length)));
  std::vector<std::string> lines;
  for (std::string name; std::getline(list, name, '\0');) {
    std::string value(65536, '\0');
    const ssize_t size = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    if (size < 0) throw std::runtime_error("an attribute of " + path + " cannot be read");
    value.resize(static_cast<std::size_t>(size));
    lines.push_back(" " + name + "=" + hex_of(value));
  }
  std::ranges::sort(lines);
  std::string text;
  for (const auto& line : lines) text += line;
  return text;
}

std::string describe(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) throw std::runtime_error(path + " is gone");
  std::ostringstream text;
  text << std::oct << status.st_mode << std::dec << " " << status.st_uid << ":" << status.st_gid;
  if (!S_ISDIR(status.st_mode)) {
    text << " links=" << status.st_nlink << " size=" << status.st_size << " time=" << status.st_mtim.tv_sec << "."
         << status.st_mtim.tv_nsec;
  }
  if (S_ISLNK(status.st_mode)) text << " -> " << std::filesystem::read_symlink(path).string();
  if (S_ISREG(status.st_mode)) text << " " << hash_of(path);
  return text.str() + attributes_of(path);
}

bool begins_with_one_of(const std::string& name, const std::vector<std::string>& beginnings) {
  return std::ranges::any_of(beginnings, [&](const std::string& beginning) { return name.starts_with(beginning); });
}

}  // namespace

std::string hash_of(const std::string& path, std::uint64_t bytes) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw std::runtime_error(path + " cannot be opened");
  struct stat status {};
  if (::fstat(file, &status) == 0 && S_ISBLK(status.st_mode)) {
    // What is dirty goes out, then everything is dropped, so that the medium answers and not the cache.
    if (::fsync(file) != 0 || ::ioctl(file, BLKFLSBUF, 0) != 0) throw std::runtime_error(path + " cannot be flushed");
  }
  Sha256Stream stream;
  std::vector<std::byte> buffer(1 << 20);
  while (bytes > 0) {
    const ssize_t count = ::read(file, buffer.data(), std::min<std::uint64_t>(buffer.size(), bytes));
    if (count < 0) throw std::runtime_error(path + " cannot be read");
    if (count == 0) break;
    stream.update({buffer.data(), static_cast<std::size_t>(count)});
    bytes -= static_cast<std::uint64_t>(count);
  }
  ::close(file);
  return stream.finish().hex();
}

std::string hash_of(const std::string& path) { return hash_of(path, UINT64_MAX); }

Fingerprint fingerprint_tree(const std::string& root, const std::string& name,
                             const std::vector<std::string>& left_out) {
  Fingerprint fingerprint;
  fingerprint[name + " ."] = describe(root);
  for (auto entry = std::filesystem::recursive_directory_iterator(root);
       entry != std::filesystem::recursive_directory_iterator(); ++entry) {
    const std::string path = std::filesystem::path(entry->path()).lexically_relative(root).string();
    if (std::ranges::find(left_out, path) != left_out.end()) {
      entry.disable_recursion_pending();
      continue;
    }
    fingerprint[name + " ./" + path] = describe(entry->path());
  }
  return fingerprint;
}

Fingerprint fingerprint_store(const std::string& path) {
  if (!std::filesystem::exists(path)) return {{"store", "absent"}};
  std::string contents = contents_of(path);
  const auto bytes = [](const std::string& text) {
    return io::ConstBytes(reinterpret_cast<const std::byte*>(text.data()), text.size());
  };
  if (contents.size() < kStoreBlockBytes) return {{"store", sha256(bytes(contents)).hex()}};
  const auto superblock = store::decode_superblock(bytes(contents).first(kStoreBlockBytes));
  if (!superblock.has_value()) return {{"store", sha256(bytes(contents)).hex()}};
  const store::Region& history = superblock.assume_value().region(store::RegionKind::history);
  const std::string kept = contents.substr(history.offset, history.length);
  contents.replace(history.offset, history.length, history.length, '\0');
  return {{"store", sha256(bytes(contents)).hex()}, {"store history", sha256(bytes(kept)).hex()}};
}

std::string difference(const Fingerprint& before, const Fingerprint& after) {
  std::string text;
  for (const auto& [part, value] : before) {
    const auto other = after.find(part);
    if (other == after.end()) {
      text += part + ": gone (was " + value + ")\n";
    } else if (other->second != value) {
      text += part + ": was " + value + ", is " + other->second + "\n";
    }
  }
  for (const auto& [part, value] : after) {
    if (before.count(part) == 0) text += part + ": new (" + value + ")\n";
  }
  return text;
}

Fingerprint without(Fingerprint fingerprint, const std::vector<std::string>& beginnings) {
  std::erase_if(fingerprint, [&](const auto& part) { return begins_with_one_of(part.first, beginnings); });
  return fingerprint;
}

Fingerprint only(Fingerprint fingerprint, const std::vector<std::string>& beginnings) {
  std::erase_if(fingerprint, [&](const auto& part) { return !begins_with_one_of(part.first, beginnings); });
  return fingerprint;
}

}  // namespace slotkeeper::test

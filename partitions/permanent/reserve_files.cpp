#include "partitions/permanent/reserve_files.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include "partitions/permanent/inventory.hpp"
#include "partitions/permanent/steady_file.hpp"

namespace slotkeeper::permanent {
namespace {

/// Size and number of a name of the reserve; nothing when it is none.
std::optional<std::pair<std::uint64_t, std::uint64_t>> understand(const std::string& name) {
  std::uint64_t size = 0;
  std::uint64_t number = 0;
  const char* const end = name.data() + name.size();
  const auto [dash, size_error] = std::from_chars(name.data(), end, size);
  if (size_error != std::errc() || dash == end || *dash != '-') return std::nullopt;
  const auto [rest, number_error] = std::from_chars(dash + 1, end, number);
  if (number_error != std::errc() || rest != end || name != reserve_name(size, number)) return std::nullopt;
  return std::pair(size, number);
}

}  // namespace

std::string reserve_path() { return std::string(kOwnDirectory) + "/" + std::string(kReserveDirectory); }

std::string reserve_name(std::uint64_t size_bytes, std::uint64_t number) {
  return std::to_string(size_bytes) + "-" + std::to_string(number);
}

Result<ReserveFiles> list_reserve(io::Directory& reserve) {
  std::map<std::uint64_t, std::vector<std::uint64_t>> numbers;
  ReserveFiles files;
  SK_TRY(reserve.visit_entries([&](const io::DirectoryEntry& entry) -> Result<void> {
    const auto understood = understand(entry.name);
    if (entry.type == io::EntryType::regular && understood) {
      numbers[understood->first].push_back(understood->second);
    } else if (entry.type == io::EntryType::regular && entry.name == kSlackName) {
      files.slack = entry.name;
    } else {
      files.foreign.push_back(entry.name);
    }
    return success();
  }));
  for (auto& [size, of_size] : numbers) {
    std::ranges::sort(of_size, std::greater<>());
    for (const std::uint64_t number : of_size) files.by_size[size].push_back(reserve_name(size, number));
  }
  std::ranges::sort(files.foreign);
  return files;
}

Result<bool> is_whole(io::Directory& reserve, const std::string& name, std::uint64_t size_bytes) {
  const Result<io::EntryStatus> status = reserve.status_of(name);
  if (!status.has_value()) {
    if (is_gone(status.assume_error())) return false;
    return status.assume_error();
  }
  const io::EntryStatus& facts = status.assume_value();
  return facts.type == io::EntryType::regular && facts.size_bytes >= size_bytes &&
         facts.allocated_bytes >= size_bytes && facts.links == 1;
}

}  // namespace slotkeeper::permanent

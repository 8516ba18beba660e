#include "partitions/io/posix_disk_health.hpp"

#include <algorithm>
#include <charconv>
#include <set>
#include <sstream>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <boost/filesystem.hpp>

#include "partitions/io/posix_call.hpp"

namespace slotkeeper::io {
namespace {

namespace fs = boost::filesystem;

constexpr std::size_t kAttributeBytes = 4096;    // an attribute of /sys is at most one page
constexpr std::uint64_t kStatSectorBytes = 512;  // the unit of .../stat, whatever the device's own sector is
constexpr std::size_t kStatSectorsWritten = 6;   // Documentation/block/stat.rst

bool is_there(const fs::path& path) {
  boost::system::error_code failure;
  return fs::exists(path, failure);
}

/// The folder of a device in /sys; nothing when there is none.
std::optional<fs::path> folder_of(const std::string& sysfs, std::uint64_t device) {
  boost::system::error_code failure;
  const fs::path link =
      fs::path(sysfs) / "dev/block" / (std::to_string(major(device)) + ":" + std::to_string(minor(device)));
  fs::path folder = fs::canonical(link, failure);
  if (failure) return std::nullopt;
  return folder;
}

/// Words of an attribute; nothing when the device has none. Some drivers show one that cannot be read: that is none.
Result<std::optional<std::vector<std::string>>> words_of(Storage& storage, const fs::path& attribute) {
  using Words = std::optional<std::vector<std::string>>;
  if (!is_there(attribute)) return Words();
  auto text = storage.read_text(attribute.native(), kAttributeBytes);
  if (!text.has_value()) {
    const int reason = text.assume_error().os_errno;
    if (reason == ENOENT || reason == EOPNOTSUPP || reason == EINVAL || reason == ENODEV) return Words();
    return text.assume_error();
  }
  std::vector<std::string> words;
  std::istringstream stream(text.assume_value());
  for (std::string word; stream >> word;) words.push_back(word);
  return Words(std::move(words));
}

Result<std::uint64_t> number_of(const fs::path& attribute, std::string_view word) {
  const int base = word.starts_with("0x") ? 16 : 10;
  const std::string_view digits = base == 16 ? word.substr(2) : word;
  std::uint64_t number = 0;
  const char* const end = digits.data() + digits.size();
  const auto [rest, failure] = std::from_chars(digits.data(), end, number, base);
  if (failure != std::errc() || rest != end) {
    return make_error(Errc::io_error, attribute.native() + ": holds no number: " + std::string(word));
  }
  return number;
}

/// The greatest number of an attribute; nothing where there is none, or only 0, which stands for "not defined".
Result<std::optional<std::uint32_t>> greatest_of(Storage& storage, const fs::path& attribute) {
  SK_TRY_ASSIGN(const auto words, words_of(storage, attribute));
  std::uint64_t greatest = 0;
  if (words) {
    for (const std::string& word : *words) {
      SK_TRY_ASSIGN(const std::uint64_t number, number_of(attribute, word));
      greatest = std::max(greatest, number);
    }
  }
  if (greatest == 0) return std::optional<std::uint32_t>();
  return std::optional(static_cast<std::uint32_t>(std::min<std::uint64_t>(greatest, UINT32_MAX)));
}

class Walk {
 public:
  Walk(Storage& storage, const std::string& sysfs) : storage_(storage), sysfs_(sysfs) {}

  Result<void> add(std::uint64_t device) {
    const auto folder = folder_of(sysfs_, device);
    if (!folder) return success();
    return add_folder(*folder);
  }

  StorageHealth health;

 private:
  Result<void> add_folder(const fs::path& folder) {
    if (!seen_.insert(folder.native()).second) return success();
    SK_TRY_ASSIGN(const auto read_only, words_of(storage_, folder / "ro"));
    if (read_only && read_only->size() == 1 && read_only->front() != "0") {
      health.read_only.push_back(folder.filename().native());
    }
    if (is_there(folder / "partition")) return add_folder(folder.parent_path());
    SK_TRY_ASSIGN(const bool lies_on_others, add_what_is_below(folder));
    if (lies_on_others) return success();
    DiskWear wear{.disk = folder.filename().native(), .life_time = {}, .pre_eol = {}};
    SK_TRY_ASSIGN(wear.life_time, greatest_of(storage_, folder / "device/life_time"));
    SK_TRY_ASSIGN(wear.pre_eol, greatest_of(storage_, folder / "device/pre_eol_info"));
    health.disks.push_back(std::move(wear));
    return success();
  }

  /// False for a disk of its own.
  Result<bool> add_what_is_below(const fs::path& folder) {
    boost::system::error_code failure;
    std::vector<fs::path> slaves;
    for (fs::directory_iterator entry(folder / "slaves", failure); !failure && entry != fs::directory_iterator();
         entry.increment(failure)) {
      slaves.push_back(entry->path());
    }
    std::sort(slaves.begin(), slaves.end());
    bool any = false;
    for (const fs::path& slave : slaves) {
      const fs::path below = fs::canonical(slave, failure);
      if (failure) continue;  // taken away meanwhile
      any = true;
      SK_TRY(add_folder(below));
    }
    SK_TRY_ASSIGN(const auto file, words_of(storage_, folder / "loop/backing_file"));
    struct stat facts {};
    if (file && file->size() == 1 && ::stat(file->front().c_str(), &facts) == 0 && major(facts.st_dev) != 0) {
      any = true;
      SK_TRY(add(facts.st_dev));
    }
    return any;
  }

  Storage& storage_;
  const std::string& sysfs_;
  std::set<std::string> seen_;
};

}  // namespace

Result<StorageHealth> health_of_device(Storage& storage, const std::string& sysfs, std::uint64_t device) {
  Walk walk(storage, sysfs);
  SK_TRY(walk.add(device));
  return std::move(walk.health);
}

Result<std::optional<std::uint64_t>> bytes_written_to_device(Storage& storage, const std::string& sysfs,
                                                             std::uint64_t device) {
  const auto folder = folder_of(sysfs, device);
  if (!folder) return std::optional<std::uint64_t>();
  SK_TRY_ASSIGN(const auto words, words_of(storage, *folder / "stat"));
  if (!words) return std::optional<std::uint64_t>();
  if (words->size() <= kStatSectorsWritten) {
    return make_error(Errc::io_error, (*folder / "stat").native() + ": has too few figures");
  }
  SK_TRY_ASSIGN(const std::uint64_t sectors, number_of(*folder / "stat", (*words)[kStatSectorsWritten]));
  return std::optional(sectors * kStatSectorBytes);
}

}  // namespace slotkeeper::io

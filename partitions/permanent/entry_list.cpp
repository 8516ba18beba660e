// A record, all numbers in LEB128 but for the one position that is written later:
//
//   flags (2 bytes)  [hard link: position, 4 bytes]  length of the path  path
//   rule inode mode owner group links size allocated  times  [device] [node device]
//   [attributes: position] [digest: 32 bytes] [link target: length, bytes]
//
// Attributes and a hard link that is no entry of the list lie outside, as bytes of their own.
#include "partitions/permanent/entry_list.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "partitions/io/result.hpp"
#include "partitions/permanent/packed_number.hpp"
#include "partitions/permanent/paths.hpp"

namespace slotkeeper::permanent {
namespace {

enum Flag : std::uint16_t {
  kTypeMask = 0x7,  // EntryType
  kKindShift = 3,   // ClassKind, 3 bits
  kHasDigest = 0x40,
  kHasAttributes = 0x80,
  kHasTarget = 0x100,
  kHasHardLinkField = 0x200,
  kHardLinkIsText = 0x400,
  kHasDevice = 0x800,
  kHasNodeDevice = 0x1000,
};

constexpr std::uint32_t kNoHardLink = std::numeric_limits<std::uint32_t>::max();
constexpr std::size_t kFlagBytes = 2;
constexpr std::uint64_t kSectorBytes = 512;

void put_text(std::string& out, std::string_view text) {
  put_number(out, text.size());
  out.append(text);
}

/// Small in either direction is short.
void put_signed(std::string& out, std::int64_t value) {
  put_number(out, (static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63));
}

std::int64_t difference_of(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) - static_cast<std::uint64_t>(b));
}
std::int64_t sum_of(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}

void put_time(std::string& out, const io::TimeStamp& time, const io::TimeStamp& before) {
  put_signed(out, difference_of(time.seconds, before.seconds));
  put_signed(out, difference_of(time.nanoseconds, before.nanoseconds));
}

bool has_hard_link_field(const Entry& entry) {
  return !entry.hard_link.empty() || (entry.status.links > 1 && entry.status.type != io::EntryType::directory);
}

void put_status(std::string& out, const io::EntryStatus& status) {
  put_number(out, status.inode);
  put_number(out, status.mode);
  put_number(out, status.owner);
  put_number(out, status.group);
  put_number(out, status.links);
  put_number(out, status.size_bytes);
  // Whole sectors are the rule. A number of bytes that is none is beyond any disk in its highest bit.
  const bool is_whole = status.allocated_bytes % kSectorBytes == 0;
  put_number(out, is_whole ? status.allocated_bytes / kSectorBytes * 2 : status.allocated_bytes * 2 + 1);
  put_time(out, status.modified, {});
  put_time(out, status.changed, status.modified);
  put_time(out, status.accessed, status.modified);
}

}  // namespace

/// Reads a record front to back. Records are only ever written by this file, so nothing is checked.
class EntryList::Reader {
 public:
  explicit Reader(const char* from) : from_(from) {}

  std::uint64_t number() { return take_number(from_); }
  std::int64_t signed_number() {
    const std::uint64_t value = number();
    return static_cast<std::int64_t>((value >> 1) ^ (~(value & 1) + 1));
  }
  std::string_view bytes(std::size_t size) {
    const std::string_view taken(from_, size);
    from_ += size;
    return taken;
  }
  std::string_view text() { return bytes(static_cast<std::size_t>(number())); }
  template <typename Fixed>
  Fixed fixed() {
    Fixed value{};
    std::memcpy(&value, bytes(sizeof value).data(), sizeof value);
    return value;
  }
  io::TimeStamp time(const io::TimeStamp& before) {
    const std::int64_t seconds = sum_of(before.seconds, signed_number());
    return {.seconds = seconds, .nanoseconds = static_cast<std::int32_t>(sum_of(before.nanoseconds, signed_number()))};
  }
  void status(io::EntryStatus& status) {
    status.inode = number();
    status.mode = static_cast<std::uint32_t>(number());
    status.owner = static_cast<std::uint32_t>(number());
    status.group = static_cast<std::uint32_t>(number());
    status.links = number();
    status.size_bytes = number();
    const std::uint64_t allocated = number();
    status.allocated_bytes = allocated % 2 == 0 ? allocated / 2 * kSectorBytes : allocated / 2;
    status.modified = time({});
    status.changed = time(status.modified);
    status.accessed = time(status.modified);
  }

 private:
  const char* from_;
};

EntryList::EntryList(std::initializer_list<Entry> entries) {
  for (const Entry& entry : entries) push_back(entry);
}

EntryList::Position EntryList::store(std::string_view record) {
  std::size_t block = open_block_;
  std::size_t offset = used_bytes_;
  if (used_bytes_ + record.size() > kBlockBytes) {
    // What is larger than a block gets one of its own, and the open one stays open.
    const bool is_large = record.size() > kBlockBytes;
    const std::size_t size = is_large ? record.size() : kBlockBytes;
    block = blocks_.size();
    SK_INVARIANT(block < kNoHardLink >> kBlockBits);
    offset = 0;
    blocks_.push_back(std::make_unique_for_overwrite<char[]>(size));
    block_bytes_ += size;
    if (!is_large) open_block_ = block;
    if (!is_large) used_bytes_ = 0;
  }
  std::ranges::copy(record, blocks_[block].get() + offset);
  if (block == open_block_ && record.size() <= kBlockBytes) used_bytes_ = offset + record.size();
  return static_cast<Position>(block << kBlockBits | offset);
}

const char* EntryList::at(Position position) const {
  return blocks_[position >> kBlockBits].get() + (position & (kBlockBytes - 1));
}

EntryList::Position EntryList::attributes_position(const Entry& entry) {
  std::string out;
  put_number(out, entry.attributes.size());
  for (const io::ExtendedAttribute& attribute : entry.attributes) {
    put_text(out, attribute.name);
    put_text(out, attribute.value);
  }
  if (out != last_attributes_) {
    last_attributes_position_ = store(out);
    last_attributes_ = std::move(out);
  }
  return last_attributes_position_;
}

EntryList::Position EntryList::hard_link_position(const Entry& entry, bool& is_text) {
  is_text = false;
  if (entry.hard_link.empty()) return kNoHardLink;
  if (is_sorted_) {
    if (const auto first = find(entry.hard_link)) return positions_[*first];
  }
  is_text = true;
  std::string out;
  put_text(out, entry.hard_link);
  return store(out);
}

void EntryList::push_back(const Entry& entry) {
  if (!device_) device_ = entry.status.device;
  unsigned int flags = static_cast<unsigned int>(entry.status.type) | static_cast<unsigned int>(entry.kind)
                                                                          << kKindShift;
  if (entry.digest) flags |= kHasDigest;
  if (!entry.attributes.empty()) flags |= kHasAttributes;
  if (!entry.link_target.empty()) flags |= kHasTarget;
  if (entry.status.device != *device_) flags |= kHasDevice;
  if (entry.status.node_device != 0) flags |= kHasNodeDevice;
  std::string out;
  out.reserve(entry.path.size() + entry.link_target.size() + 128);
  out.append(kFlagBytes, '\0');
  if (has_hard_link_field(entry)) {
    bool is_text = false;
    const Position first = hard_link_position(entry, is_text);
    flags |= kHasHardLinkField;
    if (is_text) flags |= kHardLinkIsText;
    out.append(reinterpret_cast<const char*>(&first), sizeof first);
  }
  out[0] = static_cast<char>(flags);
  out[1] = static_cast<char>(flags >> 8);
  put_text(out, entry.path);
  put_number(out, entry.rule);
  put_status(out, entry.status);
  if ((flags & kHasDevice) != 0) put_number(out, entry.status.device);
  if ((flags & kHasNodeDevice) != 0) put_number(out, entry.status.node_device);
  if ((flags & kHasAttributes) != 0) put_number(out, attributes_position(entry));
  if (entry.digest) out.append(io::as_text(entry.digest->bytes));
  if ((flags & kHasTarget) != 0) put_text(out, entry.link_target);
  if (!empty() && !path_before(path(size() - 1), entry.path)) is_sorted_ = false;
  positions_.push_back(store(out));
}

namespace {

unsigned int flags_of(const char* record) {
  return static_cast<unsigned int>(static_cast<unsigned char>(record[0])) |
         static_cast<unsigned int>(static_cast<unsigned char>(record[1])) << 8;
}

ClassKind kind_of(unsigned int flags) { return static_cast<ClassKind>((flags >> kKindShift) & 0x7U); }
io::EntryType type_of(unsigned int flags) { return static_cast<io::EntryType>(flags & kTypeMask); }

}  // namespace

std::string_view EntryList::path_at(Position position) const {
  const char* const record = at(position);
  const bool has_field = (flags_of(record) & kHasHardLinkField) != 0;
  return Reader(record + kFlagBytes + (has_field ? sizeof(Position) : 0)).text();
}

Entry EntryList::operator[](std::size_t index) const {
  const char* const record = at(positions_[index]);
  const unsigned int flags = flags_of(record);
  Reader reader(record + kFlagBytes);
  Entry entry;
  entry.kind = kind_of(flags);
  entry.status.type = type_of(flags);
  if ((flags & kHasHardLinkField) != 0) {
    const auto first = reader.fixed<Position>();
    if ((flags & kHardLinkIsText) != 0) {
      entry.hard_link = Reader(at(first)).text();
    } else if (first != kNoHardLink) {
      entry.hard_link = path_at(first);
    }
  }
  entry.path = reader.text();
  entry.rule = static_cast<std::uint32_t>(reader.number());
  reader.status(entry.status);
  entry.status.device = (flags & kHasDevice) != 0 ? reader.number() : *device_;
  if ((flags & kHasNodeDevice) != 0) entry.status.node_device = reader.number();
  if ((flags & kHasAttributes) != 0) {
    Reader attributes(at(static_cast<Position>(reader.number())));
    entry.attributes.resize(static_cast<std::size_t>(attributes.number()));
    for (io::ExtendedAttribute& attribute : entry.attributes) {
      attribute.name = attributes.text();
      attribute.value = attributes.text();
    }
  }
  if ((flags & kHasDigest) != 0) entry.digest = Sha256{reader.fixed<decltype(Sha256::bytes)>()};
  if ((flags & kHasTarget) != 0) entry.link_target = reader.text();
  return entry;
}

std::string_view EntryList::path(std::size_t index) const { return path_at(positions_[index]); }
ClassKind EntryList::kind(std::size_t index) const { return kind_of(flags_of(at(positions_[index]))); }
io::EntryType EntryList::type(std::size_t index) const { return type_of(flags_of(at(positions_[index]))); }

void EntryList::sort() {
  if (is_sorted_) return;
  std::ranges::sort(positions_, [this](Position a, Position b) { return path_before(path_at(a), path_at(b)); });
  is_sorted_ = true;
}

void EntryList::remove(const std::vector<std::size_t>& indices) {
  auto next = indices.begin();
  std::size_t kept = 0;
  for (std::size_t i = 0; i < positions_.size(); ++i) {
    if (next != indices.end() && *next == i) {
      ++next;
    } else {
      positions_[kept++] = positions_[i];
    }
  }
  positions_.resize(kept);
}

void EntryList::set_hard_link(std::size_t index, std::size_t first) {
  char* const record = blocks_[positions_[index] >> kBlockBits].get() + (positions_[index] & (kBlockBytes - 1));
  SK_INVARIANT((flags_of(record) & kHasHardLinkField) != 0);
  record[1] = static_cast<char>(static_cast<unsigned char>(record[1]) & ~(kHardLinkIsText >> 8));
  std::memcpy(record + kFlagBytes, &positions_[first], sizeof(Position));
}

std::optional<std::size_t> EntryList::find(std::string_view path) const {
  SK_INVARIANT(is_sorted_);
  const auto found =
      std::ranges::lower_bound(positions_, path, path_before, [this](Position position) { return path_at(position); });
  if (found == positions_.end() || path_at(*found) != path) return std::nullopt;
  return static_cast<std::size_t>(found - positions_.begin());
}

std::uint64_t EntryList::memory_bytes() const {
  return block_bytes_ + positions_.capacity() * sizeof(Position) + blocks_.capacity() * sizeof(blocks_[0]);
}

}  // namespace slotkeeper::permanent

#include "partitions/permanent/root_digest.hpp"

namespace slotkeeper::permanent {
namespace {

constexpr std::string_view kConfigHead = "slotkeeper config root 1\n";
constexpr std::string_view kWithStateHead = "slotkeeper config and state root 1\n";

void put_number(std::string& out, std::uint64_t value) {
  for (int shift = 0; shift < 64; shift += 8) out.push_back(static_cast<char>((value >> shift) & 0xff));
}

void put_text(std::string& out, std::string_view text) {
  put_number(out, text.size());
  out.append(text);
}

char type_letter(io::EntryType type) {
  switch (type) {
    case io::EntryType::regular:
      return 'f';
    case io::EntryType::directory:
      return 'd';
    case io::EntryType::symlink:
      return 'l';
    case io::EntryType::block_device:
      return 'b';
    case io::EntryType::character_device:
      return 'c';
    case io::EntryType::fifo:
      return 'p';
    case io::EntryType::socket:
      return 's';
  }
  return '?';
}

}  // namespace

std::string serialise(const Entry& entry) {
  const io::EntryStatus& status = entry.status;
  std::string out(1, type_letter(status.type));
  put_text(out, entry.path);
  put_number(out, status.owner);
  put_number(out, status.group);
  // Linux has no permissions on symbolic links; what a filesystem reports there differs between filesystems.
  put_number(out, status.type == io::EntryType::symlink ? 0 : status.mode);
  put_number(out, entry.attributes.size());
  for (const io::ExtendedAttribute& attribute : entry.attributes) {
    put_text(out, attribute.name);
    put_text(out, attribute.value);
  }
  put_text(out, entry.hard_link);
  if (status.type == io::EntryType::regular) {
    SK_INVARIANT(entry.digest.has_value());
    put_number(out, status.size_bytes);
    out.append(io::as_text(entry.digest->bytes));
  } else if (status.type == io::EntryType::symlink) {
    put_text(out, entry.link_target);
  } else if (status.type == io::EntryType::block_device || status.type == io::EntryType::character_device) {
    put_number(out, status.node_device);
  }
  return out;
}

RootDigest::RootDigest() {
  config_.update(io::as_bytes(kConfigHead));
  with_state_.update(io::as_bytes(kWithStateHead));
}

void RootDigest::add(const Entry& entry) {
  if (!is_protected(entry)) return;
  const std::string record = serialise(entry);
  if (entry.kind == ClassKind::config) config_.update(io::as_bytes(record));
  with_state_.update(io::as_bytes(record));
}

Roots RootDigest::finish() { return {.config = config_.finish(), .with_state = with_state_.finish()}; }

}  // namespace slotkeeper::permanent

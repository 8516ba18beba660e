#include "partitions/permanent/compaction_file.hpp"

#include <algorithm>
#include <cerrno>

#include "partitions/permanent/segment_name.hpp"
#include "partitions/permanent/steady_file.hpp"

namespace slotkeeper::permanent {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{256} * 1024;

}  // namespace

std::string_view text_of(LeftAloneReason reason) {
  switch (reason) {
    case LeftAloneReason::in_use:
      return "in use";
    case LeftAloneReason::not_quiet:
      return "changed a moment ago";
    case LeftAloneReason::several_names:
      return "has several names";
    case LeftAloneReason::cannot_be_changed:
      return "immutable";
    case LeftAloneReason::too_small:
      return "nothing to gain";
    case LeftAloneReason::compressed_already:
      return "compressed already";
    case LeftAloneReason::name_taken:
      return "its compressed name is taken";
    case LeftAloneReason::name_too_long:
      return "its compressed name would be too long";
    case LeftAloneReason::other_class:
      return "its compressed name would belong to another class";
    case LeftAloneReason::changed:
      return "changed meanwhile";
    case LeftAloneReason::no_room:
      return "no room to compress it";
    case LeftAloneReason::being_finished:
      return "opened by somebody while it was compressed; 'slotkeeper recover' finishes it";
  }
  return "";
}

std::string text_of(CompactionAction::Kind kind, std::string_view path) {
  switch (kind) {
    case CompactionAction::Kind::remove_disposable:
      return "remove " + std::string(path);
    case CompactionAction::Kind::drop_expired:
      return "drop expired " + std::string(path);
    case CompactionAction::Kind::compress:
      return "compress " + std::string(path);
  }
  return "";
}

void LeftAloneList::add(std::string path, LeftAloneReason reason) {
  ++count_;
  if (named_.size() < kLeftAloneNamedMax) named_.push_back({.path = std::move(path), .reason = reason});
}

bool is_about_this_file(const Error& error) {
  return is_gone(error) || is_mount(error) || error.os_errno == EAGAIN || error.os_errno == ELOOP ||
         error.os_errno == EINVAL || error.os_errno == EISDIR || error.os_errno == ENOTDIR ||
         error.os_errno == ETXTBSY || error.os_errno == EPERM;
}

bool is_about_room(const Error& error) { return error.os_errno == ENOSPC || error.os_errno == EDQUOT; }

Result<std::unique_ptr<io::File>> take_unused(io::Directory& parent, const std::string& name, io::LeaseKind kind) {
  Result<std::unique_ptr<io::File>> opened = parent.open_file(name, io::OpenMode::read_only());
  if (!opened.has_value()) {
    if (is_about_this_file(opened.assume_error())) return std::unique_ptr<io::File>();
    return std::move(opened).assume_error();
  }
  SK_TRY_ASSIGN(const bool unused, opened.assume_value()->try_lease(kind));
  if (!unused) return std::unique_ptr<io::File>();
  return std::move(opened).assume_value();
}

bool is_as_planned(const Entry& planned, const io::EntryStatus& now, bool and_inode) {
  const io::EntryStatus& then = planned.status;
  return now.type == io::EntryType::regular && now.device == then.device && now.inode == then.inode &&
         now.size_bytes == then.size_bytes && now.modified == then.modified && now.links == 1 &&
         (!and_inode || now.changed == then.changed);
}

Result<std::optional<io::EntryStatus>> find_entry(io::Directory& directory, const std::string& name) {
  Result<io::EntryStatus> status = directory.status_of(name);
  if (status.has_value()) return std::optional(status.assume_value());
  if (is_gone(status.assume_error())) return std::optional<io::EntryStatus>();
  return std::move(status).assume_error();
}

Result<void> remove_if_there(io::Directory& directory, const std::string& name) {
  Result<void> removed = directory.remove_file(name);
  if (!removed.has_value() && is_gone(removed.assume_error())) return success();
  return removed;
}

std::string compressed_name(const std::string& name) { return name + std::string(kCompressedSuffix); }
std::string replacement_name(std::uint64_t inode) { return "compaction-" + std::to_string(inode) + ".zst"; }
std::string retired_name(std::uint64_t inode) { return "compaction-" + std::to_string(inode) + ".old"; }

std::string kibibytes(std::uint64_t bytes) {
  return std::to_string(bytes / 1024 + (bytes % 1024 != 0 ? 1 : 0)) + " KiB";
}

Result<void> read_through(io::File& file, const std::function<Result<void>(io::ConstBytes)>& visit) {
  std::vector<std::byte> buffer(kBufferBytes);
  for (std::uint64_t offset = 0;;) {
    SK_TRY_ASSIGN(const std::size_t count, file.read_at(offset, buffer));
    if (count != 0) SK_TRY(visit(io::ConstBytes(buffer.data(), count)));
    offset += count;
    if (count < buffer.size()) return success();
  }
}

}  // namespace slotkeeper::permanent

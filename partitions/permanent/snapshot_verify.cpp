// Reading a snapshot back: what is in it, and whether it is what was taken.
#include <algorithm>

#include "partitions/permanent/paths.hpp"
#include "partitions/permanent/root_digest.hpp"
#include "partitions/permanent/snapshot.hpp"

namespace slotkeeper::permanent {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{256} * 1024;

Error damaged(const std::string& what) {
  return make_error(Errc::state_store, "the snapshot's archive is inconsistent: " + what);
}

Result<Sha256> digest_of_contents(SnapshotReader& reader, const Entry& entry, io::Bytes buffer) {
  Sha256Stream digest;
  std::uint64_t bytes = 0;
  for (;;) {
    SK_TRY_ASSIGN(const std::size_t count, reader.read(buffer));
    digest.update(buffer.first(count));
    bytes += count;
    if (count < buffer.size()) break;
  }
  if (bytes != entry.status.size_bytes) return damaged(entry.path + " is shorter than its header says");
  return digest.finish();
}

/// A further name of a file is the file: everything but its path and class comes from the first name.
Result<void> complete_link(Entry& entry, const EntryList& first_names) {
  const std::optional<std::size_t> found = first_names.find(entry.hard_link);
  if (!found) return damaged(entry.path + " is linked to " + entry.hard_link + ", which is not there");
  Entry first = first_names[*found];
  entry.status = first.status;
  entry.attributes = std::move(first.attributes);
  entry.link_target = std::move(first.link_target);
  entry.digest = first.digest;
  return success();
}

}  // namespace

Result<SnapshotContents> read_snapshot(StoreArea& area,
                                       const std::function<Result<void>(SnapshotReader::Item&&)>& visit) {
  SK_TRY_ASSIGN(const auto reader, SnapshotReader::open(area));
  std::vector<std::byte> buffer(kBufferBytes);
  EntryList first_names;
  std::string last_path;
  RootDigest roots;
  SnapshotContents contents;
  for (;;) {
    SK_TRY_ASSIGN(std::optional<SnapshotReader::Item> item, reader->next());
    if (!item) break;
    Entry& entry = item->entry;
    if (!item->is_mount) {
      if (contents.entries != 0 && !path_before(last_path, entry.path)) return damaged(entry.path + " is out of order");
      last_path = entry.path;
    } else if (contents.entries != 0) {
      return damaged(entry.path + " is out of order");
    }
    if (!entry.hard_link.empty()) {
      SK_TRY(complete_link(entry, first_names));
    } else if (entry.status.type == io::EntryType::regular) {
      SK_TRY_ASSIGN(entry.digest, digest_of_contents(*reader, entry, buffer));
      contents.plain_bytes += entry.status.size_bytes;
    }
    if (entry.status.links > 1 && entry.hard_link.empty() && entry.status.type != io::EntryType::directory) {
      first_names.push_back(entry);
    }
    if (!item->is_mount) {
      roots.add(entry);
      ++contents.entries;
    }
    if (visit) SK_TRY(visit(std::move(*item)));
  }
  const Roots finished = roots.finish();
  contents.config_root = finished.config;
  contents.protected_root = finished.with_state;
  return contents;
}

Result<SnapshotContents> read_recorded_snapshot(StoreArea& area, const SnapshotFacts& facts,
                                                const std::function<Result<void>(SnapshotReader::Item&&)>& visit) {
  SK_TRY_ASSIGN(const SnapshotContents contents, read_snapshot(area, visit));
  if (contents.config_root != facts.config_root || contents.protected_root != facts.protected_root) {
    return make_error(Errc::readback_mismatch, "the snapshot in the state store is not the one that was recorded");
  }
  return contents;
}

Result<void> verify_snapshot(StoreArea& area, const SnapshotFacts& facts, ProgressSink& progress) {
  SK_TRY_ASSIGN(const std::optional<AreaSeal> seal, area.read_seal());
  if (!seal) return make_error(Errc::state_store, "the state store holds no complete snapshot there");
  if (seal->length_bytes > area.capacity_bytes()) {
    return make_error(Errc::state_store, "the snapshot's seal names more bytes than its area has");
  }
  std::vector<std::byte> buffer(kBufferBytes);
  Sha256Stream digest;
  for (std::uint64_t offset = 0; offset < seal->length_bytes;) {
    SK_TRY(progress.check_cancelled());
    const std::uint64_t left = seal->length_bytes - offset;
    const io::Bytes piece(buffer.data(), static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), left)));
    SK_TRY_ASSIGN(const std::size_t count, area.read_at(offset, piece));
    if (count != piece.size()) return make_error(Errc::state_store, "the snapshot's area ends early");
    digest.update(piece);
    offset += count;
  }
  if (digest.finish() != seal->digest) {
    return make_error(Errc::readback_mismatch, "the snapshot in the state store is not what was written there");
  }
  SK_TRY(read_recorded_snapshot(area, facts, {}));
  return success();
}

}  // namespace slotkeeper::permanent

#include "engine/bundle/container.hpp"

#include <algorithm>
#include <archive.h>
#include <archive_entry.h>
#include <array>
#include <cerrno>
#include <optional>
#include <vector>

namespace slotkeeper::bundle {
namespace {

struct WriteArchive {
  void operator()(archive* a) const { archive_write_free(a); }
};
struct ReadArchive {
  void operator()(archive* a) const { archive_read_free(a); }
};
struct FreeEntry {
  void operator()(archive_entry* e) const { archive_entry_free(e); }
};

std::string text_of(archive* a) {
  const char* text = archive_error_string(a);
  return text == nullptr ? "unknown" : text;
}

/// What libarchive's write callback hands its bytes to; an error is kept until libarchive has returned.
struct WriteTarget {
  ContainerWriter::Sink sink;
  std::optional<Error> failed;
  bool abandoned = false;
};

la_ssize_t write_bytes(archive*, void* context, const void* data, std::size_t length) {
  auto* target = static_cast<WriteTarget*>(context);
  if (target->abandoned) return -1;  // ends libarchive's attempt to complete what nobody wants any more
  // After an error of the sink libarchive goes on writing nowhere: one that it knew of would make it leak.
  if (!target->failed) {
    auto written = target->sink({static_cast<const std::byte*>(data), length});
    if (!written.has_value()) target->failed = std::move(written).assume_error();
  }
  return static_cast<la_ssize_t>(length);
}

Error archive_failure(archive* a, WriteTarget& target) {
  if (target.failed) return *target.failed;
  return make_error(Errc::internal, "the container could not be written: " + text_of(a));
}

using EntryPointer = std::unique_ptr<archive_entry, FreeEntry>;

EntryPointer make_entry(const std::string& name, std::uint64_t size_bytes) {
  EntryPointer entry(archive_entry_new());
  archive_entry_copy_pathname(entry.get(), name.c_str());
  archive_entry_set_size(entry.get(), static_cast<la_int64_t>(size_bytes));
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  archive_entry_set_perm(entry.get(), 0444);
  archive_entry_set_mtime(entry.get(), 0, 0);
  archive_entry_set_uid(entry.get(), 0);
  archive_entry_set_gid(entry.get(), 0);
  return entry;
}

/// What libarchive's read callbacks read from.
struct ReadOrigin {
  Source& source;
  std::uint64_t position;
  std::array<std::byte, 4096> buffer{};
  std::optional<Error> failed;
  bool has_ended = false;
};

la_ssize_t read_bytes(archive* a, void* context, const void** data) {
  auto* origin = static_cast<ReadOrigin*>(context);
  auto got = origin->source.read_at(origin->position, origin->buffer);
  if (!got.has_value()) {
    origin->failed = std::move(got).assume_error();
    archive_set_error(a, EIO, "the source failed");
    return -1;
  }
  origin->position += got.assume_value();
  origin->has_ended = got.assume_value() == 0;
  *data = origin->buffer.data();
  return static_cast<la_ssize_t>(got.assume_value());
}

/// Size of the regular file of this name whose header begins at `position`, as libarchive understands it.
Result<std::uint64_t> parse_header(Source& source, std::uint64_t position, const std::string& name) {
  std::unique_ptr<archive, ReadArchive> reader(archive_read_new());
  ReadOrigin origin{.source = source, .position = position, .buffer = {}, .failed = std::nullopt};
  archive_entry* entry = nullptr;
  if (archive_read_support_format_tar(reader.get()) != ARCHIVE_OK ||
      archive_read_open(reader.get(), &origin, nullptr, read_bytes, nullptr) != ARCHIVE_OK ||
      archive_read_next_header(reader.get(), &entry) != ARCHIVE_OK) {
    if (origin.failed) return std::move(*origin.failed);
    return make_error(origin.has_ended ? source.ends_early() : Errc::corrupt,
                      "the bundle is not a whole pax archive at offset " + std::to_string(position) + ", where '" +
                          name + "' should begin: " + text_of(reader.get()));
  }
  const char* found = archive_entry_pathname(entry);
  if (found == nullptr || name != found || archive_entry_filetype(entry) != AE_IFREG ||
      archive_entry_hardlink(entry) != nullptr || archive_entry_size_is_set(entry) == 0 ||
      archive_entry_size(entry) < 0) {
    return make_error(Errc::corrupt, "the bundle has another member where '" + name + "' should be (offset " +
                                         std::to_string(position) + ")");
  }
  return static_cast<std::uint64_t>(archive_entry_size(entry));
}

bool all_zero(io::ConstBytes bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

struct ContainerWriter::State {
  WriteTarget target;
  std::unique_ptr<archive, WriteArchive> writer;
  bool opened = false;
};

ContainerWriter::ContainerWriter(Sink sink)
    : state_(new State{.target = {.sink = std::move(sink), .failed = std::nullopt},
                       .writer = std::unique_ptr<archive, WriteArchive>(archive_write_new())}) {}

ContainerWriter::~ContainerWriter() {
  // What was not finished must not be completed behind our back. (archive_write_fail would leak, as of 3.6.)
  state_->target.abandoned = true;
}

Result<void> ContainerWriter::begin_member(const std::string& name, std::uint64_t size_bytes) {
  archive* a = state_->writer.get();
  if (!state_->opened) {
    // No "hdrcharset=BINARY" here or when reading: it would put a pax header before every member, and the reader takes
    // it for a character set that iconv must know. Names are ASCII, so no conversion touches them.
    if (archive_write_set_format_pax_restricted(a) != ARCHIVE_OK ||
        archive_write_set_bytes_per_block(a, 0) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(a, 1) != ARCHIVE_OK ||
        archive_write_open(a, &state_->target, nullptr, write_bytes, nullptr) != ARCHIVE_OK) {
      return archive_failure(a, state_->target);
    }
    state_->opened = true;
  }
  const auto entry = make_entry(name, size_bytes);
  const bool written = archive_write_header(a, entry.get()) == ARCHIVE_OK;
  if (!written || state_->target.failed) return archive_failure(a, state_->target);
  return success();
}

Result<void> ContainerWriter::write(io::ConstBytes data) {
  archive* a = state_->writer.get();
  while (!data.empty()) {
    const la_ssize_t written = archive_write_data(a, data.data(), data.size());
    if (written <= 0 || state_->target.failed) return archive_failure(a, state_->target);
    data = data.subspan(static_cast<std::size_t>(written));
  }
  return success();
}

Result<void> ContainerWriter::finish() {
  archive* a = state_->writer.get();
  const bool closed = archive_write_close(a) == ARCHIVE_OK;
  if (!closed || state_->target.failed) return archive_failure(a, state_->target);
  return success();
}

Result<void> read_exactly(Source& source, std::uint64_t offset, io::Bytes into) {
  SK_TRY_ASSIGN(const auto got, source.read_at(offset, into));
  if (got == into.size()) return success();
  return make_error(source.ends_early(),
                    "the bundle ends at " + std::to_string(offset + got) + " bytes, in the middle of its contents");
}

Member member_at(std::uint64_t position, const std::string& name, std::uint64_t size_bytes) {
  return {.name = name, .offset = position + member_header(name, size_bytes).size(), .size_bytes = size_bytes};
}

Result<Member> expect_member(Source& source, std::uint64_t position, const std::string& name,
                             std::uint64_t size_bytes) {
  const std::string expected = member_header(name, size_bytes);
  std::string found(expected.size(), '\0');
  SK_TRY(read_exactly(source, position, std::as_writable_bytes(std::span(found))));
  if (found != expected) {
    return make_error(Errc::corrupt, "the header of '" + name + "' at offset " + std::to_string(position) +
                                         " is not what the manifest says");
  }
  Member member = member_at(position, name, size_bytes);
  const auto total = source.size_bytes();
  if (total && (*total < member.offset || *total - member.offset < size_bytes)) {
    return make_error(source.ends_early(), "the bundle has only " + std::to_string(*total) + " bytes; '" + name +
                                               "' does not fit into it: the file is truncated");
  }
  return member;
}

Result<Member> read_member(Source& source, std::uint64_t position, const std::string& name,
                           std::uint64_t size_max_bytes) {
  SK_TRY_ASSIGN(const auto size, parse_header(source, position, name));
  if (size == 0 || size > size_max_bytes) {
    return make_error(Errc::corrupt, "'" + name + "' has the impossible size of " + std::to_string(size) + " bytes");
  }
  return expect_member(source, position, name, size);
}

Result<void> check_padding(Source& source, const Member& member) {
  const std::uint64_t begin = member.offset + member.size_bytes;
  std::vector<std::byte> padding(member.padded_end() - begin);
  if (padding.empty()) return success();
  SK_TRY(read_exactly(source, begin, padding));
  if (all_zero(padding)) return success();
  return make_error(Errc::corrupt, "the padding behind '" + member.name + "' is not empty");
}

Result<void> check_end(Source& source, std::uint64_t position) {
  std::array<std::byte, kContainerEndBytes> end{};
  SK_TRY(read_exactly(source, position, end));
  if (!all_zero(end)) return make_error(Errc::corrupt, "the bundle goes on where its end should be");
  const auto total = source.size_bytes();
  if (total && *total != position + kContainerEndBytes) {
    return make_error(Errc::corrupt, "the bundle has " + std::to_string(*total - position - kContainerEndBytes) +
                                         " bytes behind its end");
  }
  return success();
}

}  // namespace slotkeeper::bundle

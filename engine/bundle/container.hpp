// The bundle's container: an uncompressed POSIX pax archive, written and read through libarchive. The one door to
// libarchive for this purpose.
//
// A member's header is determined by its name and size (container_header.cpp). The reader makes use of that: it builds
// the header that must be there and compares the bytes, so nothing can hide in a header.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engine/source/source.hpp"
#include "partitions/io/result.hpp"
#include "partitions/io/types.hpp"

namespace slotkeeper::bundle {

inline constexpr std::uint64_t kContainerBlockBytes = 512;
inline constexpr std::uint64_t kContainerEndBytes = 1024;  ///< two zero blocks

/// A member of the container.
struct Member {
  std::string name;
  std::uint64_t offset = 0;  ///< of its data in the bundle
  std::uint64_t size_bytes = 0;

  [[nodiscard]] std::uint64_t padded_end() const {
    return (offset + size_bytes + kContainerBlockBytes - 1) / kContainerBlockBytes * kContainerBlockBytes;
  }
};

/// The bytes in front of a member's data: one ustar header; from 8 GiB on a pax header with the size before it. They
/// are part of the bundle's format and do not depend on the version of libarchive.
[[nodiscard]] std::string member_header(std::string_view name, std::uint64_t size_bytes);

/// The member of this name and size whose header begins at `position`, without a look at it.
[[nodiscard]] Member member_at(std::uint64_t position, const std::string& name, std::uint64_t size_bytes);

/// Reads the member whose header begins at `position`: a regular file of this name, at most `size_max_bytes` long.
/// Errors: corrupt (another member, a damaged header), source_unreachable.
[[nodiscard]] Result<Member> read_member(Source& source, std::uint64_t position, const std::string& name,
                                         std::uint64_t size_max_bytes);

/// Like read_member for a member whose size is known beforehand.
[[nodiscard]] Result<Member> expect_member(Source& source, std::uint64_t position, const std::string& name,
                                           std::uint64_t size_bytes);

/// The padding behind a member is zero. Errors: corrupt.
[[nodiscard]] Result<void> check_padding(Source& source, const Member& member);

/// The container ends at `position` with two zero blocks, and the source with it. Errors: corrupt.
[[nodiscard]] Result<void> check_end(Source& source, std::uint64_t position);

/// Fills `into` or fails with the source's `ends_early`: corrupt for a local file, source_truncated for a line.
[[nodiscard]] Result<void> read_exactly(Source& source, std::uint64_t offset, io::Bytes into);

/// Writes a container front to back.
class ContainerWriter {
 public:
  using Sink = std::function<Result<void>(io::ConstBytes)>;
  explicit ContainerWriter(Sink sink);
  ContainerWriter(const ContainerWriter&) = delete;
  ContainerWriter& operator=(const ContainerWriter&) = delete;
  ~ContainerWriter();

  [[nodiscard]] Result<void> begin_member(const std::string& name, std::uint64_t size_bytes);
  [[nodiscard]] Result<void> write(io::ConstBytes data);
  /// Ends the last member and the container.
  [[nodiscard]] Result<void> finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace slotkeeper::bundle

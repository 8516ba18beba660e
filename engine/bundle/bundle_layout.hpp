// Part of opening a bundle: every member behind the signature, each where the manifest says it has to be.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/bundle/chunk_index.hpp"
#include "engine/bundle/container.hpp"
#include "engine/bundle/frame_cipher.hpp"
#include "engine/bundle/manifest.hpp"
#include "engine/source/source.hpp"

namespace slotkeeper::bundle {

struct Layout {
  std::vector<Member> members;  ///< in their order
  std::string wrapped_key;      ///< where something is encrypted
  ContentKeyPointer content_key;
  std::vector<ChunkIndex> indexes;  ///< that of an encrypted image without rows where there is no content key
  std::vector<Member> frames;
  std::uint64_t end = 0;
};

/// From the wrapped content key, whose hash matched, to the key; nothing where what is encrypted may stay so.
using Unwrap = std::function<Result<ContentKeyPointer>(std::string_view wrapped)>;

/// Reads front to back and nothing twice: a source may be a stream. `position` is behind the signature. Of a source of
/// unknown size the frames' headers and what follows them are left to the reader of the frames.
/// Errors: corrupt, unsupported, source_unreachable, source_truncated; those of `unwrap`.
[[nodiscard]] Result<Layout> read_layout(Source& source, const Manifest& manifest, std::uint64_t position,
                                         const Unwrap& unwrap);

/// The data of a member whose size has been bounded. Errors: corrupt, source_unreachable, source_truncated.
[[nodiscard]] Result<std::string> read_contents(Source& source, const Member& member);

/// What an image is encrypted with; without a key where it is not.
[[nodiscard]] ImageKey key_for(const Manifest& manifest, std::size_t image, const ContentKeyPointer& content_key);

}  // namespace slotkeeper::bundle

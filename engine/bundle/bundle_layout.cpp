#include "engine/bundle/bundle_layout.hpp"

namespace slotkeeper::bundle {
namespace {

Result<std::vector<std::byte>> read_index_bytes(Source& source, const Image& image, const Member& member) {
  std::vector<std::byte> bytes(member.size_bytes);
  SK_TRY(read_exactly(source, member.offset, bytes));
  if (sha256(bytes) != image.index_digest) {
    return make_error(Errc::corrupt, "the chunk index of volume '" + image.volume + "' does not match the manifest");
  }
  return bytes;
}

Result<ChunkIndex> parse_index(io::ConstBytes bytes, const Image& image) {
  SK_TRY_ASSIGN(auto index, parse_chunk_index(bytes, image.plain_bytes, image.stored_bytes));
  if (index.needs_old_image() && !image.old_image) {
    return make_error(Errc::corrupt, "the chunk index needs an old image that the manifest does not name");
  }
  if (!index.frames_are(image.encrypted)) {
    return make_error(Errc::corrupt, "the chunk index and the manifest differ in whether the image is encrypted");
  }
  return index;
}

/// `key`: without one for an image that is encrypted, its index stays closed.
Result<ChunkIndex> read_index(Source& source, const Image& image, const Member& member, const ImageKey& key) {
  SK_TRY_ASSIGN(auto bytes, read_index_bytes(source, image, member));
  if (!image.encrypted) return parse_index(bytes, image);
  if (!key.content_key) return ChunkIndex{};
  SK_TRY_ASSIGN(const io::ConstBytes plain, FrameCipher(key).open(kIndexPosition, bytes));
  return parse_index(plain, image);
}

/// Nothing of it is parsed before its hash matched the manifest.
Result<std::string> read_wrapped_key(Source& source, const WrappedKey& wanted, const Member& member) {
  SK_TRY_ASSIGN(auto wrapped, read_contents(source, member));
  if (sha256(io::as_bytes(wrapped)) == wanted.digest) return wrapped;
  return make_error(Errc::corrupt, "the wrapped content key does not match the manifest");
}

}  // namespace

ImageKey key_for(const Manifest& manifest, std::size_t image, const ContentKeyPointer& content_key) {
  const Image& wanted = manifest.images[image];
  return {.content_key = wanted.encrypted ? content_key : nullptr,
          .image = static_cast<std::uint32_t>(image),
          .volume = wanted.volume};
}

Result<std::string> read_contents(Source& source, const Member& member) {
  std::string text(member.size_bytes, '\0');
  SK_TRY(read_exactly(source, member.offset, std::as_writable_bytes(std::span(text))));
  SK_TRY(check_padding(source, member));
  return text;
}

Result<Layout> read_layout(Source& source, const Manifest& manifest, std::uint64_t position, const Unwrap& unwrap) {
  Layout layout;
  if (manifest.content_key) {
    SK_TRY_ASSIGN(auto member, expect_member(source, position, kContentKeyName, manifest.content_key->bytes));
    SK_TRY_ASSIGN(layout.wrapped_key, read_wrapped_key(source, *manifest.content_key, member));
    if (unwrap) {
      SK_TRY_ASSIGN(layout.content_key, unwrap(layout.wrapped_key));
    }
    position = member.padded_end();
    layout.members.push_back(std::move(member));
  }
  for (std::size_t i = 0; i < manifest.images.size(); ++i) {
    const Image& image = manifest.images[i];
    SK_TRY_ASSIGN(auto member, expect_member(source, position, index_member_name(image), image.index_bytes));
    SK_TRY_ASSIGN(auto index, with_context(read_index(source, image, member, key_for(manifest, i, layout.content_key)),
                                           "volume " + image.volume));
    SK_TRY(check_padding(source, member));
    position = member.padded_end();
    layout.members.push_back(std::move(member));
    layout.indexes.push_back(std::move(index));
  }
  for (const auto& image : manifest.images) {
    // Of a source of unknown size these bytes come later; the reader of the frames gets to them.
    const std::string name = frames_member_name(image);
    Member member = member_at(position, name, image.stored_bytes);
    if (source.size_bytes()) {
      SK_TRY(expect_member(source, position, name, image.stored_bytes));
      SK_TRY(check_padding(source, member));
    }
    position = member.padded_end();
    layout.members.push_back(member);
    layout.frames.push_back(std::move(member));
  }
  layout.end = position;
  if (source.size_bytes()) {
    SK_TRY(check_end(source, position));
  }
  return layout;
}

}  // namespace slotkeeper::bundle

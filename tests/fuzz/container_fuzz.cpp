// Whole bundles from bytes: opened, looked through without trust, and every frame unpacked into the room of its row.
// The seed is a bundle of two small images; what lies behind the signature is reached without one, by inspection.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "engine/bundle/bundle.hpp"
#include "engine/bundle/frame_codec.hpp"

namespace {

using namespace slotkeeper;
using namespace slotkeeper::bundle;

constexpr std::uint64_t kRoomBytes = 64 * 1024;

void require(bool condition) {
  if (!condition) std::abort();
}

class InputSource final : public Source {
 public:
  InputSource(io::ConstBytes bytes, bool size_is_known) : bytes_(bytes), size_is_known_(size_is_known) {}
  [[nodiscard]] const std::string& name() const override { return name_; }
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override {
    return size_is_known_ ? std::optional<std::uint64_t>(bytes_.size()) : std::nullopt;
  }
  [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, io::Bytes into) override {
    if (offset >= bytes_.size()) return std::size_t{0};
    const auto part = bytes_.subspan(offset, std::min<std::size_t>(into.size(), bytes_.size() - offset));
    std::copy(part.begin(), part.end(), into.begin());
    return part.size();
  }

 private:
  std::string name_ = "input";
  io::ConstBytes bytes_;
  bool size_is_known_;
};

void unpack_frames(Source& source, const Member& index_member, const Member& frames, const Image& image) {
  std::vector<std::byte> bytes(index_member.size_bytes);
  require(read_exactly(source, index_member.offset, bytes).has_value());
  const auto index = parse_chunk_index(bytes, image.plain_bytes, image.stored_bytes);
  require(index.has_value());  // the inspection has parsed it
  FrameDecoder decoder;
  std::uint64_t offset = frames.offset;
  for (const auto& row : index.assume_value().rows) {
    std::vector<std::byte> frame(row.stored_bytes);
    require(read_exactly(source, offset, frame).has_value());  // the container was whole
    std::vector<std::byte> plain(std::min(row.plain_bytes, kRoomBytes));
    static_cast<void>(decoder.decode(frame, plain).has_value());
    offset += row.stored_bytes;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  for (const bool size_is_known : {true, false}) {
    auto opened = open_bundle(std::make_unique<InputSource>(bytes, size_is_known));
    if (!opened.has_value()) {
      const Errc code = opened.assume_error().code;
      require(code == Errc::corrupt || (!size_is_known && code == Errc::source_truncated));
      continue;
    }
    require(opened.assume_value().manifest_text().size() <= kManifestMaxBytes);
    require(opened.assume_value().signature().size() <= kSignatureMaxBytes);
    const auto inspected = inspect_bundle_contents(opened.assume_value());
    if (!inspected.has_value() || !size_is_known) continue;
    const Inspection& found = inspected.assume_value();
    require(found.size_bytes == size);
    const std::size_t images = found.manifest.images.size();
    require(found.members.size() == 2 + 2 * images + (found.manifest.is_encrypted() ? 1 : 0));
    // The wrapped key of an encrypted bundle is CMS for a parser that sees nothing unsigned; without it all is closed.
    if (found.manifest.is_encrypted()) continue;
    for (std::size_t i = 0; i < images; ++i) {
      unpack_frames(opened.assume_value().source(), found.members[2 + i], found.members[2 + images + i],
                    found.manifest.images[i]);
    }
  }
  return 0;
}

#include "engine/bundle/bundle.hpp"

namespace slotkeeper::bundle {
namespace {

constexpr const char* kManifestName = "manifest.json";
constexpr const char* kSignatureName = "manifest.cms";

std::string index_name(const Image& image) { return "index/" + image.volume; }
std::string frames_name(const Image& image) { return "image/" + image.volume + ".zst"; }

Result<std::string> read_contents(Source& source, const Member& member) {
  std::string text(member.size_bytes, '\0');
  SK_TRY(read_exactly(source, member.offset, std::as_writable_bytes(std::span(text))));
  SK_TRY(check_padding(source, member));
  return text;
}

Result<ChunkIndex> read_index(Source& source, const Image& image, const Member& member) {
  if (image.encrypted) {
    return make_error(Errc::unsupported, "the image for volume '" + image.volume + "' is encrypted");
  }
  std::vector<std::byte> bytes(member.size_bytes);
  SK_TRY(read_exactly(source, member.offset, bytes));
  if (sha256(bytes) != image.index_digest) {
    return make_error(Errc::corrupt, "the chunk index of volume '" + image.volume + "' does not match the manifest");
  }
  SK_TRY_ASSIGN(auto index, with_context(parse_chunk_index(bytes, image.plain_bytes, image.stored_bytes),
                                         "volume " + image.volume));
  if (index.needs_old_image() && !image.old_image) {
    return make_error(Errc::corrupt, "the chunk index of volume '" + image.volume +
                                         "' needs an old image that the manifest does not name");
  }
  return index;
}

/// Every member that follows from the manifest, each where it has to be, and the indexes in it.
struct Layout {
  std::vector<Member> index_members;
  std::vector<ChunkIndex> indexes;
  std::vector<Member> frames;
  std::uint64_t end = 0;
};

/// Reads front to back and nothing twice: a source may be a stream.
Result<Layout> read_layout(Source& source, const Manifest& manifest, std::uint64_t position) {
  Layout layout;
  for (const auto& image : manifest.images) {
    SK_TRY_ASSIGN(auto member, expect_member(source, position, index_name(image), image.index_bytes));
    SK_TRY_ASSIGN(auto index, read_index(source, image, member));
    SK_TRY(check_padding(source, member));
    position = member.padded_end();
    layout.index_members.push_back(std::move(member));
    layout.indexes.push_back(std::move(index));
  }
  for (const auto& image : manifest.images) {
    // Of a source of unknown size these bytes come later; the reader of the frames gets to them.
    Member member = member_at(position, frames_name(image), image.stored_bytes);
    if (source.size_bytes()) {
      SK_TRY(expect_member(source, position, frames_name(image), image.stored_bytes));
      SK_TRY(check_padding(source, member));
    }
    position = member.padded_end();
    layout.frames.push_back(std::move(member));
  }
  layout.end = position;
  if (source.size_bytes()) {
    SK_TRY(check_end(source, position));
  }
  return layout;
}

}  // namespace

struct Bundle::State {
  std::unique_ptr<Source> source;
  std::string manifest;
  std::string signature;
  Member manifest_member;
  Member signature_member;
};

Bundle::Bundle(std::unique_ptr<State> state) : state_(std::move(state)) {}
Bundle::Bundle(Bundle&&) noexcept = default;
Bundle& Bundle::operator=(Bundle&&) noexcept = default;
Bundle::~Bundle() = default;
const std::string& Bundle::manifest_text() const { return state_->manifest; }
const std::string& Bundle::signature() const { return state_->signature; }
Source& Bundle::source() const { return *state_->source; }

Result<Bundle> open_bundle(std::unique_ptr<Source> source) {
  auto state = std::make_unique<Bundle::State>();
  const auto read = [&]() -> Result<void> {
    SK_TRY_ASSIGN(state->manifest_member, read_member(*source, 0, kManifestName, kManifestMaxBytes));
    SK_TRY_ASSIGN(state->manifest, read_contents(*source, state->manifest_member));
    SK_TRY_ASSIGN(state->signature_member,
                  read_member(*source, state->manifest_member.padded_end(), kSignatureName, kSignatureMaxBytes));
    SK_TRY_ASSIGN(state->signature, read_contents(*source, state->signature_member));
    return success();
  };
  SK_TRY(with_context(read(), source->name()));
  state->source = std::move(source);
  return Bundle(std::move(state));
}

struct VerifiedManifest::State {
  std::unique_ptr<Source> source;
  std::string text;
  std::string signature;
  Manifest manifest;
  Sha256 digest;
  std::vector<Signer> signers;
  Layout layout;
};

VerifiedManifest::VerifiedManifest(std::unique_ptr<State> state) : state_(std::move(state)) {}
VerifiedManifest::VerifiedManifest(VerifiedManifest&&) noexcept = default;
VerifiedManifest& VerifiedManifest::operator=(VerifiedManifest&&) noexcept = default;
VerifiedManifest::~VerifiedManifest() = default;
const Manifest& VerifiedManifest::manifest() const { return state_->manifest; }
const Sha256& VerifiedManifest::digest() const { return state_->digest; }
const std::string& VerifiedManifest::text() const { return state_->text; }
const std::string& VerifiedManifest::signature() const { return state_->signature; }
const std::vector<Signer>& VerifiedManifest::signers() const { return state_->signers; }
const ChunkIndex& VerifiedManifest::index(std::size_t image) const { return state_->layout.indexes[image]; }
std::uint64_t VerifiedManifest::frames_offset(std::size_t image) const { return frames(image).offset; }
const Member& VerifiedManifest::frames(std::size_t image) const { return state_->layout.frames[image]; }
Source& VerifiedManifest::source() const { return *state_->source; }

Result<VerifiedManifest> verify_bundle(Bundle bundle, const TrustPolicy& policy) {
  auto state = std::make_unique<VerifiedManifest::State>();
  state->text = std::move(bundle.state_->manifest);
  state->signature = std::move(bundle.state_->signature);
  state->source = std::move(bundle.state_->source);
  const auto verify = [&]() -> Result<void> {
    // The signature comes first: nothing of the manifest is parsed before it is known who wrote it.
    SK_TRY_ASSIGN(state->signers, verify_manifest_signature(state->text, state->signature, policy));
    SK_TRY_ASSIGN(state->manifest, parse_manifest(state->text));
    const std::uint64_t position = bundle.state_->signature_member.padded_end();
    SK_TRY_ASSIGN(state->layout, read_layout(*state->source, state->manifest, position));
    return success();
  };
  SK_TRY(with_context(verify(), state->source->name()));
  state->digest = sha256(io::as_bytes(state->text));
  return VerifiedManifest(std::move(state));
}

Result<Inspection> inspect_bundle_contents(Bundle& bundle) {
  const Bundle::State& state = *bundle.state_;
  Inspection inspection;
  const auto inspect = [&]() -> Result<void> {
    SK_TRY_ASSIGN(inspection.manifest, parse_manifest(state.manifest));
    SK_TRY_ASSIGN(const auto layout,
                  read_layout(*state.source, inspection.manifest, state.signature_member.padded_end()));
    inspection.members = {state.manifest_member, state.signature_member};
    inspection.members.insert(inspection.members.end(), layout.index_members.begin(), layout.index_members.end());
    inspection.members.insert(inspection.members.end(), layout.frames.begin(), layout.frames.end());
    inspection.size_bytes = layout.end + kContainerEndBytes;
    return success();
  };
  SK_TRY(with_context(inspect(), state.source->name()));
  inspection.text = state.manifest;
  inspection.digest = sha256(io::as_bytes(state.manifest));
  return inspection;
}

}  // namespace slotkeeper::bundle

#include "engine/bundle/bundle.hpp"

#include "engine/bundle/bundle_layout.hpp"

namespace slotkeeper::bundle {
namespace {

constexpr const char* kManifestName = "manifest.json";
constexpr const char* kSignatureName = "manifest.cms";

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
ImageKey VerifiedManifest::key_of(std::size_t image) const {
  return key_for(state_->manifest, image, state_->layout.content_key);
}
Source& VerifiedManifest::source() const { return *state_->source; }

Result<VerifiedManifest> verify_bundle(Bundle bundle, const TrustPolicy& policy, const FindRecipient& find_recipient) {
  auto state = std::make_unique<VerifiedManifest::State>();
  state->text = std::move(bundle.state_->manifest);
  state->signature = std::move(bundle.state_->signature);
  state->source = std::move(bundle.state_->source);
  const auto verify = [&]() -> Result<void> {
    // The signature comes first: nothing of the manifest is parsed before it is known who wrote it.
    SK_TRY_ASSIGN(state->signers, verify_manifest_signature(state->text, state->signature, policy));
    SK_TRY_ASSIGN(state->manifest, parse_manifest(state->text));
    const std::uint64_t position = bundle.state_->signature_member.padded_end();
    SK_TRY_ASSIGN(state->layout, read_layout(*state->source, state->manifest, position,
                                             [&](std::string_view wrapped) -> Result<ContentKeyPointer> {
                                               SK_TRY_ASSIGN(const auto recipient, find_recipient());
                                               return unwrap_content_key(wrapped, recipient);
                                             }));
    return success();
  };
  SK_TRY(with_context(verify(), state->source->name()));
  state->digest = sha256(io::as_bytes(state->text));
  return VerifiedManifest(std::move(state));
}

Result<RecipientIdentity> no_recipient() {
  return make_error(Errc::config, "it is encrypted, and there is no key to decrypt it with");
}

Result<Inspection> inspect_bundle_contents(Bundle& bundle, const ContentKeyPointer& content_key) {
  const Bundle::State& state = *bundle.state_;
  Inspection inspection;
  const auto inspect = [&]() -> Result<void> {
    SK_TRY_ASSIGN(inspection.manifest, parse_manifest(state.manifest));
    const Unwrap known_key = [&](std::string_view) -> Result<ContentKeyPointer> { return content_key; };
    SK_TRY_ASSIGN(auto layout, read_layout(*state.source, inspection.manifest, state.signature_member.padded_end(),
                                           content_key ? known_key : Unwrap()));
    inspection.members = {state.manifest_member, state.signature_member};
    inspection.members.insert(inspection.members.end(), layout.members.begin(), layout.members.end());
    inspection.wrapped_key = std::move(layout.wrapped_key);
    inspection.size_bytes = layout.end + kContainerEndBytes;
    return success();
  };
  SK_TRY(with_context(inspect(), state.source->name()));
  inspection.text = state.manifest;
  inspection.digest = sha256(io::as_bytes(state.manifest));
  return inspection;
}

}  // namespace slotkeeper::bundle

// Steps 1 and 2 of 9: opening a bundle and verifying it. What comes out of `verify` is the only manifest the later
// steps accept.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/bundle/chunk_index.hpp"
#include "engine/bundle/container.hpp"
#include "engine/bundle/content_key.hpp"
#include "engine/bundle/frame_cipher.hpp"
#include "engine/bundle/manifest.hpp"
#include "engine/bundle/reuse_plan.hpp"
#include "engine/bundle/signature.hpp"
#include "engine/source/source.hpp"
#include "partitions/parallel.hpp"

namespace slotkeeper::bundle {

class VerifiedManifest;
struct Inspection;

/// Who a bundle is decrypted by. Asked only for one that is encrypted, so that a key that cannot be had is no hindrance
/// to others.
using FindRecipient = std::function<Result<RecipientIdentity>()>;
/// Nobody. Errors: config, always.
[[nodiscard]] Result<RecipientIdentity> no_recipient();

/// An opened bundle. Nothing in it is trusted yet; the manifest's bytes and the signature's are in memory.
class Bundle {
 public:
  Bundle(Bundle&&) noexcept;
  Bundle& operator=(Bundle&&) noexcept;
  ~Bundle();

  [[nodiscard]] const std::string& manifest_text() const;
  [[nodiscard]] const std::string& signature() const;
  [[nodiscard]] Source& source() const;

 private:
  friend Result<Bundle> open_bundle(std::unique_ptr<Source> source);
  friend Result<VerifiedManifest> verify_bundle(Bundle, const TrustPolicy&, const FindRecipient&);
  friend Result<Inspection> inspect_bundle_contents(Bundle&, const ContentKeyPointer&);
  struct State;
  explicit Bundle(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Reads the first two members: manifest.json and manifest.cms. Errors: corrupt, source_unreachable, unsupported.
[[nodiscard]] Result<Bundle> open_bundle(std::unique_ptr<Source> source);

/// A manifest whose signature is good and whose chunk indexes match it; the content key is in memory as long as this
/// is. For a source of known size the whole container was checked too: every member header, order, size, padding and
/// the end; only the frames' contents were not read.
class VerifiedManifest {
 public:
  VerifiedManifest(VerifiedManifest&&) noexcept;
  VerifiedManifest& operator=(VerifiedManifest&&) noexcept;
  ~VerifiedManifest();

  [[nodiscard]] const Manifest& manifest() const;
  [[nodiscard]] const Sha256& digest() const;  ///< of the manifest's bytes: what identifies the bundle
  [[nodiscard]] const std::string& text() const;
  [[nodiscard]] const std::string& signature() const;  ///< DER
  [[nodiscard]] const std::vector<Signer>& signers() const;
  [[nodiscard]] const ChunkIndex& index(std::size_t image) const;
  [[nodiscard]] std::uint64_t frames_offset(std::size_t image) const;  ///< of the first frame in the bundle
  [[nodiscard]] const Member& frames(std::size_t image) const;         ///< all of them, one after the other
  [[nodiscard]] ImageKey key_of(std::size_t image) const;              ///< without one where the image is not encrypted
  [[nodiscard]] Source& source() const;

 private:
  friend Result<VerifiedManifest> verify_bundle(Bundle, const TrustPolicy&, const FindRecipient&);
  struct State;
  explicit VerifiedManifest(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Errors: signature, untrusted, corrupt, unsupported, source_unreachable, source_truncated (never for a local file);
/// of an encrypted one those of `find_recipient` and of unwrap_content_key.
[[nodiscard]] Result<VerifiedManifest> verify_bundle(Bundle bundle, const TrustPolicy& policy,
                                                     const FindRecipient& find_recipient = no_recipient);

/// What the manifest says and whether the container is whole, without any trust. It never makes a
/// VerifiedManifest. Of an encrypted image the index is looked into with the key only.
struct Inspection {
  Manifest manifest;
  std::string text;  ///< of the manifest
  Sha256 digest;
  std::vector<Member> members;
  std::uint64_t size_bytes = 0;
  std::string wrapped_key;  ///< as the manifest says; not parsed
};
[[nodiscard]] Result<Inspection> inspect_bundle_contents(Bundle& bundle,
                                                         const ContentKeyPointer& content_key = nullptr);

/// One verified chunk of an image.
struct Chunk {
  std::size_t number = 0;
  std::uint64_t offset = 0;  ///< in the image, bytes
  std::uint64_t plain_bytes = 0;
  bool zeros = false;  ///< then `data` is empty
  ReusePlan::From from = ReusePlan::From::bundle;
  std::uint64_t made_from_old_bytes = 0;  ///< of a delta from the bundle: what its frame is shorter than the chunk
  io::ConstBytes data;                    ///< valid until the next call
};

/// What lies on the slots. Called by several threads.
class OnSlots {
 public:
  OnSlots() = default;
  OnSlots(const OnSlots&) = delete;
  OnSlots& operator=(const OnSlots&) = delete;
  virtual ~OnSlots() = default;
  /// Fills `into`, which direct I/O takes, from that offset of the volume; `from` is no `bundle`. False when it cannot
  /// be read: then the bundle has it.
  [[nodiscard]] virtual bool read(ReusePlan::From from, std::uint64_t offset, io::Bytes into) = 0;
};

/// Hands out the chunks of one image in order: frame read, hashed against the index, only then decompressed, hashed
/// again; or read from a slot and hashed, and what does not match comes from the bundle after all. Tells the source
/// before the first one what it will read, and reads it in the thread that calls; helpers unpack ahead. Of a source of
/// unknown size, the header before the frames and what follows them are checked on the way, and slots are not looked
/// at, but for what a delta is made from. Memory: one frame and one chunk, at least 128 and 256 KiB; with helpers as
/// many as fit into 3 MiB. Of a delta there is one helper at most, and 1 MiB of the three is its part of the old image;
/// another one is needed where what was found on the target has to be made after all.
class ImageReader {
 public:
  struct Options {
    std::size_t first_chunk = 0;
    Helpers helpers = 0;
    const ReusePlan* plan = nullptr;  ///< must stay; nothing: everything from the bundle
    OnSlots* on_slots = nullptr;      ///< must stay; with a plan, and for an image that needs an old one
  };
  ImageReader(const VerifiedManifest& manifest, std::size_t image, const Options& options);
  ImageReader(const VerifiedManifest& manifest, std::size_t image) : ImageReader(manifest, image, Options{}) {}
  ImageReader(ImageReader&&) noexcept;
  ~ImageReader();
  /// Nothing after the last chunk. Errors: corrupt (names chunk and offset), source_unreachable, source_truncated,
  /// source_changed; of a delta also readback_mismatch, io_error (ChunkUnpacker).
  [[nodiscard]] Result<std::optional<Chunk>> next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace slotkeeper::bundle

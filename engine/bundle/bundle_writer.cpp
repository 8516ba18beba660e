#include "engine/bundle/bundle_writer.hpp"

#include "engine/bundle/bundle_layout.hpp"
#include "engine/bundle/container.hpp"
#include "engine/bundle/image_file.hpp"
#include "engine/bundle/image_packer.hpp"
#include "engine/bundle/temporary_file.hpp"

namespace slotkeeper::bundle {
namespace {

constexpr std::size_t kCopyBytes = 1 << 20;
constexpr std::uint64_t kSectorBytes = 512;

Error config_error(const std::string& message) { return make_error(Errc::config, message); }

struct OpenedImage {
  std::unique_ptr<io::File> file;
  std::uint64_t size_bytes = 0;
};

Result<std::vector<OpenedImage>> open_images(io::Storage& storage, const CreateRequest& request) {
  if (request.images.empty() || request.images.size() > kImagesMax) {
    return config_error("a bundle holds 1 to " + std::to_string(kImagesMax) + " images");
  }
  if (request.chunk_bytes != 0 && (request.chunk_bytes < kChunkMinBytes || request.chunk_bytes > kChunkMaxBytes)) {
    return config_error("chunks have " + std::to_string(kChunkMinBytes) + " to " + std::to_string(kChunkMaxBytes) +
                        " bytes");
  }
  std::vector<OpenedImage> opened;
  for (const auto& image : request.images) {
    if (!is_plain_name(image.volume)) return config_error("'" + image.volume + "' is not a volume's name");
    auto file = storage.open_file(image.path, {.follow_symlink = true});
    if (!file.has_value()) {
      return std::move(file).assume_error().with_code(Errc::config).with_context("image for volume " + image.volume);
    }
    SK_TRY_ASSIGN(const auto size, file.assume_value()->size());
    if (size == 0 || size % kSectorBytes != 0 || size > kImageMaxBytes) {
      return config_error(image.path + " has " + std::to_string(size) +
                          " bytes; an image has at least one sector and whole sectors of 512 bytes");
    }
    opened.push_back({.file = std::move(file).assume_value(), .size_bytes = size});
  }
  return opened;
}

/// The description of the bundle with what is known of its images before they are packed.
Result<Manifest> describe(const CreateRequest& request, const std::vector<OpenedImage>& images) {
  Manifest manifest = request.description;
  manifest.images.clear();
  for (std::size_t i = 0; i < images.size(); ++i) {
    const std::string& volume = request.images[i].volume;
    if (manifest.find(volume) != nullptr) return config_error("volume '" + volume + "' has two images");
    Image image;
    image.volume = volume;
    image.plain_bytes = images[i].size_bytes;
    image.index_bytes = 1;  // any number in its limits
    image.encrypted = request.images[i].encrypt;
    manifest.images.push_back(std::move(image));
  }
  return manifest;
}

/// What the images are encrypted with, and the form in which it goes into the bundle.
struct Encryption {
  ContentKeyPointer key;
  std::string wrapped;
};

/// Empty where nothing is encrypted; else the manifest names the wrapped key from now on.
Result<Encryption> begin_encryption(const CreateRequest& request, Manifest& manifest) {
  if (manifest.is_encrypted() && request.recipients_pem.empty()) {
    return config_error("an image is to be encrypted, and there is no recipient to encrypt it for");
  }
  if (!manifest.is_encrypted() && !request.recipients_pem.empty()) {
    return config_error("there are recipients, and no image is to be encrypted");
  }
  Encryption encryption;
  if (!manifest.is_encrypted()) return encryption;
  SK_TRY_ASSIGN(encryption.key, make_content_key());
  SK_TRY_ASSIGN(encryption.wrapped, wrap_content_key(*encryption.key, request.recipients_pem));
  manifest.content_key = {.bytes = encryption.wrapped.size(), .digest = sha256(io::as_bytes(encryption.wrapped))};
  return encryption;
}

/// What devices would refuse is not written.
Result<void> check_manifest(const std::string& text) {
  auto parsed = parse_manifest(text);
  if (parsed.has_value()) return success();
  return std::move(parsed).assume_error().with_code(Errc::config).with_context("devices would refuse this bundle");
}

/// Opens what was written as a device will, so that a bundle that cannot be read never gets its name.
Result<void> check_written(io::Storage& storage, const std::string& path, const CreatedBundle& created,
                           const ContentKeyPointer& key) {
  SK_TRY_ASSIGN(auto source, open_file_source(storage, path));
  SK_TRY_ASSIGN(auto bundle, open_bundle(std::move(source)));
  SK_TRY_ASSIGN(const auto found, inspect_bundle_contents(bundle, key));
  if (found.digest == created.digest && found.size_bytes == created.size_bytes) return success();
  return make_error(Errc::readback_mismatch, path + " does not hold what was written");
}

Result<void> copy_frames(TemporaryFile& frames, std::uint64_t offset, std::uint64_t length, ContainerWriter& writer) {
  std::vector<std::byte> buffer(kCopyBytes);
  while (length > 0) {
    const auto part = io::Bytes(buffer).first(std::min<std::uint64_t>(buffer.size(), length));
    SK_TRY(frames.file().read_exactly_at(offset, part));
    SK_TRY(writer.write(part));
    offset += part.size();
    length -= part.size();
  }
  return success();
}

Result<void> write_member(ContainerWriter& writer, const std::string& name, io::ConstBytes data) {
  SK_TRY(writer.begin_member(name, data.size()));
  return writer.write(data);
}

Result<void> write_container(TemporaryFile& output, const Manifest& manifest, const std::string& text,
                             const std::string& signature, const std::string& wrapped_key,
                             const std::vector<std::vector<std::byte>>& indexes, TemporaryFile& frames) {
  ContainerWriter writer([&](io::ConstBytes data) { return output.append(data); });
  SK_TRY(write_member(writer, "manifest.json", io::as_bytes(text)));
  SK_TRY(write_member(writer, "manifest.cms", io::as_bytes(signature)));
  if (manifest.content_key) SK_TRY(write_member(writer, kContentKeyName, io::as_bytes(wrapped_key)));
  for (std::size_t i = 0; i < indexes.size(); ++i) {
    SK_TRY(write_member(writer, index_member_name(manifest.images[i]), indexes[i]));
  }
  std::uint64_t offset = 0;
  for (const auto& image : manifest.images) {
    SK_TRY(writer.begin_member(frames_member_name(image), image.stored_bytes));
    SK_TRY(copy_frames(frames, offset, image.stored_bytes, writer));
    offset += image.stored_bytes;
  }
  return writer.finish();
}

/// Whether the request makes sense is known before anything is packed.
Result<VerifiedManifest> open_old(io::Storage& storage, const DeltaRequest& delta, const Manifest& wanted) {
  if (!delta.full.empty() && !is_plain_name(delta.full)) {
    return config_error("--full takes a file name of at most " + std::to_string(kNameMaxBytes) +
                        " letters, digits, '-', '_' and '.', without a folder");
  }
  SK_TRY_ASSIGN(auto source, open_file_source(storage, delta.old_path));
  SK_TRY_ASSIGN(auto bundle, open_bundle(std::move(source)));
  SK_TRY_ASSIGN(auto old, verify_bundle(std::move(bundle), delta.trust, delta.find_recipient));
  if (old.manifest().is_delta()) {
    return config_error(delta.old_path + " is a delta itself; a delta is made from a full bundle");
  }
  bool is_of_use = false;
  for (const auto& image : wanted.images) {
    if (old.manifest().find(image.volume) == nullptr) continue;
    is_of_use = true;
    if (image.plain_bytes > kDeltaImageMaxBytes) {
      return config_error("the image for volume " + image.volume + " has " + std::to_string(image.plain_bytes) +
                          " bytes; a delta has at most " + std::to_string(kDeltaImageMaxBytes));
    }
  }
  if (!is_of_use) return config_error(delta.old_path + " has none of the volumes of the new bundle");
  return old;
}

/// The image that one is made from, unpacked beside the output.
struct UnpackedOld {
  OldImage facts;
  std::unique_ptr<TemporaryFile> file;
  std::optional<OldContents> contents;
};

/// Nothing where the old bundle has no image for the volume.
Result<std::optional<UnpackedOld>> unpack_old(const VerifiedManifest& old, const std::string& volume,
                                              io::Directory& folder, const std::string& name, ProgressSink& progress) {
  const Image* image = old.manifest().find(volume);
  if (image == nullptr) return std::optional<UnpackedOld>{};
  UnpackedOld unpacked;
  unpacked.facts = {.version = old.manifest().version,
                    .plain_bytes = image->plain_bytes,
                    .plain_digest = image->plain_digest,
                    .pieces_digest = image->pieces_digest};
  unpacked.file = std::make_unique<TemporaryFile>(folder, "." + name + ".old.tmp");
  SK_TRY(unpacked.file->create());
  const auto number = static_cast<std::size_t>(image - old.manifest().images.data());
  SK_TRY(unpack_image(old, number, nullptr, unpacked.file->file(), progress));
  SK_TRY_ASSIGN(unpacked.contents, OldContents::look_at(unpacked.file->file(), progress));
  return std::optional(std::move(unpacked));
}

}  // namespace

Result<CreatedBundle> create_bundle(io::Storage& storage, const CreateRequest& request, ProgressSink& progress) {
  const FilePlace place = place_of(request.output_path);
  if (place.name.empty()) return config_error("the output must be a file's name");
  SK_TRY_ASSIGN(auto images, open_images(storage, request));
  auto folder_opened = storage.open_directory(place.folder);
  if (!folder_opened.has_value()) return std::move(folder_opened).assume_error().with_code(Errc::config);
  const auto folder = std::move(folder_opened).assume_value();
  if (folder->status_of(place.name).has_value()) {
    return config_error(request.output_path + " exists already; it is not overwritten");
  }
  CreatedBundle created;
  SK_TRY_ASSIGN(created.manifest, describe(request, images));
  SK_TRY_ASSIGN(const auto encryption, begin_encryption(request, created.manifest));
  std::optional<VerifiedManifest> old;
  if (request.delta) {
    SK_TRY_ASSIGN(old, open_old(storage, *request.delta, created.manifest));
  }
  // Both are tried first: a wrong version or key should not cost the time of packing.
  SK_TRY(check_manifest(print_manifest(created.manifest)));
  SK_TRY(with_context(sign_manifest("{}", request.identity), "signer"));

  std::uint64_t total = 0;
  for (const auto& image : images) total += image.size_bytes;
  TemporaryFile frames(*folder, "." + place.name + ".frames.tmp");
  SK_TRY(frames.create());
  ImagePacker packer(
      {.compression_level = request.compression_level, .chunk_bytes = request.chunk_bytes, .total_bytes = total},
      progress);
  std::vector<std::vector<std::byte>> indexes(images.size());  // as they are stored
  for (std::size_t i = 0; i < images.size(); ++i) {
    const std::string& volume = request.images[i].volume;
    std::optional<UnpackedOld> from;
    if (old) {
      SK_TRY_ASSIGN(from, unpack_old(*old, volume, *folder, place.name, progress));
    }
    Image& image = created.manifest.images[i];
    SK_TRY_ASSIGN(image, packer.pack_image({.file = *images[i].file,
                                            .volume = volume,
                                            .old = from ? &*from->contents : nullptr,
                                            .key = key_for(created.manifest, i, encryption.key)},
                                           frames, indexes[i]));
    if (from) image.old_image = std::move(from->facts);
  }
  if (request.delta && !request.delta->full.empty()) created.manifest.full = request.delta->full;
  const std::string text = print_manifest(created.manifest);
  SK_TRY(check_manifest(text));
  created.digest = sha256(io::as_bytes(text));
  SK_TRY_ASSIGN(const auto signature, sign_manifest(text, request.identity));

  TemporaryFile output(*folder, "." + place.name + ".tmp");
  SK_TRY(output.create());
  SK_TRY(write_container(output, created.manifest, text, signature, encryption.wrapped, indexes, frames));
  created.size_bytes = output.size();
  SK_TRY(check_written(storage, place.folder + "/" + output.name(), created, encryption.key));
  SK_TRY(output.keep_as(place.name));
  return created;
}

}  // namespace slotkeeper::bundle

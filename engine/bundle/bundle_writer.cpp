#include "engine/bundle/bundle_writer.hpp"

#include "engine/bundle/bundle.hpp"
#include "engine/bundle/chunk_index.hpp"
#include "engine/bundle/container.hpp"
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
    manifest.images.push_back(std::move(image));
  }
  return manifest;
}

/// What devices would refuse is not written.
Result<void> check_manifest(const std::string& text) {
  auto parsed = parse_manifest(text);
  if (parsed.has_value()) return success();
  return std::move(parsed).assume_error().with_code(Errc::config).with_context("devices would refuse this bundle");
}

/// Opens what was written as a device will, so that a bundle that cannot be read never gets its name.
Result<void> check_written(io::Storage& storage, const std::string& path, const CreatedBundle& created) {
  SK_TRY_ASSIGN(auto source, open_file_source(storage, path));
  SK_TRY_ASSIGN(auto bundle, open_bundle(std::move(source)));
  SK_TRY_ASSIGN(const auto found, inspect_bundle_contents(bundle));
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
                             const std::string& signature, const std::vector<ChunkIndex>& indexes,
                             TemporaryFile& frames) {
  ContainerWriter writer([&](io::ConstBytes data) { return output.append(data); });
  SK_TRY(write_member(writer, "manifest.json", io::as_bytes(text)));
  SK_TRY(write_member(writer, "manifest.cms", io::as_bytes(signature)));
  for (std::size_t i = 0; i < indexes.size(); ++i) {
    SK_TRY(write_member(writer, "index/" + manifest.images[i].volume, print_chunk_index(indexes[i])));
  }
  std::uint64_t offset = 0;
  for (const auto& image : manifest.images) {
    SK_TRY(writer.begin_member("image/" + image.volume + ".zst", image.stored_bytes));
    SK_TRY(copy_frames(frames, offset, image.stored_bytes, writer));
    offset += image.stored_bytes;
  }
  return writer.finish();
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
  std::vector<ChunkIndex> indexes(images.size());
  for (std::size_t i = 0; i < images.size(); ++i) {
    SK_TRY_ASSIGN(created.manifest.images[i],
                  packer.pack_image(*images[i].file, request.images[i].volume, frames, indexes[i]));
  }
  const std::string text = print_manifest(created.manifest);
  SK_TRY(check_manifest(text));
  created.digest = sha256(io::as_bytes(text));
  SK_TRY_ASSIGN(const auto signature, sign_manifest(text, request.identity));

  TemporaryFile output(*folder, "." + place.name + ".tmp");
  SK_TRY(output.create());
  SK_TRY(write_container(output, created.manifest, text, signature, indexes, frames));
  created.size_bytes = output.size();
  SK_TRY(check_written(storage, place.folder + "/" + output.name(), created));
  SK_TRY(output.keep_as(place.name));
  return created;
}

}  // namespace slotkeeper::bundle

// The signed description in a bundle: what it holds, for which device, and the hash of every chunk index.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "partitions/digest.hpp"
#include "partitions/io/result.hpp"

namespace slotkeeper::bundle {

inline constexpr std::size_t kManifestMaxBytes = std::size_t{64} * 1024;
inline constexpr std::size_t kImagesMax = 16;
inline constexpr std::size_t kNameMaxBytes = 64;
inline constexpr std::uint64_t kImageMaxBytes = 1ull << 40;
inline constexpr std::uint64_t kIndexMaxBytes = 8ull << 20;  ///< of one image
inline constexpr std::int64_t kManifestFormat = 1;

/// Versions that may follow each other. The group of the confirmed firmware decides what may be installed.
struct FirmwareGroup {
  std::int64_t version = 0;         ///< only ever rises
  std::vector<std::string> admits;  ///< its own version is among them
};
inline constexpr std::size_t kAdmitsMax = 999;
struct ConfigSchema {
  std::int64_t schema = 0;
  std::int64_t readable_by = 0;
};

/// The image that a delta is made from, as it has to lie in the slot that runs.
struct OldImage {
  std::string version;  ///< of its bundle, for messages
  std::uint64_t plain_bytes = 0;
  Sha256 plain_digest;   ///< of all of it, as sha256sum prints it
  Sha256 pieces_digest;  ///< of all of it by pieces: what the baseline of a slot has
  bool operator==(const OldImage&) const = default;
};

struct Image {
  std::string volume;
  std::uint64_t plain_bytes = 0;   ///< of the image as written to the volume
  std::uint64_t stored_bytes = 0;  ///< of its member: the sum of its frames
  std::uint64_t index_bytes = 0;
  Sha256 index_digest;
  Sha256 plain_digest;     ///< of the whole image, as sha256sum prints it
  Sha256 pieces_digest;    ///< of the whole image by pieces (digest.hpp): the baseline of a slot compares with this
  bool encrypted = false;  ///< its frames and its index
  std::optional<OldImage> old_image;  ///< some of its chunks are made from this one
};

/// Names of the members that hold an image. They end in ".enc" where it is encrypted: no other tool can read these.
[[nodiscard]] std::string index_member_name(const Image& image);
[[nodiscard]] std::string frames_member_name(const Image& image);

inline constexpr const char* kContentKeyName = "content-key.cms";
/// The member of this name: content_key.hpp.
struct WrappedKey {
  std::uint64_t bytes = 0;
  Sha256 digest;
};

struct Manifest {
  std::string version;
  std::vector<std::string> compatible;
  std::optional<FirmwareGroup> firmware_group;
  std::optional<std::string> minimum_version;  ///< never together with a group; numbers and dots
  std::optional<ConfigSchema> config;
  std::int64_t records_min = 1;
  std::int64_t records_max = 1;
  /// Of a delta: name of the bundle beside it that needs no old image and holds the same images.
  std::optional<std::string> full;
  std::optional<WrappedKey> content_key;  ///< there when one of the images is encrypted, and only then
  std::vector<Image> images;

  [[nodiscard]] bool is_delta() const;      ///< one of its images needs an old one
  [[nodiscard]] bool is_encrypted() const;  ///< one of its images is
  [[nodiscard]] const Image* find(std::string_view volume) const;
};

/// Errors: corrupt (not the grammar), unsupported (a format number, or a member that needs a newer version).
[[nodiscard]] Result<Manifest> parse_manifest(std::string_view json);
/// The same manifest always prints the same bytes.
[[nodiscard]] std::string print_manifest(const Manifest& manifest);

/// "rootfs", "boot-fs": letters, digits, '-', '_', '.', not starting with '.' or '-'.
[[nodiscard]] bool is_plain_name(std::string_view name);

}  // namespace slotkeeper::bundle

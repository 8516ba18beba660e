#include "engine/transaction/steps/choose_bundle.hpp"

#include <algorithm>
#include <optional>

#include "engine/source/location.hpp"
#include "engine/transaction/steps/open.hpp"

namespace slotkeeper {
namespace {

const VolumeBaseline* find(const SlotBaseline& baseline, const std::string& volume) {
  const auto found = std::ranges::find(baseline.volumes, volume, &VolumeBaseline::volume);
  return found == baseline.volumes.end() ? nullptr : &*found;
}

/// Whether the volume begins with the old image. A baseline that was adopted goes on to the end of the volume, which
/// may be longer than the image: then the volume has to be asked.
Result<bool> holds(Device& device, const Volume& volume, const VolumeBaseline& recorded, const bundle::OldImage& old) {
  if (recorded.length_bytes == old.plain_bytes) return recorded.digest == old.pieces_digest;
  if (recorded.length_bytes < old.plain_bytes) return false;
  SK_TRY_ASSIGN(const auto found, hash_volume(device.storage(), volume, old.plain_bytes, device.sink(),
                                              Phase::preflight, device.settings.helpers));
  return found.digest == old.pieces_digest;
}

/// Why the image cannot be made here; nothing when it can.
Result<std::optional<std::string>> misfit_of(Device& device, const bundle::Image& image) {
  const std::string slot = "the running slot " + std::string(name_of(device.booted));
  const auto& baseline = device.facts[device.booted];
  if (!baseline) return std::optional("no checksums are recorded for " + slot);
  const Volume* volume = device.configuration().slots[device.booted].find(image.volume);
  const VolumeBaseline* recorded = find(*baseline, image.volume);
  if (volume == nullptr || recorded == nullptr) {
    return std::optional(slot + " has no volume '" + image.volume + "' with recorded checksums");
  }
  if (volume->check == VolumeCheck::none) {
    return std::optional("volume '" + image.volume + "' of " + slot + " is not verified (verify = \"none\")");
  }
  SK_TRY_ASSIGN(const bool is_there, holds(device, *volume, *recorded, *image.old_image));
  if (is_there) return std::optional<std::string>{};
  const std::string version = baseline->version.empty() ? "" : " (version " + baseline->version + ")";
  std::string why = slot + version + " holds another image in volume '" + image.volume + "'";
  if (baseline->origin == BaselineOrigin::adopted) {
    why += " (or a damaged one: its checksums were recorded as found, and 'slotkeeper verify' compares with them)";
  }
  return std::optional(std::move(why));
}

Result<std::optional<std::string>> misfit_of(Device& device, const bundle::Manifest& manifest) {
  for (const auto& image : manifest.images) {
    if (!image.old_image) continue;
    SK_TRY_ASSIGN(const auto why, misfit_of(device, image));
    if (!why) continue;
    return std::optional("the delta to version " + manifest.version + " is made from version " +
                         image.old_image->version + ", and " + *why);
  }
  return std::optional<std::string>{};
}

/// Volume by volume the same bytes, in whatever order.
bool has_images_of(const bundle::Manifest& full, const bundle::Manifest& delta) {
  return full.version == delta.version && full.images.size() == delta.images.size() &&
         std::ranges::all_of(delta.images, [&](const bundle::Image& wanted) {
           const bundle::Image* image = full.find(wanted.volume);
           return image != nullptr && image->plain_bytes == wanted.plain_bytes &&
                  image->plain_digest == wanted.plain_digest && image->pieces_digest == wanted.pieces_digest;
         });
}

}  // namespace

Result<bundle::VerifiedManifest> choose_bundle(Device& device, const std::string& location,
                                               bundle::VerifiedManifest offered) {
  const bundle::Manifest& delta = offered.manifest();
  if (!delta.is_delta()) return offered;
  device.phase = Phase::preflight;
  SK_TRY_ASSIGN(const auto misfit, misfit_of(device, delta));
  if (!misfit) return offered;
  if (!delta.full) {
    return make_error(Errc::incompatible, *misfit +
                                              "; the delta names no full bundle to take instead: install the full "
                                              "bundle of version " +
                                              delta.version);
  }
  const std::string full_location = beside(location, *delta.full);
  const std::string full_name = printable_location(full_location);
  device.sink().notice(*misfit + ": the full bundle " + full_name + " is taken instead");
  SK_TRY_ASSIGN(auto full, with_context(open_and_verify(device, full_location),
                                        *misfit + "; the full bundle in its place cannot be used"));
  if (full.manifest().is_delta() || !has_images_of(full.manifest(), delta)) {
    return make_error(Errc::incompatible, *misfit + "; " + full_name + ", which the delta names for this, is not the " +
                                              "full bundle of the same images (it has version " +
                                              full.manifest().version + ")");
  }
  device.set_report("full_bundle", escape_bytes(full_name));
  return full;
}

bool holds_result_of_delta(const SlotBaseline& baseline, const bundle::Manifest& manifest) {
  return manifest.is_delta() && baseline.version == manifest.version &&
         std::ranges::all_of(manifest.images, [&](const bundle::Image& image) {
           const VolumeBaseline* recorded = find(baseline, image.volume);
           return recorded != nullptr && recorded->length_bytes == image.plain_bytes &&
                  recorded->digest == image.pieces_digest;
         });
}

}  // namespace slotkeeper

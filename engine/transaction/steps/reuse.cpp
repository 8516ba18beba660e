#include "engine/transaction/steps/reuse.hpp"

#include <algorithm>

#include "engine/transaction/forwarding_sink.hpp"
#include "partitions/io/aligned_buffer.hpp"
#include "partitions/slot_writer.hpp"
#include "partitions/volume_device.hpp"

namespace slotkeeper {
namespace {

/// So many chunks are looked at to see whether the target is worth reading: the first ones, which an install that was
/// cut off has written, and others spread over the image.
constexpr std::size_t kFirstSamples = 8;
constexpr std::size_t kSpreadSamples = 120;

/// Reading ahead of the staging is not its progress.
class WithoutProgress final : public ForwardingSink {
 public:
  using ForwardingSink::ForwardingSink;
  void progress(Phase, std::uint64_t, std::uint64_t) override {}
};

class VolumesOfBothSlots final : public bundle::OnSlots {
 public:
  VolumesOfBothSlots(std::optional<VolumeDevice> target, std::optional<VolumeDevice> old)
      : target_(std::move(target)), old_(std::move(old)) {}

  [[nodiscard]] bool read(bundle::ReusePlan::From from, std::uint64_t offset, io::Bytes into) override {
    auto& volume = from == bundle::ReusePlan::From::target ? target_ : old_;
    if (!volume || offset >= volume->capacity_bytes()) return false;
    return volume->read(offset, into).has_value();
  }

 private:
  std::optional<VolumeDevice> target_;
  std::optional<VolumeDevice> old_;
};

std::optional<VolumeDevice> open_for_reading(Device& device, const Volume& volume) {
  auto opened = VolumeDevice::open(device.storage(), volume, io::OpenMode::Access::read);
  if (!opened.has_value()) return std::nullopt;
  return std::optional(std::move(opened).assume_value());
}

std::uint64_t lookup_of(io::ConstBytes chunk) {
  std::vector<std::uint64_t> hashes;
  while (!chunk.empty()) {
    const auto block = chunk.first(std::min<std::size_t>(chunk.size(), kHashBlockBytes));
    hashes.push_back(hash_block(block).hash);
    chunk = chunk.subspan(block.size());
  }
  return bundle::lookup_hash(hashes);
}

/// Whether one of the samples is at its place. `rows` that have no look-up hash are no samples.
bool is_alike(bundle::OnSlots& on_slots, const std::vector<bundle::ChunkRow>& rows) {
  std::vector<std::pair<std::uint64_t, const bundle::ChunkRow*>> candidates;
  std::uint64_t offset = 0;
  std::uint64_t longest = 0;
  for (const auto& row : rows) {
    const std::uint64_t heads_end = std::end(kHeadRanges)[-1].offset + std::end(kHeadRanges)[-1].length;
    if (row.lookup != 0 && offset >= heads_end) candidates.emplace_back(offset, &row);
    longest = std::max(longest, row.lookup != 0 ? row.plain_bytes : 0);
    offset += row.plain_bytes;
  }
  if (candidates.empty()) return false;
  io::AlignedBuffer buffer(static_cast<std::size_t>(io::round_up_to_block(longest)));
  const auto is_there = [&](std::size_t sample) {
    const auto& [at, row] = candidates[sample];
    const auto length = static_cast<std::size_t>(row->plain_bytes);
    const io::Bytes into = buffer.bytes().first(static_cast<std::size_t>(io::round_up_to_block(length)));
    return on_slots.read(bundle::ReusePlan::From::target, at, into) && lookup_of(into.first(length)) == row->lookup;
  };
  for (std::size_t i = 0; i < std::min(kFirstSamples, candidates.size()); ++i) {
    if (is_there(i)) return true;
  }
  for (std::size_t i = 0; i < kSpreadSamples; ++i) {
    if (is_there(i * candidates.size() / kSpreadSamples)) return true;
  }
  return false;
}

}  // namespace

Result<Reuse> find_reusable(Device& device, const bundle::VerifiedManifest& manifest, std::size_t image,
                            const PreflightReport& report) {
  const auto& wanted = manifest.manifest().images[image];
  const auto& rows = manifest.index(image).rows;
  const auto& slots = device.configuration().slots;
  const Volume& target = *slots[report.target].find(wanted.volume);
  const auto old_chunks = report.old_chunks.find(wanted.volume);
  Reuse reuse{.plan = bundle::ReusePlan(rows.size()), .on_slots = nullptr, .target_is_alike = false};
  std::optional<VolumeDevice> old;
  if (old_chunks != report.old_chunks.end() || wanted.old_image) {
    old = open_for_reading(device, *slots[device.booted].find(wanted.volume));
  }
  reuse.on_slots = std::make_unique<VolumesOfBothSlots>(open_for_reading(device, target), std::move(old));
  reuse.target_is_alike = is_alike(*reuse.on_slots, rows);
  if (reuse.target_is_alike) {
    bundle::InPlace in_place(rows, reuse.plan);
    WithoutProgress sink(device.sink());
    const auto looked =
        look_at_blocks(device.storage(), target, wanted.plain_bytes, sink, Phase::stage, device.settings.helpers,
                       [&](std::span<const BlockHash> blocks) { in_place.add(blocks); });
    // What was found before it could not be read any more counts.
    if (!looked.has_value()) SK_TRY(device.sink().check_cancelled());
  }
  if (old_chunks != report.old_chunks.end()) reuse.plan.take_from_old_slot(rows, old_chunks->second);
  return reuse;
}

}  // namespace slotkeeper

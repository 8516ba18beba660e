#include "engine/transaction/steps/stage.hpp"

#include <algorithm>

#include "engine/transaction/steps/reuse.hpp"
#include "partitions/slot_writer.hpp"

namespace slotkeeper {
namespace {

constexpr std::uint64_t kZerosAtOnce = std::uint64_t{8} << 20U;
constexpr std::uint64_t kZerosAtOnceAtAPace = std::uint64_t{1} << 20U;

/// The target leaves the boot order, and no checksum speaks for it any more.
Result<void> withhold_target(Device& device, SlotId target) {
  SK_TRY(device.advance(Event::withheld));
  if (device.facts[target]) {
    device.facts[target].reset();
    SK_TRY(device.save_facts());
  }
  SK_TRY_ASSIGN(const auto before, device.boot_facts());
  return device.store_environment(before.environment,
                                  boot::only_slot(before.environment, device.booted, device.attempts()));
}

/// How far the staging is, and where the bytes of the images came from.
struct Progress {
  std::uint64_t done = 0;
  std::uint64_t total = 0;
  std::uint64_t zero_bytes = 0;
  std::uint64_t bundle_bytes = 0;
  std::uint64_t target_bytes = 0;
  std::uint64_t old_slot_bytes = 0;
  std::uint64_t written_bytes = 0;

  void count(const bundle::Chunk& chunk) {
    done += chunk.plain_bytes;
    if (chunk.zeros) {
      zero_bytes += chunk.plain_bytes;
      return;
    }
    switch (chunk.from) {
      case bundle::ReusePlan::From::bundle:
        bundle_bytes += chunk.plain_bytes - chunk.made_from_old_bytes;
        old_slot_bytes += chunk.made_from_old_bytes;
        break;
      case bundle::ReusePlan::From::target:
        target_bytes += chunk.plain_bytes;
        break;
      case bundle::ReusePlan::From::old_slot:
        old_slot_bytes += chunk.plain_bytes;
        break;
    }
  }

  [[nodiscard]] JsonObject report() const {
    return {{"image_bytes", total},
            {"zero_bytes", zero_bytes},
            {"bundle_bytes", bundle_bytes},
            {"in_place_bytes", target_bytes},
            {"running_slot_bytes", old_slot_bytes},
            {"written_bytes", written_bytes}};
  }
};

/// Holds what the configuration allows to be written. What is on its way to the device, or in its cache, would go on in
/// a pause, or be flushed by whoever syncs a log.
Result<void> keep_pace(Pace* pace, VolumeWriter& writer, std::uint64_t written_before) {
  if (pace == nullptr) return success();
  pace->wrote(written_before + writer.written_bytes());
  if (!pace->is_gentle()) return success();
  return writer.settle(pace->pauses_next() ? VolumeWriter::Flush::yes : VolumeWriter::Flush::no);
}

/// In pieces, so that a long run can be cancelled, and be rested from.
Result<void> write_zero_run(Device& device, VolumeWriter& writer, const bundle::Chunk& run,
                            std::uint64_t written_before) {
  const std::uint64_t piece = device.pace ? kZerosAtOnceAtAPace : kZerosAtOnce;
  for (std::uint64_t done = 0; done < run.plain_bytes; done += piece) {
    if (done > 0) {
      SK_TRY(keep_pace(device.pace.get(), writer, written_before));
      SK_TRY(device.sink().check_cancelled());
    }
    SK_TRY(writer.write_zeros(run.offset + done, std::min(piece, run.plain_bytes - done)));
  }
  return success();
}

Result<void> write_body(Device& device, const bundle::VerifiedManifest& manifest, std::size_t image, const Reuse& reuse,
                        VolumeWriter& writer, FallbackCheck& fallback, Progress& progress) {
  bundle::ImageReader reader(
      manifest, image,
      {.first_chunk = 0, .helpers = device.settings.helpers, .plan = &reuse.plan, .on_slots = reuse.on_slots.get()});
  if (reuse.target_is_alike) writer.leave_what_is_equal();
  while (true) {
    SK_TRY(keep_pace(device.pace.get(), writer, progress.written_bytes));
    SK_TRY(device.sink().check_cancelled());
    SK_TRY_ASSIGN(const auto chunk, reader.next());
    if (!chunk) {
      SK_TRY(writer.check_body(device.sink()));
      progress.written_bytes += writer.written_bytes();
      return success();
    }
    if (chunk->zeros) {
      SK_TRY(write_zero_run(device, writer, *chunk, progress.written_bytes));
    } else {
      SK_TRY(writer.write_chunk(
          chunk->offset, chunk->data,
          chunk->from == bundle::ReusePlan::From::target ? VolumeWriter::Present::yes : VolumeWriter::Present::no));
    }
    progress.count(*chunk);
    device.sink().progress(Phase::stage, progress.done, progress.total);
    fallback.follow(progress.done, progress.total);
  }
}

}  // namespace

Result<StagedSlot> stage_images(Device& device, const bundle::VerifiedManifest& manifest, const UpdatePlan& plan,
                                const CheckedSnapshot&) {
  device.phase = Phase::stage;
  SK_TRY(device.sink().check_cancelled());
  const SlotId target = plan.report().target;
  const Configuration& configuration = device.configuration();
  SK_INVARIANT(target != device.booted);
  SK_TRY_ASSIGN(const auto checked, check_target_is_free(device.storage(), configuration.slots, target,
                                                         configuration.permanent_path, configuration.store_path));
  SK_TRY(withhold_target(device, target));
  const BackgroundWork background(device);

  const Slot& slot = configuration.slots[target];
  std::vector<std::unique_ptr<VolumeWriter>> writers;
  Progress progress;
  // All heads go before any body comes, so that no mix of old and new volumes can boot.
  for (const auto& image : manifest.manifest().images) {
    progress.total += image.plain_bytes;
    const Volume* volume = slot.find(image.volume);
    SK_INVARIANT(volume != nullptr);
    SK_TRY_ASSIGN(auto writer, VolumeWriter::open(device.storage(), *volume, image.plain_bytes, device.settings.helpers,
                                                  &checked[static_cast<std::size_t>(volume - slot.volumes.data())]));
    SK_TRY(with_context(writer->withhold_heads(), "volume " + image.volume));
    writers.push_back(std::move(writer));
  }
  auto fallback = std::make_unique<FallbackCheck>(device, plan.report().fallback);
  for (std::size_t i = 0; i < writers.size(); ++i) {
    SK_TRY_ASSIGN(const Reuse reuse, find_reusable(device, manifest, i, plan.report()));
    SK_TRY(with_context(write_body(device, manifest, i, reuse, *writers[i], *fallback, progress),
                        "volume " + manifest.manifest().images[i].volume));
  }
  for (std::size_t i = 0; i < writers.size(); ++i) {
    const std::string name = "volume " + manifest.manifest().images[i].volume;
    SK_TRY(with_context(writers[i]->finish(), name));
    SK_TRY(with_context(writers[i]->close(), name));
  }
  device.set_report("staged", progress.report());
  SK_TRY(device.advance(Event::image_complete));
  return StagedSlot(target, std::move(fallback));
}

}  // namespace slotkeeper

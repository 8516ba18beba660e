// Delta bundles on real devices: made from what the slot that runs holds, refused or replaced by the full bundle where
// it holds something else.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"
#include "tests/loopback/nginx.hpp"
#include "tests/loopback/refusals.hpp"
#include "tests/support/file_contents.hpp"

namespace slotkeeper::test {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::size_t kBlock = 4096;
constexpr std::size_t kHeadsEnd = 65536 + kBlock;

class DeltaInstall : public testing::Test {
 protected:
  void SetUp() override { set_up(RigSettings()); }

  void set_up(const RigSettings& settings) {
    if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    device = std::make_unique<DeviceRig>(settings);
    old_image = contents_of(Material::get().image("1.0.0"));
    // A rebuild: contents moved by blocks and by bytes, some changed. Zeros stay, so that they are counted as such.
    new_image = old_image;
    std::rotate(new_image.begin() + 2 * kHeadsEnd, new_image.begin() + (2 << 20), new_image.begin() + (4 << 20));
    new_image.insert(3 << 20, "moved");
    new_image.resize(old_image.size());
    for (std::size_t at = 2 * kHeadsEnd; at < new_image.size(); at += 25 * kBlock) {
      if (new_image[at] != '\0') new_image[at] ^= 1;
    }
    write_file(device->path("new.img"), new_image);
    make("full.skb", "2.0.0", device->path("new.img"));
    make("old.skb", "1.0.0", Material::get().image("1.0.0"));
  }

  void make(const std::string& name, const std::string& version, const std::string& image,
            std::vector<std::string> options = {}) const {
    BundleRecipe recipe;
    recipe.version = version;
    recipe.images = {{"rootfs", image}};
    recipe.options = std::move(options);
    make_bundle(recipe, device->path(name));
  }
  /// delta.skb to version 2.0.0.
  std::string make_delta(const std::string& old_bundle, const std::string& full = "") const {
    std::vector<std::string> options = {"--delta-from", old_bundle};
    if (!full.empty()) options.insert(options.end(), {"--full", full});
    make("delta.skb", "2.0.0", device->path("new.img"), std::move(options));
    return device->path("delta.skb");
  }
  /// From a version that the device does not run.
  std::string make_delta_from_another(const std::string& full = "") const {
    return make_delta(Material::get().bundle("3.0.0"), full);
  }

  void write_slot(char slot, std::size_t offset, const std::string& bytes) const {
    std::fstream out(device->slot_device(slot), std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(static_cast<std::streamoff>(offset));
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size())).flush();
    run_tool({"sync", device->slot_device(slot)});
  }
  [[nodiscard]] static std::int64_t staged(const Answer& answer, const std::string& member) {
    const Json value = answer.at("staged/" + member);
    EXPECT_NE(value.as_integer(), nullptr) << answer.story();
    return value.as_integer() == nullptr ? -1 : *value.as_integer();
  }
  void expect_armed(const Answer& answer) const {
    ASSERT_EQ(answer.exit_status, 0) << answer.story();
    EXPECT_EQ(answer.outcome(), "armed") << answer.story();
    EXPECT_TRUE(contents_of(device->slot_device('B')).compare(0, new_image.size(), new_image) == 0);
  }

  std::unique_ptr<DeviceRig> device;
  std::string old_image;
  std::string new_image;
};

TEST_F(DeltaInstall, IsMadeFromTheRunningSlot) {
  const std::string delta = make_delta(device->path("old.skb"));
  EXPECT_LT(std::filesystem::file_size(delta) * 10, std::filesystem::file_size(device->path("full.skb")));
  write_slot('B', 0, std::string(new_image.size(), 'x'));
  const Answer answer = device->install(delta);
  ASSERT_NO_FATAL_FAILURE(expect_armed(answer));
  EXPECT_EQ(staged(answer, "in_place_bytes"), 0);
  EXPECT_LT(staged(answer, "bundle_bytes"), 65536) << answer.story();
  EXPECT_EQ(staged(answer, "bundle_bytes") + staged(answer, "running_slot_bytes") + staged(answer, "zero_bytes"),
            staged(answer, "image_bytes"));
}

TEST_F(DeltaInstall, LeavesAloneWhatTheTargetHoldsAlready) {
  write_slot('B', 0, new_image);
  const Answer answer = device->install(make_delta(device->path("old.skb")));
  ASSERT_NO_FATAL_FAILURE(expect_armed(answer));
  EXPECT_EQ(staged(answer, "written_bytes"), 0) << answer.story();
  EXPECT_GT(staged(answer, "in_place_bytes"), 0);
}

TEST_F(DeltaInstall, OfWhatTheDeviceRunsAlreadyIsNothingToDo) {
  make("delta.skb", "2.0.0", Material::get().image("2.0.0"), {"--delta-from", device->path("old.skb")});
  // By the full bundle: the device never saw the delta's own manifest.
  ASSERT_EQ(device->install(Material::get().bundle("2.0.0")).outcome(), "armed");
  ASSERT_EQ(device->boot(), 'B');
  ASSERT_EQ(device->run({"recover"}).exit_status, 0);
  ASSERT_EQ(device->run({"confirm", "--force"}).outcome(), "confirmed");
  EXPECT_EQ(device->install(device->path("delta.skb")).outcome(), "nothing-to-do");
  EXPECT_EQ(device->run({"install", "--force", device->path("delta.skb")}).code(), "incompatible");
}

TEST_F(DeltaInstall, FromAnotherImageIsRefused) {
  const std::string delta = make_delta_from_another();
  for (const char* command : {"install", "preflight"}) {
    const Fingerprint before = device->fingerprint();
    const Answer answer = device->run({command, delta});
    expect_refusal(answer, 4, "incompatible",
                   "is made from version 3.0.0, and the running slot A holds another image in volume 'rootfs'");
    EXPECT_THAT(answer.message(), HasSubstr("install the full bundle of version 2.0.0"));
    expect_unchanged(before, *device, 4);
  }
}

TEST_F(DeltaInstall, FromAnotherImageTakesTheFullBundleBesideIt) {
  const std::string delta = make_delta_from_another("full.skb");
  EXPECT_EQ(device->run({"preflight", delta}).outcome(), "ok");
  const Answer answer = device->install(delta);
  ASSERT_NO_FATAL_FAILURE(expect_armed(answer));
  EXPECT_EQ(answer.text("full_bundle"), device->path("full.skb"));
  EXPECT_THAT(answer.output, HasSubstr("is taken instead")) << answer.story();
}

TEST_F(DeltaInstall, AFullBundleThatIsMissingOrAnotherIsNotTaken) {
  const std::string delta = make_delta_from_another("there.skb");
  Fingerprint before = device->fingerprint();
  Answer answer = device->install(delta);
  expect_refusal(answer, 8, "source-unreachable", "the full bundle in its place cannot be used.*there.skb");
  expect_unchanged(before, *device, 8);

  std::filesystem::copy_file(Material::get().bundle("2.0.0"), device->path("there.skb"));
  before = device->fingerprint();
  expect_refusal(device->install(delta), 4, "incompatible", "is not the full bundle of the same images");
  expect_unchanged(before, *device, 4);
}

TEST_F(DeltaInstall, AFullBundleOfAnotherSignerIsNotTaken) {
  const std::string delta = make_delta_from_another("full.skb");
  BundleFile full = BundleFile::read(device->path("full.skb"));
  full.sign(Signer::unknown);
  full.write(device->path("full.skb"));
  expect_refusal(device->install(delta), 4, "untrusted", "the full bundle in its place cannot be used");
}

TEST_F(DeltaInstall, ARunningSlotThatIsDamagedIsNoSource) {
  const std::string delta = make_delta(device->path("old.skb"));
  ASSERT_EQ(device->run({"provision", "--force", "--factory", device->path("old.skb")}).exit_status, 0);
  write_slot('A', 4 << 20, std::string(kBlock, 'x'));
  EXPECT_EQ(device->install(delta).code(), "fallback-damaged");
}

TEST_F(DeltaInstall, ComesOverALineAsFramesOnly) {
  const std::string delta = make_delta(device->path("old.skb"));
  Nginx nginx({});
  std::filesystem::copy_file(delta, nginx.root("delta.skb"));
  const Answer answer = device->install(nginx.http("/delta.skb"));
  ASSERT_NO_FATAL_FAILURE(expect_armed(answer));
  EXPECT_LT(staged(answer, "bundle_bytes"), 65536);
}

TEST_F(DeltaInstall, FromAnotherImageTakesTheFullBundleBelowTheSameUrl) {
  Nginx nginx({});
  std::filesystem::copy_file(make_delta_from_another("full.skb"), nginx.root("delta.skb"));
  std::filesystem::copy_file(device->path("full.skb"), nginx.root("full.skb"));
  const Answer answer = device->install(nginx.http("/delta.skb?token=secret"));
  ASSERT_NO_FATAL_FAILURE(expect_armed(answer));
  EXPECT_EQ(answer.text("full_bundle"), nginx.http("/full.skb"));
  EXPECT_THAT(answer.output + answer.diagnostics, Not(HasSubstr("secret")));
}

TEST_F(DeltaInstall, IsExtractedWithTheBundleItWasMadeFrom) {
  const std::string delta = make_delta(device->path("old.skb"));
  const std::string file = device->path("extracted.img");
  expect_refusal(device->run({"bundle", "extract", delta, "rootfs", file}), 2, "usage", "with --delta-from");
  expect_refusal(
      device->run({"bundle", "extract", delta, "rootfs", file, "--delta-from", Material::get().bundle("3.0.0")}), 2,
      "usage", "was not made from");
  const Answer answer =
      device->run({"bundle", "extract", delta, "rootfs", file, "--delta-from", device->path("old.skb")});
  ASSERT_EQ(answer.exit_status, 0) << answer.story();
  EXPECT_TRUE(contents_of(file) == new_image);
  EXPECT_FALSE(std::filesystem::exists(device->path(".old.skb.old-image.tmp")));
  const Answer info = device->run({"bundle", "info", delta});
  EXPECT_EQ(info.text("delta"), "true");
  EXPECT_THAT(info.output, HasSubstr(R"("delta_from":{"version":"1.0.0")"));
}

class DeltaOnASlowTarget : public DeltaInstall {
 protected:
  void SetUp() override {
    set_up({.slot_bytes = 16ull << 20,
            .permanent_bytes = 12ull << 20,
            .reserved_percent = 0,
            .store_bytes = 8ull << 20,
            .provisioned = true,
            .second_volume = false,
            .slow_target = std::chrono::milliseconds(200)});
  }
};

TEST_F(DeltaOnASlowTarget, ARunningSlotThatBreaksMeanwhileEndsTheUpdate) {
  const std::string delta = make_delta(device->path("old.skb"));
  write_slot('B', 0, std::string(new_image.size(), 'x'));
  Program install(device->command({"install", delta}));
  ASSERT_TRUE(install.read_until(progress_of("stage", 1))) << install.finish().story();
  // Contents of the second half, ahead of what can have been unpacked by now: some windows and the ring, 3.5 MiB.
  write_slot('A', (4 << 20) + (1 << 19), std::string(1 << 20, 'x'));
  const Answer answer = install.finish();
  EXPECT_EQ(answer.exit_status, 5) << answer.story();
  EXPECT_EQ(answer.code(), "readback-mismatch") << answer.story();
  EXPECT_EQ(answer.text("error/phase"), "stage");
  EXPECT_EQ(answer.outcome(), "rolled-back");
  EXPECT_FALSE(device->comes_up('B'));
  EXPECT_EQ(device->variable("BOOT_ORDER"), "A");
}

}  // namespace
}  // namespace slotkeeper::test

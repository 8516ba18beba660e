// Installs where the slots hold much of the image already: what is written, what is taken from where, and that nothing
// wrong is taken.
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"
#include "tests/support/file_contents.hpp"

namespace slotkeeper::test {
namespace {

constexpr std::size_t kBlock = 4096;
constexpr std::size_t kHeadsEnd = 65536 + kBlock;

class Reuse : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    device = std::make_unique<DeviceRig>();
    old_image = contents_of(Material::get().image("1.0.0"));
    // A rebuild: one half of the contents moved by five blocks, some blocks changed.
    new_image = old_image;
    const std::size_t middle = new_image.size() / 2;
    std::rotate(new_image.begin() + 2 * kHeadsEnd, new_image.begin() + static_cast<std::ptrdiff_t>(middle - 5 * kBlock),
                new_image.begin() + static_cast<std::ptrdiff_t>(middle));
    for (std::size_t at = middle; at < new_image.size(); at += 100 * kBlock) new_image[at] ^= 1;
    write_file(device->path("rebuild.img"), new_image);
    BundleRecipe recipe;
    recipe.images = {{"rootfs", device->path("rebuild.img")}};
    bundle = device->path("rebuild.skb");
    make_bundle(recipe, bundle);
  }

  void write_slot(char slot, const std::string& bytes) const {
    std::fstream out(device->slot_device(slot), std::ios::in | std::ios::out | std::ios::binary);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size())).flush();
    run_tool({"sync", device->slot_device(slot)});
  }
  [[nodiscard]] std::int64_t staged(const Answer& answer, const std::string& member) const {
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
  std::string bundle;
};

TEST_F(Reuse, WritesTheBlocksThatDifferAndNoOthers) {
  write_slot('B', old_image);
  std::int64_t differ = 0;
  for (std::size_t at = 0; at < new_image.size(); at += kBlock) {
    // The heads are written in any case, and not counted.
    const bool is_head = at == 0 || at == 32768 || at == 65536;
    if (!is_head && old_image.compare(at, kBlock, new_image, at, kBlock) != 0) differ += kBlock;
  }
  ASSERT_GT(differ, 0);
  const Answer answer = device->install(bundle);
  ASSERT_NO_FATAL_FAILURE(expect_armed(answer));
  // What becomes a whole MiB of zeros is zeroed as a whole.
  EXPECT_GE(staged(answer, "written_bytes"), differ);
  EXPECT_LE(staged(answer, "written_bytes"), differ + (1 << 20)) << answer.story();
  EXPECT_GT(staged(answer, "in_place_bytes"), 0);
}

TEST_F(Reuse, TakesFromTheRunningSlotWhatItHas) {
  write_slot('B', std::string(new_image.size(), 'x'));
  const Answer answer = device->install(bundle);
  ASSERT_NO_FATAL_FAILURE(expect_armed(answer));
  EXPECT_EQ(staged(answer, "in_place_bytes"), 0);
  EXPECT_GT(staged(answer, "running_slot_bytes"), 0) << answer.story();
  EXPECT_EQ(staged(answer, "written_bytes"), static_cast<std::int64_t>(new_image.size()));
  EXPECT_EQ(staged(answer, "bundle_bytes") + staged(answer, "running_slot_bytes") + staged(answer, "zero_bytes"),
            staged(answer, "image_bytes"));
}

TEST_F(Reuse, WritesNothingButTheHeadsWhereTheTargetHoldsTheImage) {
  write_slot('B', new_image);
  const Answer answer = device->install(bundle);
  ASSERT_NO_FATAL_FAILURE(expect_armed(answer));
  EXPECT_EQ(staged(answer, "written_bytes"), 0) << answer.story();
  EXPECT_LE(staged(answer, "bundle_bytes"), static_cast<std::int64_t>(kHeadsEnd + 65536));
}

TEST_F(Reuse, AnInstallThatWasCutOffGoesOn) {
  // Nothing to take from the slot that runs: everything that is not fetched again was written before.
  write_slot('B', std::string(new_image.size(), 'x'));
  Program install(device->command({"install", bundle}));
  ASSERT_TRUE(install.read_until(progress_of("stage", 9 << 20))) << install.finish().story();
  install.signal(SIGKILL);
  static_cast<void>(install.finish());
  EXPECT_EQ(device->boot(), 'A');
  ASSERT_EQ(device->run({"recover"}).outcome(), "rolled-back");
  EXPECT_FALSE(device->comes_up('B'));

  const Answer answer = device->install(bundle);
  ASSERT_NO_FATAL_FAILURE(expect_armed(answer));
  EXPECT_GT(staged(answer, "in_place_bytes"), 0) << answer.story();
  EXPECT_LT(staged(answer, "written_bytes"), static_cast<std::int64_t>(new_image.size()) - (3 << 20)) << answer.story();
}

TEST_F(Reuse, ABlockThatBrokeOnTheTargetIsWrittenAgain) {
  std::string broken = new_image;
  for (std::size_t at = kHeadsEnd; at < broken.size(); at += 50 * kBlock) {
    // Of zeros a whole MiB would be written.
    if (broken.compare(at, kBlock, std::string(kBlock, '\0')) != 0) broken[at + 17] ^= 1;
  }
  write_slot('B', broken);
  const Answer answer = device->install(bundle);
  ASSERT_NO_FATAL_FAILURE(expect_armed(answer));
  EXPECT_GT(staged(answer, "written_bytes"), 0);
  EXPECT_LT(staged(answer, "written_bytes"), 4 << 20) << answer.story();
}

}  // namespace
}  // namespace slotkeeper::test

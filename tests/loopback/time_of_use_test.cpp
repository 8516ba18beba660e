// What is changed by somebody else between the moment it was checked and the moment it is used.
#include <csignal>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"
#include "tests/support/file_contents.hpp"

namespace slotkeeper::test {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

class TimeOfUse : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    device = std::make_unique<DeviceRig>();
    bundle = device->path("update.skb");
    fs::copy_file(Material::get().bundle("2.0.0"), bundle);
    // Slow enough to come in between.
    device->set_configuration(device->configuration() + "[install]\nmax-write-rate = \"4 MiB\"\n");
    original = device->slot_hash('A');
  }
  /// Installs, and lets `change` come in when a part of the image is on the target.
  template <class Change>
  Answer install_and(Change change) {
    Program install(device->command({"install", bundle}));
    EXPECT_TRUE(install.read_until(progress_of("stage", 2 << 20)));
    install.signal(SIGSTOP);
    change();
    install.signal(SIGCONT);
    return install.finish();
  }
  void expect_original_untouched() const { EXPECT_EQ(device->slot_hash('A'), original); }

  std::unique_ptr<DeviceRig> device;
  std::string bundle;
  std::string original;
};

TEST_F(TimeOfUse, ABundleThatIsRewrittenInPlaceIsFound) {
  const Answer answer = install_and([&] {
    std::fstream file(bundle, std::ios::in | std::ios::out | std::ios::binary);
    const auto size = static_cast<std::streamoff>(fs::file_size(bundle));
    file.seekp(size / 2).write(std::string(static_cast<std::size_t>(size / 2), 'x').data(), size / 2).flush();
  });
  EXPECT_EQ(answer.exit_status, 4) << answer.story();
  EXPECT_EQ(answer.code(), "corrupt");
  EXPECT_FALSE(device->comes_up('B'));
  expect_original_untouched();
}

TEST_F(TimeOfUse, ABundleThatIsCutOffIsFound) {
  const Answer answer = install_and([&] { fs::resize_file(bundle, fs::file_size(bundle) / 2); });
  EXPECT_EQ(answer.code(), "corrupt") << answer.story();
  EXPECT_FALSE(device->comes_up('B'));
  expect_original_untouched();
}

TEST_F(TimeOfUse, AnotherBundleUnderTheSameNameIsNotRead) {
  const Answer answer = install_and([&] {
    fs::copy_file(Material::get().bundle("3.0.0"), device->path("other.skb"));
    fs::rename(device->path("other.skb"), bundle);
  });
  EXPECT_EQ(answer.outcome(), "armed") << answer.story();
  EXPECT_TRUE(device->holds('B', "2.0.0"));
  expect_original_untouched();
}

TEST_F(TimeOfUse, ATargetWhoseLinkIsTurnedToTheRunningSlotIsNotFollowed) {
  const std::string target = device->slot_device('B');
  const std::string link = device->path("by-partlabel");
  fs::create_symlink(target, link);
  device->edit_configuration("rootfs = \"" + target + "\"", "rootfs = \"" + link + "\"");
  const Answer answer = install_and([&] {
    fs::remove(link);
    fs::create_symlink(device->slot_device('A'), link);
  });
  EXPECT_NE(answer.exit_status, 1) << answer.story();
  expect_original_untouched();
  EXPECT_TRUE(answer.outcome() != "armed" || device->holds('B', "2.0.0")) << answer.story();
}

TEST_F(TimeOfUse, ALinkInThePlaceOfTheStateStoreIsRefused) {
  fs::rename(device->store(), device->path("elsewhere"));
  fs::create_symlink(device->path("elsewhere"), device->store());
  const std::string before = contents_of(device->path("elsewhere"));
  const Answer answer = device->install(bundle);
  EXPECT_EQ(answer.exit_status, 2) << answer.story();
  EXPECT_EQ(answer.code(), "state-store");
  EXPECT_TRUE(contents_of(device->path("elsewhere")) == before);
  expect_original_untouched();
}

TEST_F(TimeOfUse, AHookDirectoryThatOthersMayWriteIsRefused) {
  for (const fs::perms mode : {fs::perms(0775), fs::perms(0757)}) {
    fs::permissions(device->path("hooks.d"), mode);
    const Answer answer = device->install(bundle);
    EXPECT_EQ(answer.exit_status, 2) << answer.story();
    EXPECT_THAT(answer.message(), HasSubstr("can be written by others than its owner root"));
  }
  fs::permissions(device->path("hooks.d"), fs::perms(0755));
  // Opened to others while an update runs: found when the next hook is looked for, and nothing of it is run.
  const Answer answer = install_and([&] {
    write_file(device->path("hooks.d/quiesce"), "#!/bin/sh\ntouch '" + device->path("was-run") + "'\n", 0777);
  });
  EXPECT_NE(answer.outcome(), "armed") << answer.story();
  EXPECT_FALSE(fs::exists(device->path("was-run")));
  expect_original_untouched();
}

}  // namespace
}  // namespace slotkeeper::test

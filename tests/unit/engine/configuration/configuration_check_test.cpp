#include <fstream>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "engine/configuration/configuration.hpp"
#include "tests/support/temporary_directory.hpp"

namespace slotkeeper {
namespace {

// A real mount for the permanent partition, and directories of programs beside it.
class CheckConfiguration : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "mounting and changing owners needs root";
    configuration_.path = "system.toml";
    configuration_.permanent_path = folder_ / "permanent";
    configuration_.health_directory = folder_ / "health.d";
    configuration_.hooks_directory = folder_ / "hooks.d";
    for (const std::string& path : {configuration_.permanent_path, configuration_.health_directory})
      ASSERT_EQ(mkdir(path.c_str(), 0755), 0);
    ASSERT_EQ(mount("none", configuration_.permanent_path.c_str(), "tmpfs", 0, "size=64k"), 0);
    mounted_ = true;
  }
  void TearDown() override { unmount(); }

  void unmount() {
    if (mounted_) {
      EXPECT_EQ(umount(configuration_.permanent_path.c_str()), 0);
    }
    mounted_ = false;
  }
  static void make_program(const std::string& path, mode_t mode = 0755) {
    std::ofstream(path) << "#!/bin/sh\n";
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
  }
  void make_hooks_directory() { ASSERT_EQ(mkdir(configuration_.hooks_directory.c_str(), 0755), 0); }

  void expect_refusal(Errc code, const std::string& gist) {
    auto checked = check_configuration(*storage_, configuration_);
    ASSERT_FALSE(checked.has_value()) << gist;
    EXPECT_EQ(checked.assume_error().code, code);
    EXPECT_NE(checked.assume_error().message.find(gist), std::string::npos) << checked.assume_error().message;
  }
  void expect_good() {
    auto checked = check_configuration(*storage_, configuration_);
    EXPECT_TRUE(checked.has_value()) << checked.assume_error().message;
  }

  test::TemporaryDirectory folder_;
  Configuration configuration_;
  std::unique_ptr<io::Storage> storage_ = io::make_posix_storage();
  bool mounted_ = false;
};

TEST_F(CheckConfiguration, RefusesADecryptionKeyThatOthersCanOpen) {
  configuration_.encryption_key = folder_ / "decryption.key";
  make_program(folder_ / "health.d/10-check");
  expect_good();  // it is missed when a bundle needs it
  const std::string path = configuration_.encryption_key;
  std::ofstream(path) << "key\n";
  for (const mode_t mode : {0604, 0640, 0602, 0660, 0601}) {
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
    expect_refusal(Errc::config, "system.toml: encryption.key: " + path + " can be opened by others");
  }
  ASSERT_EQ(chmod(path.c_str(), 0400), 0);
  expect_good();
  ASSERT_EQ(chown(path.c_str(), 4711, 0), 0);
  expect_refusal(Errc::config, "belongs to user 4711; it must belong to root");
  ASSERT_EQ(unlink(path.c_str()), 0);
  ASSERT_EQ(mkdir(path.c_str(), 0700), 0);
  expect_refusal(Errc::config, "is not a regular file");
}

TEST_F(CheckConfiguration, AcceptsAMountedPartitionAndProgramsOfRoot) {
  expect_good();  // no hook directory at all
  make_hooks_directory();
  make_program(configuration_.hooks_directory + "/reboot");
  make_program(configuration_.health_directory + "/10-network");
  expect_good();
}

TEST_F(CheckConfiguration, AcceptsAMountThatIsReachedThroughALink) {
  const std::string link = folder_ / "link";
  ASSERT_EQ(symlink(configuration_.permanent_path.c_str(), link.c_str()), 0);
  const std::string real = configuration_.permanent_path;
  configuration_.permanent_path = link;
  expect_good();
  configuration_.permanent_path = real;
}

TEST_F(CheckConfiguration, RefusesAPermanentPartitionThatIsNotMounted) {
  unmount();
  expect_refusal(Errc::config, "system.toml: permanent.path: nothing is mounted at " + configuration_.permanent_path);
}

TEST_F(CheckConfiguration, RefusesADirectoryBelowTheMount) {
  const std::string below = configuration_.permanent_path + "/below";
  ASSERT_EQ(mkdir(below.c_str(), 0755), 0);
  const std::string real = configuration_.permanent_path;
  configuration_.permanent_path = below;
  expect_refusal(Errc::config, "nothing is mounted at ");
  configuration_.permanent_path = real;
}

TEST_F(CheckConfiguration, RefusesAPermanentPartitionThatIsAbsentOrAFile) {
  unmount();
  const std::string path = configuration_.permanent_path;
  ASSERT_EQ(rmdir(path.c_str()), 0);
  expect_refusal(Errc::config, "permanent.path: " + path + " does not exist");
  std::ofstream(path) << "x";
  expect_refusal(Errc::config, "permanent.path: " + path + " is not a directory");
}

TEST_F(CheckConfiguration, RefusesHooksThatAreNotRunYet) {
  make_hooks_directory();
  for (const char* name : {"event"}) {
    const std::string path = configuration_.hooks_directory + "/" + name;
    make_program(path);
    expect_refusal(Errc::not_supported_yet, "the hook " + path + " is not supported yet");
    ASSERT_EQ(chmod(path.c_str(), 0644), 0);
    expect_good();  // not executable, so nobody asks for it
    ASSERT_EQ(unlink(path.c_str()), 0);
  }
}

TEST_F(CheckConfiguration, RefusesProgramsThatOthersCouldChange) {
  make_hooks_directory();
  for (const std::string& directory : {configuration_.hooks_directory, configuration_.health_directory}) {
    const std::string path = directory + "/reboot";
    make_program(path);
    expect_good();
    for (const mode_t mode : {0775, 0757, 0666}) {
      ASSERT_EQ(chmod(path.c_str(), mode), 0);
      expect_refusal(Errc::config, path + " can be written by others");
    }
    ASSERT_EQ(chmod(path.c_str(), 0755), 0);
    ASSERT_EQ(chown(path.c_str(), 1000, 0), 0);
    expect_refusal(Errc::config, path + " belongs to user 1000");
    ASSERT_EQ(unlink(path.c_str()), 0);
    ASSERT_EQ(symlink("/bin/true", path.c_str()), 0);
    expect_refusal(Errc::config, path + " is a symbolic link");
    ASSERT_EQ(unlink(path.c_str()), 0);
    expect_good();
  }
}

TEST_F(CheckConfiguration, RefusesDirectoriesThatOthersCouldChange) {
  make_hooks_directory();
  for (const std::string& directory : {configuration_.hooks_directory, configuration_.health_directory}) {
    ASSERT_EQ(chmod(directory.c_str(), 0777), 0);
    expect_refusal(Errc::config, directory + " can be written by others");
    ASSERT_EQ(chmod(directory.c_str(), 0755), 0);
    ASSERT_EQ(chown(directory.c_str(), 1000, 0), 0);
    expect_refusal(Errc::config, directory + " belongs to user 1000");
    ASSERT_EQ(chown(directory.c_str(), 0, 0), 0);
    expect_good();
  }
}

TEST_F(CheckConfiguration, RefusesAFileWhereADirectoryIsConfigured) {
  make_program(configuration_.hooks_directory);
  expect_refusal(Errc::config, configuration_.hooks_directory + " is not a directory");
}

using FindHealthChecks = CheckConfiguration;

TEST_F(FindHealthChecks, ListsExecutablesByName) {
  make_program(configuration_.health_directory + "/20-services");
  make_program(configuration_.health_directory + "/10-network");
  make_program(configuration_.health_directory + "/.10-network.swp", 0600);
  auto found = find_health_checks(*storage_, configuration_);
  ASSERT_TRUE(found.has_value()) << found.assume_error().message;
  EXPECT_EQ(found.assume_value(), (std::vector<std::string>{configuration_.health_directory + "/10-network",
                                                            configuration_.health_directory + "/20-services"}));
}

TEST_F(FindHealthChecks, RefusesAnEmptyOrAbsentDirectoryUnlessAllowed) {
  auto empty = find_health_checks(*storage_, configuration_);
  ASSERT_FALSE(empty.has_value());
  EXPECT_EQ(empty.assume_error().code, Errc::config);
  EXPECT_NE(empty.assume_error().message.find(configuration_.health_directory + " is empty"), std::string::npos);
  ASSERT_EQ(rmdir(configuration_.health_directory.c_str()), 0);
  auto absent = find_health_checks(*storage_, configuration_);
  ASSERT_FALSE(absent.has_value());
  EXPECT_EQ(absent.assume_error().code, Errc::config);
  EXPECT_NE(absent.assume_error().message.find("does not exist"), std::string::npos);
  configuration_.health_allow_empty = true;
  auto allowed = find_health_checks(*storage_, configuration_);
  ASSERT_TRUE(allowed.has_value());
  EXPECT_TRUE(allowed.assume_value().empty());
}

TEST_F(FindHealthChecks, RefusesACheckThatCannotRun) {
  make_program(configuration_.health_directory + "/10-network", 0644);
  auto found = find_health_checks(*storage_, configuration_);
  ASSERT_FALSE(found.has_value());
  EXPECT_EQ(found.assume_error().code, Errc::config);
  EXPECT_NE(found.assume_error().message.find("10-network is not executable"), std::string::npos);
}

TEST(LoadConfiguration, ReadsAFileAndRefusesAMissingOne) {
  test::TemporaryDirectory folder;
  const auto storage = io::make_posix_storage();
  auto missing = load_configuration(*storage, folder / "system.toml");
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.assume_error().code, Errc::config);
  EXPECT_NE(missing.assume_error().message.find(folder / "system.toml"), std::string::npos);
  std::ofstream(folder / "system.toml") << "[devise]\n";
  auto wrong = load_configuration(*storage, folder / "system.toml");
  ASSERT_FALSE(wrong.has_value());
  EXPECT_EQ(wrong.assume_error().code, Errc::config);
  EXPECT_EQ(wrong.assume_error().message, (folder / "system.toml") + ":1: devise: unknown key (did you mean device?)");
}

}  // namespace
}  // namespace slotkeeper

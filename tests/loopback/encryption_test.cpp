// Encrypted bundles on real devices: installed by who has the key, and refused, with nothing changed, by who has not.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sys/stat.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"
#include "tests/loopback/nginx.hpp"
#include "tests/loopback/refusals.hpp"
#include "tests/support/file_contents.hpp"

namespace slotkeeper::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class EncryptedInstall : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    device = std::make_unique<DeviceRig>();
    plain_image = Material::get().image("2.0.0");
    BundleRecipe recipe;
    recipe.images = {{"rootfs", plain_image}};
    recipe.options = {"--recipient", Material::get().recipient("device"), "--recipient",
                      Material::get().recipient("device-rsa")};
    bundle = device->path("encrypted.skb");
    make_bundle(recipe, bundle);
  }

  [[nodiscard]] std::string key_file() const { return device->path("decryption.key"); }
  void give_key(const std::string& recipient, unsigned int mode = 0600) const {
    write_file(key_file(), contents_of(Material::get().recipient_key(recipient)), mode);
    device->edit_configuration("[hooks]", "[encryption]\nkey = \"" + key_file() + "\"\ncertificate = \"" +
                                              Material::get().recipient(recipient) + "\"\n[hooks]");
  }
  void expect_armed(const Answer& answer) const {
    ASSERT_EQ(answer.exit_status, 0) << answer.story();
    EXPECT_EQ(answer.outcome(), "armed") << answer.story();
    EXPECT_TRUE(device->holds('B', "2.0.0"));
  }
  /// By every command that would install it.
  void expect_refused(int exit_status, const std::string& code, const std::string& gist) const {
    for (const char* command : {"install", "preflight"}) {
      const Fingerprint before = device->fingerprint();
      expect_refusal(device->run({command, bundle}), exit_status, code, gist);
      expect_unchanged(before, *device, exit_status);
    }
  }
  [[nodiscard]] static std::int64_t staged(const Answer& answer, const std::string& member) {
    const Json value = answer.at("staged/" + member);
    EXPECT_NE(value.as_integer(), nullptr) << answer.story();
    return value.as_integer() == nullptr ? -1 : *value.as_integer();
  }

  std::unique_ptr<DeviceRig> device;
  std::string plain_image;
  std::string bundle;
};

TEST_F(EncryptedInstall, IsInstalledByEachRecipient) {
  for (const char* recipient : {"device", "device-rsa"}) {
    SCOPED_TRACE(recipient);
    ASSERT_NO_FATAL_FAILURE(SetUp());
    give_key(recipient);
    const Answer answer = device->install(bundle);
    ASSERT_NO_FATAL_FAILURE(expect_armed(answer));
    EXPECT_THAT(answer.output + answer.diagnostics, Not(HasSubstr("PRIVATE KEY")));
    EXPECT_EQ(device->boot(), 'B');
    EXPECT_EQ(device->run({"recover"}).exit_status, 0);
    EXPECT_EQ(device->run({"confirm"}).outcome(), "confirmed");
    EXPECT_EQ(device->install(bundle).outcome(), "nothing-to-do");
  }
}

TEST_F(EncryptedInstall, WithoutAKeyIsRefused) {
  expect_refused(2, "config", "it is encrypted, and .* names no key to decrypt it with");
}

TEST_F(EncryptedInstall, WithAKeyThatIsGoneIsRefusedAndOthersAreNot) {
  give_key("device");
  std::filesystem::remove(key_file());
  expect_refused(2, "config", "encryption.key");
  EXPECT_EQ(device->install(Material::get().bundle("2.0.0")).outcome(), "armed") << "a plain bundle needs no key";
}

TEST_F(EncryptedInstall, WithAKeyThatOthersCanReadIsRefused) {
  give_key("device", 0640);
  ASSERT_EQ(chmod(key_file().c_str(), 0640), 0);
  expect_refused(2, "config", "can be opened by others");
}

TEST_F(EncryptedInstall, ForOthersIsRefused) {
  give_key("stranger");
  expect_refused(4, "incompatible", "it is encrypted, and not for 'CN=Slotkeeper test stranger'");
}

TEST_F(EncryptedInstall, WithAKeyOfAnotherCertificateIsRefused) {
  give_key("device");
  write_file(key_file(), contents_of(Material::get().recipient_key("stranger")), 0600);
  expect_refused(2, "config", "do not belong together");
}

TEST_F(EncryptedInstall, DamagedInTheFramesIsCorrupt) {
  give_key("device");
  auto damaged = BundleFile::read(bundle);
  flip_in_middle(damaged.member("image/rootfs.zst.enc").data);
  damaged.write(bundle);
  const Answer answer = device->install(bundle);
  EXPECT_EQ(answer.exit_status, 4) << answer.story();
  EXPECT_EQ(answer.code(), "corrupt") << answer.story();
  EXPECT_FALSE(device->comes_up('B'));
}

TEST_F(EncryptedInstall, TakesFromTheSlotsWhatTheyHave) {
  give_key("device");
  // The slot that runs has all but some blocks; the target has the first part.
  std::string image = contents_of(Material::get().image("1.0.0"));
  for (std::size_t at = 1 << 20; at < image.size(); at += 100 * 4096) image[at] ^= 1;
  write_file(device->path("rebuild.img"), image);
  BundleRecipe recipe;
  recipe.images = {{"rootfs", device->path("rebuild.img")}};
  recipe.options = {"--recipient", Material::get().recipient("device")};
  make_bundle(recipe, device->path("rebuild.skb"));
  std::string target = image;
  std::fill(target.begin() + (1 << 20), target.end(), 'x');
  std::fstream out(device->slot_device('B'), std::ios::in | std::ios::out | std::ios::binary);
  out.write(target.data(), static_cast<std::streamsize>(target.size())).flush();
  run_tool({"sync", device->slot_device('B')});

  const Answer answer = device->install(device->path("rebuild.skb"));
  ASSERT_EQ(answer.outcome(), "armed") << answer.story();
  EXPECT_TRUE(contents_of(device->slot_device('B')).compare(0, image.size(), image) == 0);
  EXPECT_GT(staged(answer, "in_place_bytes"), 0) << answer.story();
  EXPECT_GT(staged(answer, "running_slot_bytes"), 0) << answer.story();
  EXPECT_LT(staged(answer, "bundle_bytes"), staged(answer, "running_slot_bytes"));
  EXPECT_GT(staged(answer, "bundle_bytes"), 0);
}

TEST_F(EncryptedInstall, IsFetchedByRanges) {
  give_key("device");
  Nginx nginx({});
  std::filesystem::copy_file(bundle, nginx.root("update.skb"));
  ASSERT_NO_FATAL_FAILURE(expect_armed(device->install(nginx.http("/update.skb"))));
  EXPECT_THAT(nginx.requests(), HasSubstr("206"));
}

TEST_F(EncryptedInstall, IsReadFromAStream) {
  give_key("device");
  Nginx nginx({.server = "max_ranges 0;", .tls = {}, .tls_material = nullptr});
  std::filesystem::copy_file(bundle, nginx.root("update.skb"));
  ASSERT_NO_FATAL_FAILURE(expect_armed(device->install(nginx.http("/update.skb"))));
  EXPECT_THAT(nginx.requests(), Not(HasSubstr(" 206 ")));
}

TEST_F(EncryptedInstall, ADeltaIsInstalledToo) {
  give_key("device");
  BundleRecipe recipe;
  recipe.version = "1.0.0";
  recipe.images = {{"rootfs", Material::get().image("1.0.0")}};
  recipe.options = {"--recipient", Material::get().recipient("group")};
  make_bundle(recipe, device->path("old.skb"));
  recipe = {};
  recipe.options = {"--recipient",       Material::get().recipient("device"),
                    "--delta-from",      device->path("old.skb"),
                    "--decryption-key",  Material::get().recipient_key("group"),
                    "--decryption-cert", Material::get().recipient("group")};
  make_bundle(recipe, device->path("delta.skb"));
  ASSERT_NO_FATAL_FAILURE(expect_armed(device->install(device->path("delta.skb"))));
}

TEST_F(EncryptedInstall, InfoShowsTheRecipientsOfATrustedBundleOnly) {
  const Answer info = device->run({"bundle", "info", bundle});
  ASSERT_EQ(info.exit_status, 0) << info.story();
  EXPECT_EQ(info.text("trusted"), "true");
  EXPECT_THAT(info.output, AllOf(HasSubstr(R"("encrypted":true)"), HasSubstr(R"("issuer":"CN=Slotkeeper test ca")")));
  auto unsigned_bundle = BundleFile::read(bundle);
  unsigned_bundle.replace("manifest.cms", "none");
  unsigned_bundle.write(bundle);
  const Answer untrusted = device->run({"bundle", "info", bundle});
  EXPECT_EQ(untrusted.text("trusted"), "false") << untrusted.story();
  EXPECT_EQ(untrusted.text("recipients"), "[]");
}

TEST_F(EncryptedInstall, IsExtractedWithAKey) {
  const std::string file = device->path("extracted.img");
  expect_refusal(device->run({"bundle", "extract", bundle, "rootfs", file}), 2, "config", "--decryption-key");
  EXPECT_FALSE(std::filesystem::exists(file));
  const Answer answer = device->run({"bundle", "extract", bundle, "rootfs", file, "--decryption-key",
                                     Material::get().recipient_key("device-rsa"), "--decryption-cert",
                                     Material::get().recipient("device-rsa")});
  ASSERT_EQ(answer.exit_status, 0) << answer.story();
  EXPECT_TRUE(contents_of(file) == contents_of(plain_image));
  std::filesystem::remove(file);
  give_key("device");
  EXPECT_EQ(device->run({"bundle", "extract", bundle, "rootfs", file}).exit_status, 0) << "by the configuration";
}

/// The container stays one for tar, and the content key one for openssl.
TEST_F(EncryptedInstall, IsTakenApartByHand) {
  run_tool({"tar", "-C", device->path(""), "-xf", bundle});
  const std::string key = device->path("content.key");
  run_tool({"openssl", "cms", "-decrypt", "-inform", "DER", "-binary", "-in", device->path("content-key.cms"), "-recip",
            Material::get().recipient("device"), "-inkey", Material::get().recipient_key("device"), "-out", key});
  EXPECT_EQ(std::filesystem::file_size(key), 32u);
  EXPECT_TRUE(std::filesystem::exists(device->path("index/rootfs.enc")));
}

}  // namespace
}  // namespace slotkeeper::test

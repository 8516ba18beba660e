#include "engine/bundle/bundle_writer.hpp"

#include <algorithm>
#include <filesystem>
#include <functional>

#include <gtest/gtest.h>

#include "tests/support/fault_storage.hpp"
#include "tests/unit/engine/bundle/bundle_workshop.hpp"

namespace slotkeeper::bundle {
namespace {

using test::create;
using test::expect_failure;
using test::policy_with;
using test::read_file;
using test::request_for;
using test::run_tool;
using test::take_apart;
using test::TemporaryDirectory;
using test::TestImage;

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  const auto storage = io::make_posix_storage();
  const auto opened = storage->open_directory(folder).value();
  EXPECT_TRUE(opened
                  ->visit_entries([&](const io::DirectoryEntry& entry) -> Result<void> {
                    names.push_back(entry.name);
                    return success();
                  })
                  .has_value());
  std::ranges::sort(names);
  return names;
}

TEST(BundleWriter, MembersAreThoseThatTarOpensslAndZstdUnderstand) {
  const TemporaryDirectory folder;
  const auto images = test::two_images();
  const auto created = create(request_for(folder, "one.skb", images, "brainpool"));
  ASSERT_TRUE(created.has_value()) << created.error().message;
  const std::string bundle = folder / "one.skb";
  EXPECT_EQ(run_tool({"tar", "-tf", bundle}),
            "manifest.json\nmanifest.cms\nindex/rootfs\nindex/boot-fs\nimage/rootfs.zst\nimage/boot-fs.zst\n");
  EXPECT_EQ(created.value().size_bytes, read_file(bundle).size());

  run_tool({"tar", "-xf", bundle, "-C", folder.path()});
  const std::string manifest = read_file(folder / "manifest.json");
  EXPECT_EQ(manifest, print_manifest(created.value().manifest));
  EXPECT_EQ(created.value().digest, sha256(io::as_bytes(manifest)));
  EXPECT_EQ(
      run_tool({"openssl", "cms", "-verify", "-inform", "DER", "-binary", "-purpose", "any", "-content",
                folder / "manifest.json", "-in", folder / "manifest.cms", "-CAfile", test::certificate_path("ca")}),
      manifest);
  for (const auto& image : images) run_tool({"zstd", "-q", "-t", folder / ("image/" + image.volume + ".zst")});
}

TEST(BundleWriter, MemberOfAnImageOfZerosIsAFrameToo) {
  const TemporaryDirectory folder;
  const auto created = create(request_for(folder, "one.skb", {{"data", std::string(1 << 20, '\0')}}));
  ASSERT_TRUE(created.has_value()) << created.error().message;
  run_tool({"tar", "-xf", folder / "one.skb", "-C", folder.path()});
  run_tool({"zstd", "-q", "-t", folder / "image/data.zst"});
  const auto verified = test::verify_bytes(read_file(folder / "one.skb"), policy_with()).value();
  EXPECT_EQ(verified.index(0).rows.size(), 2u);
  EXPECT_TRUE(test::read_image(verified, 0).value() == std::string(1 << 20, '\0'));
}

TEST(BundleWriter, SameInputsGiveTheSameBytesButForTheSignature) {
  const TemporaryDirectory folder;
  ASSERT_TRUE(create(request_for(folder, "one.skb", test::two_images())).has_value());
  ASSERT_TRUE(create(request_for(folder, "two.skb", test::two_images())).has_value());
  const auto one = take_apart(read_file(folder / "one.skb"));
  const auto two = take_apart(read_file(folder / "two.skb"));
  ASSERT_EQ(one.size(), two.size());
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].name, two[i].name);
    if (one[i].name != "manifest.cms") {
      EXPECT_TRUE(one[i].data == two[i].data) << one[i].name;
    }
  }
}

/// What an older version of this program has packed must stay readable, so these bytes never change.
TEST(BundleWriter, ChunksGrowWithTheImage) {
  const TemporaryDirectory folder;
  // Of the larger one most is a hole.
  auto request = request_for(folder, "one.skb", {{"rootfs", test::image_bytes(1 << 20, 5)}, {"data", "x"}});
  std::filesystem::resize_file(folder / "data.img", std::uint64_t{257} << 20U);
  request.chunk_bytes = 0;
  request.compression_level = 1;
  ASSERT_TRUE(create(request).has_value());
  const auto verified = test::verify_bytes(read_file(folder / "one.skb"), policy_with()).value();
  EXPECT_EQ(verified.index(0).cut_average_bytes, 8u * 1024);
  EXPECT_EQ(verified.index(1).cut_average_bytes, 16u * 1024);
  EXPECT_EQ(verified.index(1).rows.size(), 2u);
}

TEST(BundleWriter, EverySizeOfSectorsComesBack) {
  for (const std::size_t size : {512u, 4096u, 64u * 1024, 64u * 1024 + 512, 3u * 64 * 1024 - 512, (5u << 20U) + 512}) {
    for (const std::uint32_t chunk_bytes : {0u, 64u * 1024, 12288u + 512}) {
      const TemporaryDirectory folder;
      const TestImage image{"rootfs", test::image_bytes(size, 7)};
      auto request = request_for(folder, "one.skb", {image});
      request.chunk_bytes = chunk_bytes;
      ASSERT_TRUE(create(request).has_value());
      const auto verified = test::verify_bytes(read_file(folder / "one.skb"), policy_with());
      ASSERT_TRUE(verified.has_value()) << verified.error().message;
      EXPECT_TRUE(test::read_image(verified.value(), 0).value() == image.bytes) << size << " in " << chunk_bytes;
    }
  }
}

// ---- refusals: nothing is left behind -------------------------------------------------------------------------------

void expect_refused(const TemporaryDirectory& folder, const CreateRequest& request, Errc code, std::string_view gist) {
  const auto before = names_in(folder.path());
  expect_failure(create(request), code, gist);
  EXPECT_EQ(names_in(folder.path()), before);
}

TEST(BundleWriter, ExistingOutputIsNotOverwritten) {
  const TemporaryDirectory folder;
  const auto request = request_for(folder, "one.skb", test::two_images());
  test::write_file(folder / "one.skb", "precious");
  expect_refused(folder, request, Errc::config, "exists already");
  EXPECT_EQ(read_file(folder / "one.skb"), "precious");
}

TEST(BundleWriter, ImagesThatCannotBePackedAreNamed) {
  const TemporaryDirectory folder;
  auto request = request_for(folder, "one.skb", test::two_images());
  request.images[1].path = folder / "missing.img";
  expect_refused(folder, request, Errc::config, "missing.img");
  request.images[1].path = folder.path();
  expect_refused(folder, request, Errc::config, folder.path());
  expect_refused(folder, request_for(folder, "one.skb", {{"rootfs", ""}}), Errc::config, "0 bytes");
  expect_refused(folder, request_for(folder, "one.skb", {{"rootfs", std::string(513, 'x')}}), Errc::config,
                 "513 bytes");
  request = request_for(folder, "one.skb", test::two_images());
  request.images[1].volume = "rootfs";
  expect_refused(folder, request, Errc::config, "two images");
  request.images[1].volume = "../rootfs";
  expect_refused(folder, request, Errc::config, "not a volume's name");
  request.images.clear();
  expect_refused(folder, request, Errc::config, "1 to 16 images");
}

TEST(BundleWriter, DescriptionThatDevicesWouldRefuseIsAConfigurationError) {
  const TemporaryDirectory folder;
  const auto good = request_for(folder, "one.skb", test::two_images());
  auto request = good;
  request.description.version = "";
  expect_refused(folder, request, Errc::config, "'version'");
  request = good;
  request.description.compatible.clear();
  expect_refused(folder, request, Errc::config, "'compatible'");
  request = good;
  request.description.records_min = 2;
  expect_refused(folder, request, Errc::config, "'records'");
  request = good;
  request.chunk_bytes = 100;
  expect_refused(folder, request, Errc::config, "4096");
}

TEST(BundleWriter, SignerThatDevicesWouldRefuseIsAConfigurationError) {
  const TemporaryDirectory folder;
  for (const std::string signer : {"wrong-purpose", "no-purpose", "rsa2048", "sha1"}) {
    expect_refused(folder, request_for(folder, "one.skb", test::two_images(), signer), Errc::config,
                   "devices would refuse");
  }
}

TEST(BundleWriter, MissingFolderIsAConfigurationError) {
  const TemporaryDirectory folder;
  auto request = request_for(folder, "one.skb", test::two_images());
  request.output_path = folder / "nowhere/one.skb";
  expect_refused(folder, request, Errc::config, "nowhere");
}

class CancelsAt final : public ProgressSink {
 public:
  explicit CancelsAt(int reports) : left_(reports) {}
  void progress(Phase, std::uint64_t done, std::uint64_t total) override {
    EXPECT_LE(done, total);
    --left_;
  }
  void notice(std::string_view) override {}
  [[nodiscard]] bool cancel_requested() const override { return left_ <= 0; }

 private:
  int left_;
};

TEST(BundleWriter, CancelledLeavesNothingBehind) {
  const TemporaryDirectory folder;
  const auto request = request_for(folder, "one.skb", test::two_images());
  const auto before = names_in(folder.path());
  for (int reports = 0; reports < 3; ++reports) {
    CancelsAt progress(reports);
    const auto storage = io::make_posix_storage();
    expect_failure(create_bundle(*storage, request, progress), Errc::cancelled);
    EXPECT_EQ(names_in(folder.path()), before);
  }
}

TEST(BundleWriter, LeftoversOfAKilledRunAreReplaced) {
  const TemporaryDirectory folder;
  const auto request = request_for(folder, "one.skb", test::two_images());
  test::write_file(folder / ".one.skb.tmp", std::string(100, 'x'));
  test::write_file(folder / ".one.skb.frames.tmp", std::string(100, 'x'));
  ASSERT_TRUE(create(request).has_value());
  EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"boot-fs.img", "one.skb", "rootfs.img"}));
  EXPECT_TRUE(test::verify_bytes(read_file(folder / "one.skb"), policy_with()).has_value());
}

/// Lets every storage call fail in turn: no success is reported, and a bundle under its name is a whole one.
TEST(BundleWriter, EveryFailedStorageCallIsReported) {
  const TemporaryDirectory folder;
  const auto real = io::make_posix_storage();
  test::FaultStorage storage(*real);
  SilentProgress progress;
  auto request = request_for(folder, "counted.skb", {{"rootfs", test::image_bytes(256 << 10, 9)}});
  ASSERT_TRUE(create_bundle(storage, request, progress).has_value());
  const auto sites = storage.calls_by_site();
  ASSERT_GT(sites.size(), 10u);
  for (const auto& [site, count] : sites) {
    request.output_path = folder / "one.skb";
    storage.reset();
    storage.set({.file = site.file, .line = site.line, .operation = site.operation});
    const auto created = create_bundle(storage, request, progress);
    EXPECT_GE(storage.faults_met(), 1u) << site.file << ":" << site.line << " " << site.operation;
    // Three calls may fail: a look at what is not there, and the removal of what is not there or not needed.
    const bool may_fail = site.operation == "status_of" || site.operation == "remove_file";
    EXPECT_TRUE(may_fail || !created.has_value()) << site.file << ":" << site.line << " " << site.operation;
    for (const auto& name : names_in(folder.path())) {
      if (name == "one.skb") {
        EXPECT_TRUE(test::verify_bytes(read_file(folder / name), policy_with()).has_value());
      }
    }
    run_tool({"rm", "-f", folder / "one.skb", folder / ".one.skb.tmp", folder / ".one.skb.frames.tmp"});
  }
}

}  // namespace
}  // namespace slotkeeper::bundle

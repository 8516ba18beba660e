// Encrypted bundles as a whole: who can open them, and that nobody else learns or changes anything.
#include <set>

#include <gtest/gtest.h>

#include "tests/unit/engine/bundle/bundle_workshop.hpp"

namespace slotkeeper::bundle {
namespace {

using test::decrypted_by;
using test::expect_failure;
using test::MemorySource;
using test::policy_with;
using test::put_together;
using test::read_image;
using test::sign_again;
using test::take_apart;

Result<VerifiedManifest> verify(std::string bytes, const std::string& recipient = "device") {
  return test::verify_bytes(std::move(bytes), policy_with(), decrypted_by(recipient));
}

std::string make(const CreateRequest& request) {
  const auto created = test::create(request);
  if (!created.has_value()) throw std::runtime_error(created.error().message);
  return test::read_file(request.output_path);
}

/// Of two images, for device and group.
const std::string& made() {
  static const std::string bytes = [] {
    const test::TemporaryDirectory folder;
    return make(test::encrypted_for(test::request_for(folder, "x.skb", test::two_images()), {"device", "group"}));
  }();
  return bytes;
}

std::string first_error(const std::string& bytes) {
  const auto manifest = verify(bytes);
  if (!manifest.has_value()) return std::string(info(manifest.error().code).name);
  for (std::size_t image = 0; image < 2; ++image) {
    const auto read = read_image(manifest.value(), image);
    if (!read.has_value()) return std::string(info(read.error().code).name);
  }
  return "none";
}

std::string read_whole(ImageReader& reader) {
  std::string bytes;
  for (auto chunk = reader.next(); chunk.has_value() && chunk.value(); chunk = reader.next()) {
    bytes += chunk.value()->zeros ? std::string(chunk.value()->plain_bytes, '\0')
                                  : std::string(io::as_text(chunk.value()->data));
  }
  return bytes;
}

TEST(Encryption, EveryRecipientGetsTheImages) {
  const auto images = test::two_images();
  for (const char* recipient : {"device", "group"}) {
    const auto manifest = verify(made(), recipient);
    ASSERT_TRUE(manifest.has_value()) << manifest.error().message;
    for (std::size_t i = 0; i < images.size(); ++i) {
      for (const Helpers helpers : {0u, 3u}) {
        const auto read = read_image(manifest.value(), i, 0, helpers);
        ASSERT_TRUE(read.has_value()) << read.error().message;
        EXPECT_TRUE(read.value() == images[i].bytes) << recipient;
      }
      EXPECT_TRUE(read_image(manifest.value(), i, 2).has_value()) << "frames are independent of those before";
    }
  }
}

TEST(Encryption, AStreamIsDecryptedOnTheWay) {
  auto opened = open_bundle(std::make_unique<MemorySource>(made(), false)).value();
  const auto manifest = verify_bundle(std::move(opened), policy_with(), decrypted_by("device")).value();
  EXPECT_TRUE(read_image(manifest, 0).value() == test::two_images()[0].bytes);
  EXPECT_TRUE(read_image(manifest, 1).value() == test::two_images()[1].bytes);
}

TEST(Encryption, NobodyElseGetsAnything) {
  expect_failure(verify(made(), "stranger"), Errc::incompatible, "it is encrypted, and not for");
  expect_failure(test::verify_bytes(made(), policy_with()), Errc::config, "it is encrypted");
}

TEST(Encryption, WhoDecryptsIsAskedOnlyAboutWhatIsEncryptedAndSigned) {
  const test::TemporaryDirectory folder;
  const std::string plain = make(test::request_for(folder, "plain.skb", test::two_images()));
  const FindRecipient must_not_be_asked = []() -> Result<RecipientIdentity> {
    ADD_FAILURE();
    return no_recipient();
  };
  EXPECT_TRUE(test::verify_bytes(plain, policy_with(), must_not_be_asked).has_value());
  expect_failure(test::verify_bytes(made(), policy_with("other-ca"), must_not_be_asked), Errc::untrusted);
}

TEST(Encryption, OneImageAloneCanBeEncrypted) {
  const test::TemporaryDirectory folder;
  auto request = test::request_for(folder, "x.skb", test::two_images());
  request.images[1].encrypt = true;
  expect_failure(test::create(request), Errc::config, "no recipient");
  request.recipients_pem = {test::read_file(test::certificate_path("device-rsa"))};
  const std::string bytes = make(request);
  const auto members = take_apart(bytes);
  EXPECT_EQ(members[2].name, "content-key.cms");
  EXPECT_EQ(members[3].name, "index/rootfs");
  EXPECT_EQ(members[4].name, "index/boot-fs.enc");
  EXPECT_EQ(members[5].name, "image/rootfs.zst");
  EXPECT_EQ(members[6].name, "image/boot-fs.zst.enc");
  const auto manifest = verify(bytes, "device-rsa").value();
  EXPECT_TRUE(read_image(manifest, 0).value() == test::two_images()[0].bytes);
  EXPECT_TRUE(read_image(manifest, 1).value() == test::two_images()[1].bytes);
}

TEST(Encryption, RecipientsOfNothingAreAMistake) {
  const test::TemporaryDirectory folder;
  auto request = test::request_for(folder, "x.skb", test::two_images());
  request.recipients_pem = {test::read_file(test::certificate_path("device"))};
  expect_failure(test::create(request), Errc::config, "no image is to be encrypted");
}

TEST(Encryption, WhatIsStoredShowsNothingOfTheContents) {
  // Zeros and one text: whatever is not encrypted would show.
  const test::TemporaryDirectory folder;
  const std::string secret = "the secret of the vendor";
  std::string image(1 << 20, '\0');
  image.replace(0, secret.size(), secret);
  const std::string bytes =
      make(test::encrypted_for(test::request_for(folder, "x.skb", {{"rootfs", image}}), {"device"}));
  EXPECT_EQ(bytes.find("SKIDX1"), std::string::npos) << "an index";
  EXPECT_EQ(bytes.find("\x28\xb5\x2f\xfd"), std::string::npos) << "a zstd frame";
  EXPECT_EQ(bytes.find(secret), std::string::npos);
  const std::string again =
      make(test::encrypted_for(test::request_for(folder, "y.skb", {{"rootfs", image}}), {"device"}));
  EXPECT_NE(take_apart(bytes)[4].data, take_apart(again)[4].data) << "each bundle has a key of its own";
}

TEST(Encryption, NoNonceIsUsedTwice) {
  const auto manifest = verify(made()).value();
  std::set<Nonce> used;
  std::size_t count = 0;
  for (std::size_t i = 0; i < manifest.manifest().images.size(); ++i) {
    const ImageKey key = manifest.key_of(i);
    EXPECT_EQ(key.content_key, manifest.key_of(0).content_key) << "one key for all images";
    used.insert(nonce_of(key.image, kIndexPosition));
    ++count;
    std::uint64_t offset = 0;
    for (const auto& row : manifest.index(i).rows) {
      if (row.stored_bytes != 0) {
        used.insert(nonce_of(key.image, offset));
        ++count;
      }
      offset += row.plain_bytes;
    }
  }
  EXPECT_GT(count, 40u);
  EXPECT_EQ(used.size(), count);
}

TEST(Encryption, EveryFlippedBitIsCorrupt) {
  const auto members = take_apart(made());
  for (std::size_t member = 2; member < members.size(); ++member) {
    // All of the wrapped key; of the others the beginning, the end with its tag, and samples.
    const std::size_t size = members[member].data.size();
    for (std::size_t at = 0; at < size; at += at < 40 || at + 40 > size || member == 2 ? 1 : size / 40 + 1) {
      auto damaged = members;
      damaged[member].data[at] = static_cast<char>(damaged[member].data[at] ^ (1 << at % 8));
      EXPECT_EQ(first_error(put_together(damaged)), "corrupt") << members[member].name << " at " << at;
    }
  }
}

/// The signature of somebody who does not have the key: it vouches for bytes that do not decrypt.
TEST(Encryption, SignedBytesThatAreNotOfThisBundleAreCorrupt) {
  const test::TemporaryDirectory folder;
  const std::string other =
      make(test::encrypted_for(test::request_for(folder, "x.skb", test::two_images()), {"device"}));
  auto members = take_apart(made());
  auto manifest = parse_manifest(members[0].data).value();
  const auto foreign = take_apart(other);
  members[2].data = foreign[2].data;
  manifest.content_key = WrappedKey{.bytes = foreign[2].data.size(), .digest = sha256(io::as_bytes(foreign[2].data))};
  expect_failure(verify(put_together(sign_again(members, manifest))), Errc::corrupt, "does not decrypt");
}

TEST(Encryption, ImagesCannotChangePlaces) {
  auto members = take_apart(made());
  auto manifest = parse_manifest(members[0].data).value();
  std::swap(manifest.images[0], manifest.images[1]);
  std::swap(members[3], members[4]);
  std::swap(members[5], members[6]);
  expect_failure(verify(put_together(sign_again(members, manifest))), Errc::corrupt, "does not decrypt");
}

TEST(Encryption, TheManifestHasAContentKeyForEncryptedImagesAndOnlyThen) {
  const auto members = take_apart(made());
  const auto manifest = parse_manifest(members[0].data).value();
  auto changed = manifest;
  changed.content_key.reset();
  expect_failure(verify(put_together(sign_again(members, changed))), Errc::corrupt, "content-key");
  changed = manifest;
  for (auto& image : changed.images) image.encrypted = false;
  expect_failure(verify(put_together(sign_again(members, changed))), Errc::corrupt, "content-key");
  changed = manifest;
  changed.content_key->bytes = kWrappedKeyMaxBytes + 1;
  expect_failure(verify(put_together(sign_again(members, changed))), Errc::corrupt, "bytes");
}

TEST(Encryption, InspectionNeedsNoKeyAndTellsNothing) {
  auto bundle = open_bundle(std::make_unique<MemorySource>(made())).value();
  const auto inspection = inspect_bundle_contents(bundle).value();
  EXPECT_EQ(inspection.members.size(), 7u);
  EXPECT_TRUE(inspection.manifest.is_encrypted());
  EXPECT_EQ(recipients_of(inspection.wrapped_key).value().size(), 2u);
}

TEST(Encryption, ADeltaIsEncryptedAndSoMayBeWhatItIsMadeFrom) {
  const test::TemporaryDirectory folder;
  const std::string before = test::image_bytes(2 << 20, 1);
  std::string after = before;
  after.replace(100'000, 5, "other");
  make(test::encrypted_for(test::request_for(folder, "old.skb", {{"rootfs", before}}), {"group"}));
  auto request = test::encrypted_for(test::request_for(folder, "new.skb", {{"rootfs", after}}), {"device"});
  request.delta = DeltaRequest{.old_path = folder / "old.skb", .trust = policy_with(), .full = ""};
  expect_failure(test::create(request), Errc::config, "it is encrypted");
  request.delta->find_recipient = decrypted_by("group");
  const auto manifest = verify(make(request)).value();
  EXPECT_TRUE(manifest.index(0).needs_old_image());
  test::TwoStrings slots;
  slots.old = before;
  ImageReader reader(manifest, 0, {.on_slots = &slots});
  EXPECT_TRUE(read_whole(reader) == after);
}

TEST(Encryption, WhatTheSlotsHoldIsTakenFromThere) {
  const auto images = test::two_images();
  auto source = std::make_unique<MemorySource>(made());
  const MemorySource& held = *source;
  const auto manifest =
      verify_bundle(open_bundle(std::move(source)).value(), policy_with(), decrypted_by("device")).value();
  const auto& rows = manifest.index(0).rows;
  ReusePlan plan(rows.size());
  for (std::size_t row = 1; row < rows.size(); ++row) plan.take_from_target(row);
  test::TwoStrings slots;
  slots.target = images[0].bytes;
  slots.target[1 << 20] ^= 1;  // one chunk has to be fetched and decrypted after all
  const std::uint64_t before = held.bytes_read();
  ImageReader reader(manifest, 0, {.plan = &plan, .on_slots = &slots});
  EXPECT_TRUE(read_whole(reader) == images[0].bytes);
  EXPECT_LT(held.bytes_read() - before, manifest.manifest().images[0].stored_bytes / 2);
}

}  // namespace
}  // namespace slotkeeper::bundle

#include "engine/bundle/bundle_sealer.hpp"

#include <gtest/gtest.h>

#include "tests/unit/engine/bundle/openssl_program.hpp"

namespace slotkeeper::bundle {
namespace {

using test::expect_failure;
using test::identity_of;
using test::kSignedText;
using test::OpensslProgram;
using test::policy_with;
using test::read_file;

TrustPolicy policy_for(std::uint32_t signatures) {
  auto policy = policy_with();
  policy.signatures_required = signatures;
  return policy;
}

TEST(AddSignature, CountsForUsAndForOpensslWhateverTheAlgorithms) {
  std::string cms = sign_manifest(kSignedText, identity_of("p384")).value();
  std::uint32_t count = 1;
  for (const std::string name : {"p256", "rsa3072", "brainpool"}) {
    auto more = add_signature(kSignedText, cms, identity_of(name));
    ASSERT_TRUE(more.has_value()) << more.error().message;
    cms = std::move(more).value();
    const auto verified = verify_manifest_signature(kSignedText, cms, policy_for(++count));
    ASSERT_TRUE(verified.has_value()) << verified.error().message;
    EXPECT_EQ(verified.value().size(), count);
    EXPECT_EQ(OpensslProgram().verify(cms), kSignedText);
  }
  EXPECT_EQ(check_signatures_match(kSignedText, cms).value().size(), 4u);
}

TEST(AddSignature, StandsBesideWhatOpensslSigned) {
  const auto cms = OpensslProgram().sign(OpensslProgram::by("p384", {"-md", "sha512", "-keyid"}));
  const auto more = add_signature(kSignedText, cms, identity_of("p256"));
  ASSERT_TRUE(more.has_value()) << more.error().message;
  EXPECT_TRUE(verify_manifest_signature(kSignedText, more.value(), policy_for(2)).has_value());
  EXPECT_EQ(OpensslProgram().verify(more.value()), kSignedText);
}

TEST(AddSignature, OfAKeyThatHasSignedIsRefused) {
  const auto cms = sign_manifest(kSignedText, identity_of("p256")).value();
  expect_failure(add_signature(kSignedText, cms, identity_of("p256")), Errc::config, "has signed this bundle already");
  // Also under another certificate of the same key, and only then.
  EXPECT_TRUE(add_signature(kSignedText, cms, identity_of("p256-renewed")).has_value());
}

TEST(AddSignature, ToWhatDoesNotMatchIsRefused) {
  const auto cms = sign_manifest(kSignedText, identity_of("p256")).value();
  expect_failure(add_signature(kSignedText + " ", cms, identity_of("p384")), Errc::signature, "does not match");
  expect_failure(add_signature(kSignedText, "junk", identity_of("p384")), Errc::signature, "not CMS");
  auto wrong = identity_of("p384");
  wrong.key_pem = identity_of("p256").key_pem;
  expect_failure(add_signature(kSignedText, cms, wrong), Errc::config, "does not belong");
}

TEST(AddSignature, StopsAtWhatDevicesRead) {
  std::string cms = sign_manifest(kSignedText, identity_of("p384")).value();
  const test::TemporaryDirectory folder;
  test::write_file(folder / "cms", cms);
  test::write_file(folder / "text", kSignedText);
  for (int i = 2; i <= 16; ++i) {  // one key again and again, which only OpenSSL's program does
    test::run_tool({"openssl", "cms", "-resign", "-inform", "DER", "-in", folder / "cms", "-binary", "-outform", "DER",
                    "-out", folder / "more", "-signer", test::certificate_path("p384"), "-inkey",
                    test::key_path("p384"), "-nocerts", "-md", "sha384"});
    test::run_tool({"mv", folder / "more", folder / "cms"});
  }
  cms = read_file(folder / "cms");
  EXPECT_TRUE(verify_manifest_signature(kSignedText, cms, policy_with()).has_value());
  expect_failure(add_signature(kSignedText, cms, identity_of("p256")), Errc::config, "1 to 16 signatures");
}

/// A bundle in a folder, and what `seal_bundle` makes of it.
class SealBundle : public testing::Test {
 protected:
  SealBundle() {
    EXPECT_TRUE(test::create(test::request_for(folder_, "one.skb", test::two_images())).has_value());
    before_ = read_file(path());
  }
  [[nodiscard]] std::string path() const { return folder_ / "one.skb"; }
  Result<SealedBundle> seal(const Seal& seal, const std::string& output) {
    return seal_bundle(*storage_, {.bundle_path = path(), .output_path = output}, seal, progress_);
  }
  static Result<std::string> append(const std::string& manifest, const std::string& cms) {
    return add_signature(manifest, cms, identity_of("p384"));
  }
  /// Nothing else lies in the folder than before.
  void expect_tidy(const std::string& more = "") {
    const std::string expected = "boot-fs.img one.skb rootfs.img" + (more.empty() ? "" : " " + more);
    EXPECT_EQ(test::run_tool(
                  {"sh", "-c", "ls -A \"$1\" | LC_ALL=C sort | paste -sd ' ' | tr -d '\\n'", "sh", folder_.path()}),
              expected);
  }

  test::TemporaryDirectory folder_;
  std::unique_ptr<io::Storage> storage_ = io::make_posix_storage();
  SilentProgress progress_;
  std::string before_;
};

TEST_F(SealBundle, ReplacesTheSignatureAndLeavesEveryOtherByte) {
  const auto sealed = seal(append, path());
  ASSERT_TRUE(sealed.has_value()) << sealed.error().message;
  const std::string after = read_file(path());
  const auto old_members = test::take_apart(before_);
  const auto new_members = test::take_apart(after);
  ASSERT_EQ(old_members.size(), new_members.size());
  for (std::size_t i = 0; i < old_members.size(); ++i) {
    EXPECT_EQ(old_members[i].name, new_members[i].name);
    EXPECT_EQ(old_members[i].data == new_members[i].data, i != 1) << old_members[i].name;
  }
  EXPECT_EQ(test::put_together(new_members), after);
  EXPECT_EQ(new_members[1].data, sealed.value().signature);
  EXPECT_EQ(test::verify_bytes(after, policy_for(2)).value().signers().size(), 2u);
  expect_tidy();
}

TEST_F(SealBundle, WritesAnotherFileAndLeavesTheBundle) {
  ASSERT_TRUE(seal(append, folder_ / "two.skb").has_value());
  EXPECT_EQ(read_file(path()), before_);
  EXPECT_TRUE(test::verify_bytes(read_file(folder_ / "two.skb"), policy_for(2)).has_value());
  expect_failure(seal(append, folder_ / "two.skb"), Errc::config, "exists already");
  expect_tidy("two.skb");
}

TEST_F(SealBundle, LeavesEverythingWhenItIsNotSealed) {
  expect_failure(
      seal([](const std::string&,
              const std::string&) -> Result<std::string> { return make_error(Errc::untrusted, "nobody we know"); },
           path()),
      Errc::untrusted, "nobody we know");
  EXPECT_EQ(read_file(path()), before_);
  test::write_file(path(), before_.substr(0, before_.size() - 700));
  expect_failure(seal(append, path()), Errc::corrupt);
  EXPECT_EQ(read_file(path()), before_.substr(0, before_.size() - 700));
  expect_tidy();
}

TEST_F(SealBundle, LeavesEverythingWhenItIsCancelled) {
  class Cancelled final : public ProgressSink {
   public:
    void progress(Phase, std::uint64_t, std::uint64_t) override {}
    void notice(std::string_view) override {}
    [[nodiscard]] bool cancel_requested() const override { return true; }
  } cancelled;
  expect_failure(seal_bundle(*storage_, {.bundle_path = path(), .output_path = path()}, append, cancelled),
                 Errc::cancelled);
  EXPECT_EQ(read_file(path()), before_);
  expect_tidy();
}

}  // namespace
}  // namespace slotkeeper::bundle

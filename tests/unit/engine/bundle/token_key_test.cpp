// Signing keys on a PKCS#11 token: SoftHSM's, in a folder. The program signs, once for each process: engine and module
// keep what they found and who logged in as long as they are loaded.
#include <gtest/gtest.h>

#include "partitions/io/host.hpp"
#include "tests/unit/engine/bundle/openssl_program.hpp"

namespace slotkeeper::bundle {
namespace {

using test::certificate_path;
using test::policy_with;
using test::read_file;
using test::write_file;

const std::string kPin = "5678";

class TokenKey : public testing::Test {
 protected:
  TokenKey() {
    test::run_tool({"mkdir", folder_ / "tokens"});
    write_file(folder_ / "softhsm.conf", "directories.tokendir = " + (folder_ / "tokens") + "\n");
    write_file(folder_ / "pin", kPin);
    softhsm({"--init-token", "--free", "--label", "vendor", "--so-pin", "1234", "--pin", kPin});
    int id = 1;
    for (const std::string name : {"p256", "rsa3072", "brainpool"}) {
      test::run_tool({"openssl", "pkcs8", "-topk8", "-nocrypt", "-in", test::key_path(name), "-out", folder_ / "key"});
      softhsm({"--import", folder_ / "key", "--token", "vendor", "--label", name, "--id", "0" + std::to_string(id++),
               "--pin", kPin});
    }
    EXPECT_TRUE(test::create(test::request_for(folder_, "one.skb", test::two_images(), "p384")).has_value());
  }

  io::ProcessOutcome run(std::vector<std::string> arguments, const std::vector<std::string>& environment = {}) {
    io::ProcessRequest request{.executable = SLOTKEEPER_PROGRAM,
                               .arguments = std::move(arguments),
                               .environment = {"SOFTHSM2_CONF=" + (folder_ / "softhsm.conf"),
                                               "PKCS11_MODULE_PATH=/usr/lib/softhsm/libsofthsm2.so",
                                               // The engine keeps its tables of methods to the end.
                                               "ASAN_OPTIONS=detect_leaks=0"},
                               .time_limit = std::chrono::seconds(60)};
    request.environment.insert(request.environment.end(), environment.begin(), environment.end());
    auto outcome = host_->run(request);
    EXPECT_TRUE(outcome.has_value());
    return outcome.has_value() ? std::move(outcome).assume_value() : io::ProcessOutcome{};
  }
  /// Signs one.skb also with the certificate of this name.
  io::ProcessOutcome sign(const std::string& name, const std::string& uri,
                          const std::vector<std::string>& environment = {}) {
    return run({"bundle", "sign", "--append", "--cert", certificate_path(name), "--intermediate",
                certificate_path("intermediate"), "--key", uri, folder_ / "one.skb"},
               environment);
  }
  void expect_refused(const io::ProcessOutcome& outcome, const std::string& gist) {
    EXPECT_EQ(outcome.exit_status, 2) << outcome.standard_error;
    EXPECT_NE(outcome.standard_error.find("(config)"), std::string::npos) << outcome.standard_error;
    EXPECT_NE(outcome.standard_error.find(gist), std::string::npos) << outcome.standard_error;
    EXPECT_EQ(outcome.standard_error.find(kPin), std::string::npos) << outcome.standard_error;
    EXPECT_EQ(signers(1).size(), 1u);
  }
  /// All whose signatures on one.skb count; at least so many.
  std::vector<Signer> signers(std::uint32_t at_least) {
    auto policy = policy_with();
    policy.signatures_required = at_least;
    const auto verified = test::verify_bytes(read_file(folder_ / "one.skb"), policy);
    EXPECT_TRUE(verified.has_value()) << verified.error().message;
    return verified.has_value() ? verified.value().signers() : std::vector<Signer>{};
  }
  [[nodiscard]] std::string pin_source() const { return "?pin-source=" + (folder_ / "pin"); }

  test::TemporaryDirectory folder_;
  std::unique_ptr<io::Host> host_ = io::make_posix_host();

 private:
  void softhsm(std::vector<std::string> arguments) {
    std::vector<std::string> command = {"env", "SOFTHSM2_CONF=" + (folder_ / "softhsm.conf"), "softhsm2-util"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    test::run_tool(command);
  }
};

TEST_F(TokenKey, SignsWithEveryAlgorithmAndOpensslAgrees) {
  std::uint32_t count = 1;
  for (const std::string name : {"p256", "rsa3072", "brainpool"}) {
    const auto outcome = sign(name, "pkcs11:token=vendor;object=" + name + ";type=private" + pin_source());
    ASSERT_EQ(outcome.exit_status, 0) << outcome.standard_error;
    EXPECT_EQ(signers(++count).size(), count);
  }
  test::run_tool({"tar", "-xf", folder_ / "one.skb", "-C", folder_.path()});
  test::run_tool({"openssl", "cms", "-verify", "-inform", "DER", "-binary", "-purpose", "any", "-content",
                  folder_ / "manifest.json", "-in", folder_ / "manifest.cms", "-CAfile", certificate_path("ca")});
  EXPECT_NE(test::OpensslProgram().describe(read_file(folder_ / "manifest.cms")).find("rsassaPss"), std::string::npos);
}

TEST_F(TokenKey, MakesBundlesAndSignsThemAnew) {
  write_file(folder_ / "m.toml",
             "version = \"1\"\ncompatible = \"konnektor-x1\"\n[[image]]\nvolume = \"rootfs\"\nfile = \"rootfs.img\"\n");
  test::run_tool({"rm", folder_ / "one.skb"});
  const auto created =
      run({"bundle", "create", "--manifest", folder_ / "m.toml", "--cert", certificate_path("p256"), "--key",
           "pkcs11:token=vendor;object=p256" + pin_source(), "--output", folder_ / "one.skb"});
  ASSERT_EQ(created.exit_status, 0) << created.standard_error;
  EXPECT_EQ(signers(1).at(0).subject, "CN=Slotkeeper test p256");
  const auto resigned = run({"bundle", "resign", "--trust", certificate_path("ca"), "--cert",
                             certificate_path("brainpool"), "--intermediate", certificate_path("intermediate"), "--key",
                             "pkcs11:token=vendor;object=brainpool" + pin_source(), folder_ / "one.skb"});
  ASSERT_EQ(resigned.exit_status, 0) << resigned.standard_error;
  ASSERT_EQ(signers(1).size(), 1u);
  EXPECT_EQ(signers(1)[0].algorithm, "brainpoolP256r1");
}

TEST_F(TokenKey, NeedsItsPin) {
  const std::string uri = "pkcs11:token=vendor;object=p256";
  expect_refused(sign("p256", uri), "its PIN is missing or wrong");
  expect_refused(sign("p256", uri, {"SLOTKEEPER_PIN=8765"}), "PIN incorrect");
  expect_refused(sign("p256", uri + "?pin-source=/nowhere"), "its PIN is missing or wrong");
  EXPECT_EQ(sign("p256", uri, {"SLOTKEEPER_PIN=" + kPin}).exit_status, 0);
  EXPECT_EQ(signers(2).size(), 2u);
}

TEST_F(TokenKey, IsNotUsedWithAPinOnTheCommandLine) {
  expect_refused(sign("p256", "pkcs11:token=vendor;object=p256?pin-value=" + kPin),
                 "a PIN does not belong on a command line");
}

TEST_F(TokenKey, IsRefusedWhereItIsNotThereOrAnother) {
  for (const std::string uri : {"pkcs11:token=vendor;object=other", "pkcs11:token=other;object=p256", "pkcs11:"}) {
    expect_refused(sign("p256", uri + pin_source()), "not on a PKCS#11 token that is there");
  }
  expect_refused(sign("p256", "pkcs11:token=vendor;object=brainpool" + pin_source()),
                 "does not belong to the certificate");
  expect_refused(sign("p256", "pkcs11:token=vendor;object=p256" + pin_source(), {"OPENSSL_ENGINES=/nowhere"}),
                 "this OpenSSL has no engine for PKCS#11; install libengine-pkcs11-openssl");
}

}  // namespace
}  // namespace slotkeeper::bundle

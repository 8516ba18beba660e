// Bundles from a URL: the real program, a real web server, real devices.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"
#include "tests/loopback/nginx.hpp"
#include "tests/loopback/refusals.hpp"
#include "tests/support/played_http_server.hpp"
#include "tests/support/temporary_directory.hpp"

namespace slotkeeper::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class FromUrl : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    device = std::make_unique<DeviceRig>();
  }

  /// With the bundle of version 2.0.0 as /update.skb.
  void serve(const Nginx::Options& options = {}) {
    nginx = std::make_unique<Nginx>(options);
    std::filesystem::copy_file(Material::get().bundle("2.0.0"), nginx->root("update.skb"));
  }
  /// Lines of the table [source].
  void configure(const std::string& lines) const {
    device->edit_configuration("[hooks]", "[source]\n" + lines + "\n[hooks]");
  }

  void expect_armed(const Answer& answer) const {
    ASSERT_EQ(answer.exit_status, 0) << answer.story();
    EXPECT_EQ(answer.outcome(), "armed") << answer.story();
    EXPECT_TRUE(device->holds('B', "2.0.0"));
    EXPECT_EQ(answer.text("last_check/level"), "frozen") << answer.story();
  }
  /// The update was begun and taken back; the same command works once the reason is gone.
  void expect_rolled_back(const Answer& answer, const std::string& code, const std::string& gist) const {
    EXPECT_EQ(answer.exit_status, 8) << answer.story();
    EXPECT_EQ(answer.code(), code) << answer.story();
    EXPECT_EQ(answer.text("error/phase"), "stage");
    EXPECT_THAT(answer.message(), HasSubstr(gist));
    EXPECT_EQ(device->variable("BOOT_ORDER"), "A");
    EXPECT_EQ(device->run({"recover"}).outcome(), "nothing-to-do");
    EXPECT_FALSE(std::filesystem::exists(device->permanent(".slotkeeper/reserve")));
  }

  std::unique_ptr<DeviceRig> device;
  std::unique_ptr<Nginx> nginx;
};

std::vector<std::string> in_mount_namespace(const std::string& preparation, const std::vector<std::string>& command) {
  std::vector<std::string> words = {"unshare", "--mount", "sh", "-c", preparation + " && exec \"$@\"", "sh"};
  words.insert(words.end(), command.begin(), command.end());
  return words;
}

TEST_F(FromUrl, SaysThatLibcurlIsMissing) {
  // The loader takes the first file of that name, and this one is no library.
  const TemporaryDirectory folder;
  std::ofstream(folder / "libcurl.so.4") << "none";
  const auto without_libcurl = [&](const std::vector<std::string>& arguments) {
    std::vector<std::string> words = device->command(arguments);
    words.insert(words.begin(), {"env", "LD_LIBRARY_PATH=" + (folder / "")});
    return run_program(words);
  };
  serve();
  const Answer answer = without_libcurl({"install", nginx->http("/update.skb")});
  EXPECT_EQ(answer.code(), "not-supported-yet") << answer.story();
  EXPECT_THAT(answer.message(), AllOf(HasSubstr("need libcurl"), HasSubstr("install it, or fetch the bundle")));
  EXPECT_EQ(nginx->requests(), "");
  EXPECT_EQ(without_libcurl({"status"}).exit_status, 0) << "libcurl is not loaded where no URL is opened";
}

TEST_F(FromUrl, InstallsOverHttp) {
  serve();
  const Answer answer = device->install(nginx->http("/update.skb"));
  ASSERT_NO_FATAL_FAILURE(expect_armed(answer));
  const std::string requests = nginx->requests();
  // The beginning, what follows the last frame, and the frames in pieces of 512 KiB.
  const auto count = static_cast<std::uint64_t>(std::ranges::count(requests, '\n'));
  EXPECT_LE(count, std::filesystem::file_size(nginx->root("update.skb")) / (512 << 10) + 4) << requests;
  EXPECT_THAT(requests, HasSubstr("206"));
  EXPECT_THAT(requests, HasSubstr("\"Slotkeeper/"));
  EXPECT_EQ(device->boot(), 'B');
  EXPECT_EQ(device->run({"recover"}).exit_status, 0);
  EXPECT_EQ(device->run({"confirm"}).outcome(), "confirmed");
  const Answer again = device->install(nginx->http("/update.skb"));
  EXPECT_EQ(again.outcome(), "nothing-to-do") << again.story();
}

TEST_F(FromUrl, EveryCommandThatTakesABundleTakesAUrl) {
  serve();
  const std::string url = nginx->http("/update.skb");
  const Fingerprint before = device->fingerprint();
  Answer answer = device->run({"preflight", url});
  EXPECT_EQ(answer.exit_status, 0) << answer.story();
  answer = device->run({"bundle", "info", url});
  EXPECT_EQ(answer.text("trusted"), "true") << answer.story();
  EXPECT_EQ(answer.text("size_bytes"), std::to_string(std::filesystem::file_size(nginx->root("update.skb"))));
  answer = device->run({"bundle", "extract", url, "rootfs", device->path("extracted")});
  EXPECT_EQ(answer.exit_status, 0) << answer.story();
  EXPECT_TRUE(contents_of(device->path("extracted")) == contents_of(Material::get().image("2.0.0")));
  EXPECT_EQ(difference(before, device->fingerprint()), "");
}

TEST_F(FromUrl, InstallsOverHttpsWithAPinnedCaAndAClientCertificate) {
  const TlsMaterial tls;
  serve({.tls = "ssl_client_certificate " + tls.ca() + "; ssl_verify_client on;", .tls_material = &tls});
  const std::string url = nginx->https("/update.skb");
  const std::string plain = device->configuration();
  const Fingerprint before = device->fingerprint();

  Answer answer = device->install(url);
  expect_refusal(answer, 8, "source-unreachable", "127.0.0.1 does not prove who it is .*check source.ca");
  configure("ca = \"" + tls.other_ca() + "\"");
  answer = device->install(url);
  expect_refusal(answer, 8, "source-unreachable", "127.0.0.1 does not prove who it is .*check source.ca");
  device->set_configuration(plain);
  configure("ca = \"" + tls.ca() + "\"");
  answer = device->install(url);
  expect_refusal(answer, 8, "source-unreachable", "answered 400 .*client-certificate");
  device->set_configuration(plain);
  configure("ca = \"" + tls.ca() + "\"\nclient-certificate = \"" + tls.certificate("client") + "\"\nclient-key = \"" +
            tls.key("server") + "\"");
  answer = device->install(url);
  expect_refusal(answer, 2, "config", "source.client-certificate and source.client-key");
  expect_unchanged(before, *device, 8);

  device->set_configuration(plain);
  configure("ca = \"" + tls.ca() + "\"\nclient-certificate = \"" + tls.certificate("client") + "\"\nclient-key = \"" +
            tls.key("client") + "\"");
  ASSERT_NO_FATAL_FAILURE(expect_armed(device->install(url)));
}

TEST_F(FromUrl, APinnedCaIsTheOnlyOneThatIsTrusted) {
  const TlsMaterial tls;
  serve({.tls_material = &tls});
  // The server's CA among those of the system, as the folder of certificates has them.
  const std::string folder = device->path("certificates");
  std::filesystem::create_directory(folder);
  std::string name = run_tool({"openssl", "x509", "-hash", "-noout", "-in", tls.ca()});
  name.erase(name.find_last_not_of('\n') + 1);
  std::filesystem::copy_file(tls.ca(), folder + "/" + name + ".0");
  std::filesystem::copy_file(tls.ca(), folder + "/ca-certificates.crt");
  const std::string mount = "mount --bind '" + folder + "' /etc/ssl/certs";
  const auto info = [&] {
    return run_program(in_mount_namespace(mount, device->command({"bundle", "info", nginx->https("/update.skb")})));
  };
  EXPECT_EQ(info().exit_status, 0) << "the system's certificates count where none is pinned";
  configure("ca = \"" + tls.other_ca() + "\"");
  const Answer answer = info();
  EXPECT_EQ(answer.code(), "source-unreachable") << answer.story();
}

TEST_F(FromUrl, ACertificateForAnotherNameIsRefused) {
  const TlsMaterial tls;
  serve({.tls_material = &tls});
  configure("ca = \"" + tls.ca() + "\"");
  std::string url = nginx->https("/update.skb");
  url.replace(url.find("127.0.0.1"), 9, "localhost");
  expect_refusal(device->install(url), 8, "source-unreachable", "localhost does not prove who it is");
}

TEST_F(FromUrl, GoesOnWhenTheServerWasAwayForAMoment) {
  serve({.server = "limit_rate 1m;"});
  Program install(device->command({"install", nginx->http("/update.skb")}));
  ASSERT_TRUE(install.read_until(progress_of("stage", 1 << 20)));
  nginx->kill();
  std::this_thread::sleep_for(seconds(2));
  nginx->start();
  const Answer answer = install.finish();
  ASSERT_NO_FATAL_FAILURE(expect_armed(answer));
  EXPECT_THAT(answer.output, HasSubstr("trying again in"));
}

TEST_F(FromUrl, AServerThatStaysAwayEndsTheUpdateAndTheNextOneWorks) {
  serve({.server = "limit_rate 1m;"});
  configure("retries = 1");
  Program install(device->command({"install", nginx->http("/update.skb")}));
  ASSERT_TRUE(install.read_until(progress_of("stage", 1 << 20)));
  nginx->kill();
  expect_rolled_back(install.finish(), "source-unreachable", "127.0.0.1");
  nginx->start();
  ASSERT_NO_FATAL_FAILURE(expect_armed(device->install(nginx->http("/update.skb"))));
}

TEST_F(FromUrl, AServerWithoutRangesIsReadOnceInOrder) {
  serve({.server = "max_ranges 0;"});
  Answer answer = device->run({"bundle", "info", nginx->http("/update.skb")});
  EXPECT_EQ(answer.text("trusted"), "true") << answer.story();
  answer = device->install(nginx->http("/update.skb"));
  ASSERT_NO_FATAL_FAILURE(expect_armed(answer));
  EXPECT_EQ(std::ranges::count(nginx->requests(), '\n'), 2) << nginx->requests();
}

TEST_F(FromUrl, AContentThatIsReplacedMeanwhileEndsTheUpdate) {
  for (const std::string ranges : {"", "max_ranges 0;"}) {
    serve({.server = "limit_rate 1m; " + ranges});
    Program install(device->command({"install", nginx->http("/update.skb")}));
    ASSERT_TRUE(install.read_until(progress_of("stage", 1 << 20)));
    std::filesystem::copy_file(Material::get().bundle("3.0.0"), nginx->root("new"));
    // nginx makes the entity tag of the size and the second of the last change, and both are quickly the same.
    std::filesystem::last_write_time(nginx->root("new"),
                                     std::filesystem::file_time_type::clock::now() + std::chrono::seconds(5));
    std::filesystem::rename(nginx->root("new"), nginx->root("update.skb"));
    // The stream is that of the file it was begun with, until it breaks.
    if (!ranges.empty()) nginx->start();
    expect_rolled_back(install.finish(), "source-changed", "was replaced while it was read");
  }
}

TEST_F(FromUrl, ABundleThatDiffersFromWhatWasSignedIsCorrupt) {
  // Another content under the same entity tag: only the signature tells.
  const std::string good = contents_of(Material::get().bundle("2.0.0"));
  std::string bad = good;
  bad[good.size() / 2] = static_cast<char>(bad[good.size() / 2] ^ 1);
  const PlayedHttpServer server([&](const HttpRequest& request, const PlayedHttpServer::Connection& connection) {
    connection.send(part_answer(request, request.number < 2 ? good : bad));
  });
  const Answer answer = device->install(server.url());
  EXPECT_EQ(answer.exit_status, 4) << answer.story();
  EXPECT_EQ(answer.code(), "corrupt");
}

TEST_F(FromUrl, ATruncatedFileIsRefusedAndNothingChanged) {
  serve();
  const std::string url = nginx->http("/update.skb");
  for (const std::uintmax_t left :
       {std::uintmax_t{0}, std::uintmax_t{300}, std::uintmax_t{3000}, std::uintmax_t{3} << 20,
        std::filesystem::file_size(nginx->root("update.skb")) - 1}) {
    std::filesystem::resize_file(nginx->root("update.skb"), left);
    const Fingerprint before = device->fingerprint();
    const Answer answer = device->install(url);
    EXPECT_EQ(answer.exit_status, 8) << left << answer.story();
    EXPECT_EQ(answer.code(), "source-truncated") << left << answer.story();
    expect_unchanged(before, *device, answer.exit_status);
    std::filesystem::copy_file(Material::get().bundle("2.0.0"), nginx->root("update.skb"),
                               std::filesystem::copy_options::overwrite_existing);
  }
}

TEST_F(FromUrl, WhatTheServerRefusesIsUnreachableAndNothingChanged) {
  const TlsMaterial tls;
  serve({.server = "location /loop { return 302 /loop; } location /secret { return 403; } "
                   "location /broken { return 503; } location /plain { return 302 http://$http_host/update.skb; }",
         .tls_material = &tls});
  configure("ca = \"" + tls.ca() + "\"\nretries = 1");
  const Fingerprint before = device->fingerprint();
  expect_refusal(device->install(nginx->http("/missing.skb")), 8, "source-unreachable", "127.0.0.1 answered 404 .*URL");
  expect_refusal(device->install(nginx->http("/secret")), 8, "source-unreachable", "answered 403");
  expect_refusal(device->install(nginx->http("/broken")), 8, "source-unreachable", "answered 503 .*tried 2 times");
  expect_refusal(device->install(nginx->http("/loop")), 8, "source-unreachable", "redirects more than 5 times");
  expect_refusal(device->install(nginx->https("/plain")), 8, "source-unreachable", "https is not left for http");
  expect_refusal(device->install("https://host.invalid/x"), 8, "source-unreachable", "host.invalid cannot be resolved");
  expect_refusal(device->install("https://host:port/x"), 2, "usage", "no URL");
  expect_unchanged(before, *device, 8);
}

TEST_F(FromUrl, TheRateHolds) {
  serve();
  configure("max-rate = \"2 MiB\"");
  const auto begin = steady_clock::now();
  const Answer answer = device->install(nginx->http("/update.skb"));
  const auto took = std::chrono::duration<double>(steady_clock::now() - begin).count();
  ASSERT_NO_FATAL_FAILURE(expect_armed(answer));
  const auto size = static_cast<double>(std::filesystem::file_size(nginx->root("update.skb")));
  EXPECT_GE(took, size / (2 << 20) - 0.3);
}

TEST_F(FromUrl, GoesThroughAProxy) {
  serve();
  Nginx proxy({.server = "location / { proxy_pass http://$http_host$request_uri; proxy_buffering off; }"});
  configure("proxy = \"" + proxy.http("") + "\"");
  ASSERT_NO_FATAL_FAILURE(expect_armed(device->install(nginx->http("/update.skb"))));
  EXPECT_THAT(proxy.requests(), HasSubstr("GET /update.skb 206"));
}

TEST_F(FromUrl, CancellingEndsASlowUpdateWithinSeconds) {
  serve({.server = "limit_rate 50k;"});
  Program install(device->command({"install", nginx->http("/update.skb")}));
  ASSERT_TRUE(install.read_until(progress_of("stage")));
  const auto begin = steady_clock::now();
  install.signal(SIGTERM);
  const Answer answer = install.finish();
  EXPECT_EQ(answer.exit_status, 130) << answer.story();
  EXPECT_LT(steady_clock::now() - begin, seconds(3));
  EXPECT_EQ(device->variable("BOOT_ORDER"), "A");
}

TEST_F(FromUrl, CancellingDoesNotWaitForANameServer) {
  write_file(device->path("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:20\n");
  // In a network of its own somebody listens there who never answers.
  const std::string quiet = "mount --bind '" + device->path("resolv.conf") +
                            "' /etc/resolv.conf && ip link set lo up && "
                            "{ timeout 20 nc -u -l -k 127.0.0.1 53 </dev/null >/dev/null 2>&1 & }";
  std::vector<std::string> command =
      in_mount_namespace(quiet, device->command({"bundle", "info", "http://update.example/update.skb"}));
  command.insert(command.begin() + 1, "--net");
  Program info(command);
  std::this_thread::sleep_for(seconds(1));
  const auto begin = steady_clock::now();
  info.signal(SIGTERM);
  const Answer answer = info.finish();
  EXPECT_EQ(answer.exit_status, 130) << answer.story();
  EXPECT_LT(steady_clock::now() - begin, milliseconds(1500));
}

TEST_F(FromUrl, WhatAUrlHidesIsPrintedAndRecordedNowhere) {
  serve({.server = "location /no { return 404; }"});
  const auto with_secrets = [this](const std::string& path) {
    std::string url = nginx->http(path + "?token=verysecret");
    return url.insert(url.find("//") + 2, "user:topsecret@");
  };
  // Refused by a gate after the bundle was read: that is recorded with the location.
  device->fill_permanent(70);
  const Answer postponed = device->install(with_secrets("/update.skb"));
  EXPECT_EQ(postponed.exit_status, 3) << postponed.story();
  const Answer missing = device->install(with_secrets("/no"));
  EXPECT_EQ(missing.exit_status, 8) << missing.story();
  EXPECT_THAT(missing.message(), HasSubstr("http://...@127.0.0.1"));
  const Answer history = device->run({"history"});
  EXPECT_THAT(history.output, HasSubstr("/update.skb?..."));
  for (const Answer& answer : {postponed, missing, history}) {
    EXPECT_THAT(answer.story(), AllOf(Not(HasSubstr("topsecret")), Not(HasSubstr("verysecret"))));
  }
  EXPECT_EQ(contents_of(device->store()).find("topsecret"), std::string::npos);
}

}  // namespace
}  // namespace slotkeeper::test

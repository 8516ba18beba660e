// The program itself, as callers start it.
#include <gtest/gtest.h>

#include "engine/json/json.hpp"
#include "partitions/io/host.hpp"
#include "tests/support/temporary_directory.hpp"

namespace slotkeeper {
namespace {

class Program : public testing::Test {
 protected:
  // `line` is what a shell is given after the program's name.
  io::ProcessOutcome run(const std::string& line) {
    auto outcome = host_->run({.executable = "/bin/sh",
                               .arguments = {"-c", "\"$PROGRAM\" " + line},
                               .environment = {std::string("PROGRAM=") + SLOTKEEPER_PROGRAM, "LC_ALL=C"},
                               .time_limit = std::chrono::seconds(60)});
    EXPECT_TRUE(outcome.has_value());
    return outcome.has_value() ? std::move(outcome).assume_value() : io::ProcessOutcome{};
  }
  static Json only_line_of(const std::string& text) {
    EXPECT_EQ(text.find('\n'), text.size() - 1) << text;
    auto parsed = Json::parse(text, 1 << 16);
    EXPECT_TRUE(parsed.has_value()) << text;
    return parsed.has_value() ? std::move(parsed).assume_value() : Json();
  }
  static std::string member(const Json& json, std::string_view key) {
    const Json* found = json.find(key);
    return found == nullptr ? "(absent)" : found->print();
  }

  std::unique_ptr<io::Host> host_ = io::make_posix_host();
  test::TemporaryDirectory folder_;
};

TEST_F(Program, AnswersHelpAndVersionWithoutConfiguration) {
  for (const char* line : {"--help", "install --help", "--version", "--config /nowhere status -h"}) {
    const auto outcome = run(line);
    EXPECT_EQ(outcome.exit_status, 0) << line;
    EXPECT_FALSE(outcome.standard_output.empty()) << line;
    EXPECT_EQ(outcome.standard_error, "") << line;
  }
}

TEST_F(Program, SaysWhatIsWrongOnStandardErrorAndNothingElsewhere) {
  const auto outcome = run("instal x");
  EXPECT_EQ(outcome.exit_status, 2);
  EXPECT_EQ(outcome.standard_output, "");
  EXPECT_TRUE(outcome.standard_error.starts_with(
      "slotkeeper: instal failed (usage): there is no command \"instal\"; did you mean install?"))
      << outcome.standard_error;
}

TEST_F(Program, PrintsOneJsonResultForEveryUsageError) {
  const std::pair<const char*, const char*> cases[] = {
      {"--json", "\"\""},
      {"frob --json", "\"frob\""},
      {"--json bundle frob", "\"bundle frob\""},
      {"install --json", "\"install\""},
      {"--json status --bogus", "\"status\""},
      {"--booted-slot C --json status", "\"status\""},
  };
  for (const auto& [line, command] : cases) {
    const auto outcome = run(line);
    EXPECT_EQ(outcome.exit_status, 2) << line;
    const Json json = only_line_of(outcome.standard_output);
    EXPECT_EQ(member(json, "event"), "\"result\"");
    EXPECT_EQ(member(json, "command"), command) << line;
    EXPECT_EQ(member(json, "outcome"), "\"failed\"");
    EXPECT_EQ(member(json, "transaction"), "null");
    EXPECT_EQ(member(json.find("error") != nullptr ? *json.find("error") : Json(), "code"), "\"usage\"") << line;
    EXPECT_NE(json.find("time"), nullptr);
  }
}

TEST_F(Program, NamesTheConfigurationThatIsMissingOrWrong) {
  auto missing = run("--json --config " + (folder_ / "system.toml") + " status");
  EXPECT_EQ(missing.exit_status, 2);
  const Json json = only_line_of(missing.standard_output);
  ASSERT_NE(json.find("error"), nullptr);
  EXPECT_EQ(member(*json.find("error"), "code"), "\"config\"");
  EXPECT_NE(member(*json.find("error"), "message").find(folder_ / "system.toml"), std::string::npos);
}

/// An OpenSSL that is told to use nothing but FIPS algorithms, and has none.
TEST_F(Program, SaysWhatOpensslLacksBeforeSignaturesAreLookedAt) {
  ASSERT_EQ(run("--version; printf 'openssl_conf=i\\n[i]\\nalg_section=a\\n[a]\\ndefault_properties=fips=yes\\n' >" +
                (folder_ / "openssl.cnf"))
                .exit_status,
            0);
  const std::string gist =
      "the OpenSSL of this machine lacks SHA256, SHA384, SHA512, ECDSA, RSA, prime256v1, secp384r1, "
      "brainpoolP256r1, brainpoolP384r1";
  auto host = io::make_posix_host();
  for (const std::string command : {"info", "resign"}) {
    std::vector<std::string> arguments = {"--json", "bundle", command, "/nowhere.skb"};
    if (command == "resign") arguments.insert(arguments.end(), {"--cert", "/c", "--key", "/k"});
    const auto outcome = host->run({.executable = SLOTKEEPER_PROGRAM,
                                    .arguments = arguments,
                                    .environment = {"OPENSSL_CONF=" + (folder_ / "openssl.cnf")},
                                    .time_limit = std::chrono::seconds(60)});
    ASSERT_TRUE(outcome.has_value());
    EXPECT_EQ(outcome.assume_value().standard_output.find(R"({"event":"notice","message":")" + gist), 0u)
        << outcome.assume_value().standard_output;
  }
  EXPECT_EQ(run("--json bundle info /nowhere.skb").standard_output.find("lacks"), std::string::npos);
}

TEST_F(Program, KeepsItsExitStatusWhenNobodyReadsOrTheStreamsAreClosed) {
  for (const char* line : {"status >&-", "status >&- 2>&- <&-", "--json status >/dev/full", "status 2>/dev/full"})
    EXPECT_EQ(run(std::string("--config /nowhere ") + line).exit_status, 2) << line;
}

}  // namespace
}  // namespace slotkeeper

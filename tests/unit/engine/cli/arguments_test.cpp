#include "engine/cli/arguments.hpp"

#include <gtest/gtest.h>

#include "engine/cli/help.hpp"

namespace slotkeeper::cli {
namespace {

using Words = std::vector<std::string>;

Arguments accepted(const Words& words) {
  auto parsed = parse_arguments(words);
  EXPECT_TRUE(parsed.has_value()) << (parsed.has_value() ? "" : parsed.assume_error().message);
  return parsed.has_value() ? std::move(parsed).assume_value() : Arguments{};
}

std::string refusal_of(const Words& words) {
  auto parsed = parse_arguments(words);
  EXPECT_FALSE(parsed.has_value()) << testing::PrintToString(words);
  if (parsed.has_value()) return "";
  EXPECT_EQ(parsed.assume_error().code, Errc::usage);
  return parsed.assume_error().message;
}

TEST(ParseArguments, KnowsEveryCommandOfTheContract) {
  const std::pair<Words, Command> cases[] = {
      {{"bundle", "create", "--manifest", "m", "--cert", "c", "--key", "k", "--output", "o"}, Command::bundle_create},
      {{"bundle", "info", "b"}, Command::bundle_info},
      {{"bundle", "extract", "b", "v", "f"}, Command::bundle_extract},
      {{"bundle", "sign", "--append", "--cert", "c", "--key", "k", "b"}, Command::bundle_sign},
      {{"bundle", "timestamp", "--request", "r", "b"}, Command::bundle_timestamp},
      {{"bundle", "resign", "--cert", "c", "--key", "k", "b"}, Command::bundle_resign},
      {{"provision"}, Command::provision},
      {{"preflight", "b"}, Command::preflight},
      {{"compact"}, Command::compact},
      {{"install", "b"}, Command::install},
      {{"recover"}, Command::recover},
      {{"confirm"}, Command::confirm},
      {{"rollback"}, Command::rollback},
      {{"cancel"}, Command::cancel},
      {{"mark", "A", "good"}, Command::mark},
      {{"quarantine", "list"}, Command::quarantine_list},
      {{"quarantine", "clear"}, Command::quarantine_clear},
      {{"status"}, Command::status},
      {{"history"}, Command::history},
      {{"verify"}, Command::verify},
  };
  for (const auto& [words, command] : cases) {
    const Arguments arguments = accepted(words);
    EXPECT_EQ(arguments.command, command) << testing::PrintToString(words);
    EXPECT_EQ(arguments.name, outline_of(words).command);
    EXPECT_EQ(arguments.config, "/etc/slotkeeper/system.toml");
    EXPECT_FALSE(arguments.json || arguments.force || arguments.quiet || arguments.verbose);
    EXPECT_EQ(arguments.booted_slot, std::nullopt);
  }
}

TEST(ParseArguments, TakesGlobalOptionsBeforeAndAfterTheCommand) {
  const Words before = {"--config", "/c", "--json", "--booted-slot", "B", "-q", "bundle", "info", "x.skb"};
  const Words after = {"bundle", "info", "x.skb", "--config", "/c", "--json", "--booted-slot", "B", "-q"};
  const Words mixed = {"--config=/c", "bundle", "--json", "info", "--booted-slot=B", "x.skb", "--quiet"};
  for (const Words& words : {before, after, mixed}) {
    const Arguments arguments = accepted(words);
    EXPECT_EQ(arguments.name, "bundle info");
    EXPECT_EQ(arguments.bundle, "x.skb");
    EXPECT_EQ(arguments.config, "/c");
    EXPECT_TRUE(arguments.json);
    EXPECT_TRUE(arguments.quiet);
    EXPECT_EQ(arguments.booted_slot, SlotId::b);
  }
}

TEST(ParseArguments, ReadsTheOptionsOfBundleCreate) {
  const Arguments arguments =
      accepted({"bundle", "create", "--manifest", "m.toml", "--cert", "c.pem", "--key", "pkcs11:token=x", "--output",
                "o.skb", "--intermediate", "i1.pem", "--intermediate", "i2.pem"});
  EXPECT_EQ(arguments.manifest, "m.toml");
  EXPECT_EQ(arguments.certificate, "c.pem");
  EXPECT_EQ(arguments.key, "pkcs11:token=x");
  EXPECT_EQ(arguments.output, "o.skb");
  EXPECT_EQ(arguments.intermediates, (Words{"i1.pem", "i2.pem"}));
}

TEST(ParseArguments, ReadsTheOptionsOfSigning) {
  const Arguments sign = accepted({"bundle", "sign", "--append", "--cert", "c.pem", "--key", "k", "--intermediate", "i",
                                   "--trust", "ca.pem", "--output", "o.skb", "b.skb"});
  EXPECT_EQ(sign.certificate, "c.pem");
  EXPECT_EQ(sign.intermediates, Words{"i"});
  EXPECT_EQ(sign.trust, "ca.pem");
  EXPECT_EQ(sign.output, "o.skb");
  EXPECT_EQ(sign.bundle, "b.skb");
  const Arguments stamp = accepted({"bundle", "timestamp", "--response", "r.tsr", "--output", "o", "b"});
  EXPECT_EQ(stamp.response, "r.tsr");
  EXPECT_EQ(stamp.output, "o");
  EXPECT_NE(refusal_of({"bundle", "timestamp", "b"}).find("--request or --response must be given"), std::string::npos);
  EXPECT_NE(refusal_of({"bundle", "timestamp", "--response", "", "b"}).find("must not be empty"), std::string::npos);
  EXPECT_NE(refusal_of({"bundle", "timestamp", "--request", "r", "--output", "o", "b"}).find("requires"),
            std::string::npos);
  const Arguments resign = accepted({"bundle", "resign", "--unverified", "--cert", "c", "--key", "k", "b.skb"});
  EXPECT_TRUE(resign.unverified);
  EXPECT_EQ(resign.trust, std::nullopt);
  EXPECT_NE(refusal_of({"bundle", "sign", "--cert", "c", "--key", "k", "b"}).find("--append is required"),
            std::string::npos);
  EXPECT_NE(refusal_of({"bundle", "resign", "--cert", "c", "--key", "k", "--trust", "t", "--unverified", "b"})
                .find("excludes"),
            std::string::npos);
}

TEST(ParseArguments, ReadsTheOptionsOfTheOtherCommands) {
  const Arguments extract = accepted({"bundle", "extract", "b.skb", "rootfs", "out.img"});
  EXPECT_EQ(extract.bundle, "b.skb");
  EXPECT_EQ(extract.volume, "rootfs");
  EXPECT_EQ(extract.file, "out.img");
  const Arguments install = accepted({"install", "--reboot", "https://host/b.skb", "--force"});
  EXPECT_EQ(install.bundle, "https://host/b.skb");
  EXPECT_TRUE(install.reboot);
  EXPECT_TRUE(install.force);
  const Arguments provision = accepted({"provision", "--factory", "f.skb", "--force"});
  EXPECT_EQ(provision.factory, "f.skb");
  EXPECT_TRUE(provision.force);
  EXPECT_EQ(accepted({"provision"}).factory, std::nullopt);
  EXPECT_TRUE(accepted({"compact", "--dry-run"}).dry_run);
  EXPECT_TRUE(accepted({"confirm", "--force"}).force);
  EXPECT_TRUE(accepted({"rollback", "--to-previous"}).to_previous);
  EXPECT_EQ(accepted({"quarantine", "clear", "abc"}).quarantine_id, "abc");
  EXPECT_EQ(accepted({"quarantine", "clear"}).quarantine_id, std::nullopt);
  EXPECT_TRUE(accepted({"status", "-v"}).verbose);
  const Arguments mark = accepted({"mark", "B", "active"});
  EXPECT_EQ(mark.slot, SlotId::b);
  EXPECT_EQ(mark.mark, SlotMark::active);
  EXPECT_EQ(accepted({"mark", "A", "bad"}).mark, SlotMark::bad);
}

TEST(ParseArguments, TakesTheOptionsOfADelta) {
  Words create = {"bundle", "create", "--manifest", "m", "--cert", "c", "--key", "k", "--output", "o"};
  EXPECT_FALSE(accepted(create).delta_from.has_value());
  create.insert(create.end(), {"--full", "f"});
  EXPECT_EQ(refusal_of(create), "--full requires --delta-from (see 'slotkeeper bundle create --help')");
  create.insert(create.end(), {"--delta-from", "old.skb", "--trust", "t"});
  const Arguments arguments = accepted(create);
  EXPECT_EQ(arguments.delta_from, "old.skb");
  EXPECT_EQ(arguments.full, "f");
  EXPECT_EQ(arguments.trust, "t");
  EXPECT_EQ(accepted({"bundle", "extract", "b", "v", "f", "--delta-from", "old.skb"}).delta_from, "old.skb");
}

TEST(ParseArguments, TakesWhomToEncryptForAndWhoDecrypts) {
  Words create = {"bundle", "create", "--manifest", "m", "--cert", "c", "--key", "k", "--output", "o"};
  create.insert(create.end(), {"--recipient", "a.pem", "--recipient", "b.pem"});
  EXPECT_EQ(accepted(create).recipients, (Words{"a.pem", "b.pem"}));
  Words extract = {"bundle", "extract", "b", "v", "f", "--decryption-key", "k"};
  EXPECT_EQ(refusal_of(extract),
            "--decryption-key requires --decryption-cert (see 'slotkeeper bundle extract --help')");
  extract.insert(extract.end(), {"--decryption-cert", "c"});
  EXPECT_EQ(accepted(extract).decryption_key, "k");
  EXPECT_EQ(accepted(extract).decryption_certificate, "c");
  create.insert(create.end(), {"--decryption-key", "k", "--decryption-cert", "c"});
  EXPECT_EQ(refusal_of(create), "--decryption-key requires --delta-from (see 'slotkeeper bundle create --help')");
}

TEST(ParseArguments, TakesAFileThatIsCalledLikeACommand) {
  EXPECT_EQ(accepted({"install", "status"}).bundle, "status");
  EXPECT_EQ(accepted({"bundle", "info", "create"}).bundle, "create");
  EXPECT_EQ(accepted({"install", "--", "--odd"}).bundle, "--odd");
}

TEST(ParseArguments, RefusesWhatIsIncompleteOrTooMuch) {
  EXPECT_EQ(refusal_of({}), "a command is missing (see 'slotkeeper --help')");
  EXPECT_EQ(refusal_of({"--json"}), "a command is missing (see 'slotkeeper --help')");
  EXPECT_EQ(refusal_of({"instal", "x"}),
            "there is no command \"instal\"; did you mean install? (see 'slotkeeper --help')");
  EXPECT_EQ(refusal_of({"bundle", "crate"}),
            "there is no command \"bundle crate\"; did you mean bundle create? (see 'slotkeeper --help')");
  EXPECT_EQ(refusal_of({"frobnicate-it-all"}), "there is no command \"frobnicate-it-all\" (see 'slotkeeper --help')");
  EXPECT_EQ(refusal_of({"install"}), "BUNDLE is required (see 'slotkeeper install --help')");
  EXPECT_EQ(refusal_of({"install", "a", "b"}),
            "there is more on the command line than install takes: b (see 'slotkeeper install --help')");
  EXPECT_EQ(refusal_of({"install", "a", "--frce"}),
            "there is more on the command line than install takes: --frce (see 'slotkeeper install --help')");
  EXPECT_EQ(refusal_of({"status", "--force"}),
            "there is more on the command line than status takes: --force (see 'slotkeeper status --help')");
  EXPECT_EQ(refusal_of({"install", ""}), "BUNDLE must not be empty (see 'slotkeeper install --help')");
  EXPECT_EQ(refusal_of({"bundle", "create", "--manifest", "m", "--cert", "c", "--key", "k"}),
            "--output is required (see 'slotkeeper bundle create --help')");
  for (const Words& words :
       {Words{"bundle"}, Words{"quarantine"}, Words{"mark"}, Words{"mark", "A"}, Words{"status", "status"},
        Words{"bundle", "info"}, Words{"bundle", "extract", "b", "v"}, Words{"--config"}, Words{"status", "--config"},
        Words{"status", "--config", ""}, Words{"status", "-q", "-v"}, Words{"status", "--json=false"},
        Words{"install", "a", "-f"}, Words{"status", "--config", "a", "--config", "b"}, Words{"provision", "--factory"},
        Words{"provision", "--factory", ""}})
    refusal_of(words);
}

TEST(ParseArguments, RefusesSlotsAndMarksThatDoNotExist) {
  EXPECT_EQ(refusal_of({"--booted-slot", "C", "status"}),
            "--booted-slot must be A or B, not \"C\" (see 'slotkeeper status --help')");
  EXPECT_EQ(refusal_of({"status", "--booted-slot", ""}),
            "--booted-slot must be A or B, not \"\" (see 'slotkeeper status --help')");
  EXPECT_EQ(refusal_of({"mark", "a", "good"}), "SLOT must be A or B, not \"a\" (see 'slotkeeper mark --help')");
  EXPECT_EQ(refusal_of({"mark", "A", "fine"}),
            "a slot is marked good, bad or active, not \"fine\" (see 'slotkeeper mark --help')");
}

TEST(ParseArguments, AnswersHelpAndVersionWithoutFurtherArguments) {
  EXPECT_EQ(accepted({"--help"}).command, Command::help);
  EXPECT_EQ(accepted({"-h"}).text, help_text(""));
  EXPECT_EQ(accepted({"install", "--help"}).text, help_text("install"));
  EXPECT_EQ(accepted({"--help", "bundle", "create"}).text, help_text("bundle create"));
  EXPECT_EQ(accepted({"bundle", "-h"}).text, help_text("bundle"));
  const Arguments version = accepted({"--json", "--version"});
  EXPECT_EQ(version.command, Command::version);
  EXPECT_TRUE(version.json);
  EXPECT_EQ(version.text, version_text());
  EXPECT_EQ(accepted({"status", "--version"}).command, Command::version);
}

TEST(OutlineOf, FindsCommandAndFormOnAnyCommandLine) {
  EXPECT_EQ(outline_of({}).command, "");
  EXPECT_FALSE(outline_of({"status"}).json);
  EXPECT_EQ(outline_of({"--config", "/c", "--bogus", "frob", "--json"}).command, "frob");
  EXPECT_TRUE(outline_of({"--config", "/c", "--bogus", "frob", "--json"}).json);
  EXPECT_EQ(outline_of({"bundle", "--json", "create", "x"}).command, "bundle create");
  EXPECT_EQ(outline_of({"bundle"}).command, "bundle");
  EXPECT_EQ(outline_of({"install", "create"}).command, "install");
}

TEST(HelpText, FitsEightyColumnsAndNamesEveryCommand) {
  const std::string all = help_text("");
  std::vector<std::string> texts = {all, help_text("bundle"), help_text("quarantine")};
  for (const HelpTopic& topic : help_topics()) {
    EXPECT_NE(all.find("  " + std::string(topic.command) + " "), std::string::npos) << topic.command;
    texts.push_back(help_text(topic.command));
    EXPECT_TRUE(texts.back().starts_with("Usage: slotkeeper " + std::string(topic.command)));
  }
  for (const std::string& text : texts) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      EXPECT_LE(line.size(), 80u) << line;
      EXPECT_TRUE(line.empty() || line.back() != ' ') << line;
    }
  }
}

TEST(HelpText, ListsEveryExitStatusOfTheErrorTable) {
  const std::string all = help_text("");
  for (const ErrcInfo& row : errc_table())
    EXPECT_NE(
        all.find("\n  " + std::string(row.exit_status < 100 ? "  " : "") + std::to_string(row.exit_status) + "  "),
        std::string::npos)
        << row.name;
}

}  // namespace
}  // namespace slotkeeper::cli

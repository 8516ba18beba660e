#include "engine/cli/arguments.hpp"

#include <algorithm>
#include <array>

#include <CLI/CLI.hpp>

#include "engine/cli/help.hpp"
#include "engine/configuration/spelling.hpp"

namespace slotkeeper::cli {
namespace {

struct Row {
  std::string_view name;
  Command command;
};
constexpr std::array kCommands = {
    Row{"bundle create", Command::bundle_create},
    Row{"bundle info", Command::bundle_info},
    Row{"bundle extract", Command::bundle_extract},
    Row{"bundle sign", Command::bundle_sign},
    Row{"bundle resign", Command::bundle_resign},
    Row{"bundle timestamp", Command::bundle_timestamp},
    Row{"provision", Command::provision},
    Row{"preflight", Command::preflight},
    Row{"compact", Command::compact},
    Row{"install", Command::install},
    Row{"recover", Command::recover},
    Row{"confirm", Command::confirm},
    Row{"rollback", Command::rollback},
    Row{"cancel", Command::cancel},
    Row{"mark", Command::mark},
    Row{"quarantine list", Command::quarantine_list},
    Row{"quarantine clear", Command::quarantine_clear},
    Row{"status", Command::status},
    Row{"history", Command::history},
    Row{"verify", Command::verify},
};

Error usage(std::string_view command, const std::string& why) {
  const std::string see = command.empty() ? "slotkeeper --help" : "slotkeeper " + std::string(command) + " --help";
  return make_error(Errc::usage, why + " (see '" + see + "')");
}

bool is_group(std::string_view word) { return word == "bundle" || word == "quarantine"; }

// Values that are checked here and not by the library, so that the messages are ours.
struct RawValues {
  std::string booted_slot;
  std::string slot;
  std::string mark;
  std::string delta_from;
  std::string full;
  std::string trust;
  std::string decryption_key;
  std::string decryption_certificate;
  std::string factory;
  bool append = false;  ///< has to be given and says nothing more: without it the command would read like `resign`
  std::string quarantine_id;
};

class Parser {
 public:
  Parser() : app_("", "slotkeeper") {
    app_.set_help_flag("-h,--help");
    app_.set_version_flag("--version", version_text());
    app_.require_subcommand(1, 1);
    option(app_, "--config", arguments_.config);
    flag(app_, "--json", arguments_.json);
    option(app_, "--booted-slot", raw_.booted_slot);
    CLI::Option* quiet = flag(app_, "-q,--quiet", arguments_.quiet);
    flag(app_, "-v,--verbose", arguments_.verbose)->excludes(quiet);
    add_bundle_commands();
    add_quarantine_commands();
    add_engine_commands();
  }

  Result<Arguments> parse(const std::vector<std::string>& words, const std::string& typed) {
    try {
      app_.parse(std::vector<std::string>(words.rbegin(), words.rend()));  // the library takes them from the back
    } catch (const CLI::CallForHelp&) {
      return text(Command::help, typed, help_text(typed));
    } catch (const CLI::CallForAllHelp&) {
      return text(Command::help, typed, help_text(typed));
    } catch (const CLI::CallForVersion&) {
      return text(Command::version, typed, version_text());
    } catch (const CLI::ExtrasError&) {
      return usage(typed, "there is more on the command line than " + (typed.empty() ? "expected" : typed + " takes") +
                              ": " + extras());
    } catch (const CLI::ParseError& error) {
      return usage(typed, error.what());
    }
    for (const auto& [name, app] : apps_)
      if (app->parsed()) arguments_.name = name;
    const auto row = std::ranges::find(kCommands, arguments_.name, &Row::name);
    if (row == kCommands.end()) return usage("", "a command is missing");
    arguments_.command = row->command;
    SK_TRY(check_values());
    return std::move(arguments_);
  }

 private:
  CLI::App* command(CLI::App& parent, const std::string& group, const std::string& name) {
    CLI::App* app = parent.add_subcommand(name);
    app->fallthrough();  // global options may follow the command
    apps_.emplace_back(group.empty() ? name : group + " " + name, app);
    return app;
  }
  CLI::App* group(const std::string& name) {
    CLI::App* app = app_.add_subcommand(name);
    app->fallthrough();
    app->require_subcommand(1, 1);
    return app;
  }
  static CLI::Option* option(CLI::App& app, const std::string& name, std::string& value) {
    return app.add_option(name, value)->type_name("");
  }
  static CLI::Option* flag(CLI::App& app, const std::string& name, bool& value) {
    return app.add_flag(name, value)->disable_flag_override();  // no --force=false
  }

  void add_bundle_commands() {
    CLI::App* bundle = group("bundle");
    CLI::App* create = command(*bundle, "bundle", "create");
    option(*create, "--manifest", arguments_.manifest)->required();
    add_identity(*create);
    create->add_option("--recipient", arguments_.recipients)->allow_extra_args(false);
    option(*create, "--output", arguments_.output)->required();
    CLI::Option* delta_from = option(*create, "--delta-from", raw_.delta_from);
    option(*create, "--full", raw_.full)->needs(delta_from);
    option(*create, "--trust", raw_.trust)->needs(delta_from);
    add_decryption(*create)->needs(delta_from);
    CLI::App* info = command(*bundle, "bundle", "info");
    option(*info, "BUNDLE", arguments_.bundle)->required();
    CLI::App* extract = command(*bundle, "bundle", "extract");
    option(*extract, "BUNDLE", arguments_.bundle)->required();
    option(*extract, "VOLUME", arguments_.volume)->required();
    option(*extract, "FILE", arguments_.file)->required();
    option(*extract, "--delta-from", raw_.delta_from);
    add_decryption(*extract);
    CLI::App* sign = command(*bundle, "bundle", "sign");
    flag(*sign, "--append", raw_.append)->required();
    CLI::App* resign = command(*bundle, "bundle", "resign");
    flag(*resign, "--unverified", arguments_.unverified);
    for (CLI::App* each : {sign, resign}) {
      add_identity(*each);
      option(*each, "--trust", raw_.trust);
      option(*each, "--output", arguments_.output);
      option(*each, "BUNDLE", arguments_.bundle)->required();
    }
    resign->get_option("--trust")->excludes("--unverified");
    CLI::App* timestamp = command(*bundle, "bundle", "timestamp");
    CLI::Option* request = option(*timestamp, "--request", arguments_.request);
    CLI::Option* response = option(*timestamp, "--response", arguments_.response)->excludes(request);
    option(*timestamp, "--output", arguments_.output)->needs(response);
    option(*timestamp, "BUNDLE", arguments_.bundle)->required();
  }

  void add_identity(CLI::App& app) {
    option(app, "--cert", arguments_.certificate)->required();
    option(app, "--key", arguments_.key)->required();
    app.add_option("--intermediate", arguments_.intermediates)->allow_extra_args(false);
  }

  CLI::Option* add_decryption(CLI::App& app) {
    CLI::Option* key = option(app, "--decryption-key", raw_.decryption_key);
    CLI::Option* certificate = option(app, "--decryption-cert", raw_.decryption_certificate)->needs(key);
    return key->needs(certificate);
  }

  void add_quarantine_commands() {
    CLI::App* quarantine = group("quarantine");
    command(*quarantine, "quarantine", "list");
    option(*command(*quarantine, "quarantine", "clear"), "ID", raw_.quarantine_id);
  }

  void add_engine_commands() {
    CLI::App* provision = command(app_, "", "provision");
    option(*provision, "--factory", raw_.factory);
    flag(*provision, "--force", arguments_.force);
    option(*command(app_, "", "preflight"), "BUNDLE", arguments_.bundle)->required();
    flag(*command(app_, "", "compact"), "--dry-run", arguments_.dry_run);
    CLI::App* install = command(app_, "", "install");
    option(*install, "BUNDLE", arguments_.bundle)->required();
    flag(*install, "--reboot", arguments_.reboot);
    flag(*install, "--force", arguments_.force);
    flag(*command(app_, "", "recover"), "--reboot", arguments_.reboot);
    CLI::App* confirm = command(app_, "", "confirm");
    CLI::Option* force = flag(*confirm, "--force", arguments_.force);
    flag(*confirm, "--deadline", arguments_.deadline)->excludes(force);
    flag(*confirm, "--reboot", arguments_.reboot);
    flag(*command(app_, "", "rollback"), "--to-previous", arguments_.to_previous);
    command(app_, "", "cancel");
    CLI::App* mark = command(app_, "", "mark");
    option(*mark, "SLOT", raw_.slot)->required();
    option(*mark, "MARK", raw_.mark)->required();
    command(app_, "", "status");
    command(app_, "", "history");
    command(app_, "", "verify");
  }

  Result<void> check_values() {
    if (app_.count("--booted-slot") != 0) {
      arguments_.booted_slot = slot_from_name(raw_.booted_slot);
      if (!arguments_.booted_slot)
        return usage(arguments_.name, "--booted-slot must be A or B, not \"" + raw_.booted_slot + "\"");
    }
    if (arguments_.config.empty()) return usage(arguments_.name, "--config must not be empty");
    if (!raw_.delta_from.empty()) arguments_.delta_from = raw_.delta_from;
    if (!raw_.full.empty()) arguments_.full = raw_.full;
    if (!raw_.trust.empty()) arguments_.trust = raw_.trust;
    if (!raw_.decryption_key.empty()) arguments_.decryption_key = raw_.decryption_key;
    if (!raw_.decryption_certificate.empty()) arguments_.decryption_certificate = raw_.decryption_certificate;
    if (!raw_.factory.empty()) arguments_.factory = raw_.factory;
    if (!raw_.quarantine_id.empty()) arguments_.quarantine_id = raw_.quarantine_id;
    if (arguments_.command == Command::mark) return check_mark();
    SK_TRY(check_not_empty());
    if (arguments_.command == Command::bundle_timestamp && arguments_.request.empty() && arguments_.response.empty())
      return usage(arguments_.name, "--request or --response must be given");
    return success();
  }

  Result<void> check_mark() {
    const auto slot = slot_from_name(raw_.slot);
    if (!slot) return usage(arguments_.name, "SLOT must be A or B, not \"" + raw_.slot + "\"");
    arguments_.slot = *slot;
    if (raw_.mark == "good") {
      arguments_.mark = SlotMark::good;
    } else if (raw_.mark == "bad") {
      arguments_.mark = SlotMark::bad;
    } else if (raw_.mark == "active") {
      arguments_.mark = SlotMark::active;
    } else {
      return usage(arguments_.name, "a slot is marked good, bad or active, not \"" + raw_.mark + "\"");
    }
    return success();
  }

  // A shell variable that is not set arrives as an empty word.
  Result<void> check_not_empty() {
    for (const auto& [name, app] : apps_)
      if (app->parsed())
        for (const CLI::Option* given : app->get_options())
          for (const std::string& value : given->results())
            if (value.empty()) return usage(arguments_.name, given->get_name() + " must not be empty");
    return success();
  }

  std::string extras() {
    std::string all;
    for (const std::string& word : app_.remaining(true)) all += (all.empty() ? "" : " ") + word;
    return all;
  }

  Arguments text(Command command, const std::string& name, std::string text) {
    arguments_.command = command;
    arguments_.name = name;
    arguments_.json = app_.count("--json") != 0;  // what was given is not stored when help ends the parsing
    arguments_.text = std::move(text);
    return std::move(arguments_);
  }

  CLI::App app_;
  Arguments arguments_;
  RawValues raw_;
  std::vector<std::pair<std::string, CLI::App*>> apps_;
};

// An unknown word where a command belongs; the library would only say that a command is missing.
Result<void> check_command(const std::string& typed) {
  if (typed.empty()) return success();
  std::vector<std::string_view> known;
  known.reserve(kCommands.size());
  for (const Row& row : kCommands) known.push_back(row.name);
  if (std::ranges::find(known, typed) != known.end()) return success();
  if (is_group(typed)) return success();
  const auto nearest = nearest_word(typed, known);
  return usage(
      "", "there is no command \"" + typed + "\"" + (nearest ? "; did you mean " + std::string(*nearest) + "?" : ""));
}

}  // namespace

CommandLineOutline outline_of(const std::vector<std::string>& words) {
  CommandLineOutline outline;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--json") outline.json = true;
    if (word == "--config" || word == "--booted-slot") {
      ++i;  // its value
    } else if (word.starts_with("-")) {
      continue;
    } else if (outline.command.empty()) {
      outline.command = word;
    } else if (is_group(outline.command)) {
      outline.command += " " + word;
    }
  }
  return outline;
}

Result<Arguments> parse_arguments(const std::vector<std::string>& words) {
  const CommandLineOutline outline = outline_of(words);
  const bool wants_help = std::ranges::any_of(
      words, [](const std::string& word) { return word == "-h" || word == "--help" || word == "--version"; });
  if (outline.command.empty() && !wants_help) return usage("", "a command is missing");
  SK_TRY(check_command(outline.command));
  try {
    return Parser().parse(words, outline.command);
  } catch (const CLI::Error& error) {
    return make_error(Errc::internal, std::string("the command line parser failed: ") + error.what());
  }
}

}  // namespace slotkeeper::cli

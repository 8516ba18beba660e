// The command line as a plain struct. arguments.cpp is the only file that includes CLI11.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/transaction/engine.hpp"
#include "partitions/io/result.hpp"
#include "partitions/slot_table.hpp"

namespace slotkeeper::cli {

enum class Command : std::uint8_t {
  bundle_create,
  bundle_info,
  bundle_extract,
  bundle_sign,
  bundle_resign,
  bundle_timestamp,
  provision,
  preflight,
  compact,
  install,
  recover,
  confirm,
  rollback,
  cancel,
  mark,
  quarantine_list,
  quarantine_clear,
  status,
  history,
  verify,
  help,     ///< `text` is to be printed
  version,  ///< likewise
};

struct Arguments {
  Command command = Command::help;
  std::string name;  ///< as typed: "bundle create"; empty where only --help or --version was given

  // Global options.
  std::string config = "/etc/slotkeeper/system.toml";
  bool json = false;
  std::optional<SlotId> booted_slot;
  bool quiet = false;
  bool verbose = false;

  // Of single commands.
  std::string bundle;  ///< BUNDLE: path or URL
  std::string volume;
  std::string file;
  std::string manifest;
  std::string certificate;
  std::string key;
  std::vector<std::string> intermediates;
  std::vector<std::string> recipients;  ///< certificates to encrypt for
  std::string output;
  std::optional<std::string> delta_from;  ///< OLD.skb
  std::optional<std::string> full;        ///< file name of the full bundle beside a delta
  std::optional<std::string> trust;       ///< whom the bundle that is read is to be signed by
  bool unverified = false;
  std::string request;   ///< of a time stamp: the file to write
  std::string response;  ///< or the one to read
  std::optional<std::string> decryption_key;
  std::optional<std::string> decryption_certificate;
  std::optional<std::string> factory;
  std::optional<std::string> quarantine_id;
  bool force = false;
  bool reboot = false;
  bool dry_run = false;
  bool deadline = false;
  bool to_previous = false;
  SlotId slot = SlotId::a;
  SlotMark mark = SlotMark::good;

  std::string text;  ///< of help and version
};

/// The words after the program's name. Errors: usage.
[[nodiscard]] Result<Arguments> parse_arguments(const std::vector<std::string>& words);

/// What a wrong command line still says about itself, so that its error is printed as it asked for.
struct CommandLineOutline {
  std::string command;  ///< as typed, unknown ones too; empty where there is none
  bool json = false;
};
[[nodiscard]] CommandLineOutline outline_of(const std::vector<std::string>& words);

}  // namespace slotkeeper::cli

// The texts of --help, at most 80 columns wide.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace slotkeeper::cli {

struct HelpTopic {
  std::string_view command;  ///< "install", "bundle create"
  std::string_view usage;    ///< what follows the command's name
  std::string_view summary;  ///< one line for the list of commands
  std::string_view text;     ///< the rest of `slotkeeper COMMAND --help`
};
[[nodiscard]] std::span<const HelpTopic> help_topics();

/// For a command, a group ("bundle") or, with an empty name, the whole program.
[[nodiscard]] std::string help_text(std::string_view command);

[[nodiscard]] std::string version_text();

}  // namespace slotkeeper::cli

// What systemd-boot 252 does with the files in loader/entries, played from its sources and independent of the code
// under test: which entry it takes, and how it counts. tests/vm/check-systemd-boot compares it with the real one.
#pragma once

#include <map>
#include <optional>
#include <string>

namespace slotkeeper::test {

using EntryFiles = std::map<std::string, std::string>;  ///< file name in loader/entries -> content

/// The file that is started with `default slotkeeper-*` in loader.conf and no menu; nothing when no entry matches.
[[nodiscard]] std::optional<std::string> taken_entry(const EntryFiles& files);

/// The same, and renames a counted entry as the loader does before it starts it.
[[nodiscard]] std::optional<std::string> play_start(EntryFiles& files);

/// Value of `slotkeeper.slot=` in the options of this entry; "" when there is none.
[[nodiscard]] std::string slot_started_by(const std::string& content);

}  // namespace slotkeeper::test

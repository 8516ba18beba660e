// kOwnDirectory/kept: where a restore puts logs that stand where the snapshot has something else. Nobody of ours
// removes them again.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "partitions/io/directory.hpp"

namespace slotkeeper::permanent {

class KeptLogs {
 public:
  explicit KeptLogs(io::Directory& root) : root_(root) {}

  /// Moves a file, or a directory with all that is in it, there. Returns its new path. Durable after `sync`.
  [[nodiscard]] Result<std::string> move(const std::string& path);
  /// Gives a file another name there, so that its own can be taken by something else; once, however often it is asked
  /// for. Returns the new name's path. Durable after `sync`.
  [[nodiscard]] Result<std::string> link(const std::string& path);
  /// Durable: all names there. Does nothing where nothing was put there.
  [[nodiscard]] Result<void> sync();

 private:
  [[nodiscard]] Result<void> open();
  [[nodiscard]] std::string place_for(const std::string& path);

  io::Directory& root_;
  bool is_open_ = false;
  bool touched_ = false;
  std::uint64_t last_number_ = 0;
  std::map<std::uint64_t, std::string> names_by_inode_;
};

}  // namespace slotkeeper::permanent

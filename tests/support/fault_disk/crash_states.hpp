// What a power cut may leave of a fault disk, rebuilt from its log: everything that was flushed, and any part of what
// was not. A state is a short description; its images are built on demand, and walking forward is cheap.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/fault_disk/image_files.hpp"
#include "tests/support/fault_disk/log.hpp"

namespace slotkeeper::test {

struct CrashState {
  std::uint64_t position = 0;  ///< the power goes before the record with this sequence
  std::string name;  ///< "57:prefix-3", "57:only-2", "57:without-1", "57:random-4", "57:torn-2-a"; for messages
  std::vector<std::size_t> survivors;  ///< records not yet flushed that arrived all the same, ascending
  /// Of this survivor only some units arrived (bit i: unit i; beyond the 64th the bits repeat).
  struct Tear {
    std::size_t record = 0;
    std::uint64_t units = 0;
  };
  std::optional<Tear> tear;
};

struct CrashOptions {
  std::uint64_t from_position = 0;  ///< earlier cuts are left out
  std::uint64_t seed = 1;
  /// Up to so many writes in flight every subset is taken; above that: all prefixes, each write alone, all without
  /// each, and `random_subsets` more.
  std::size_t exhaustive_writes_max = 4;
  std::size_t singles_max = 6;  ///< how many of "each write alone" and "all without each"
  std::size_t random_subsets = 4;
  std::size_t tears = 3;  ///< torn writes for each cut
  /// A disk writes so much, from a multiple of it on, at once or not at all. 512 is what the engine relies on. ext4's
  /// superblock has 1024 bytes: at 512 it can be torn, and mount then fails until e2fsck has taken the backup.
  std::uint64_t tear_unit_bytes = 512;
};

class CrashStates {
 public:
  /// `initial_images`: by disk number, what was on the disks when the log began.
  CrashStates(std::vector<LogRecord> log, std::vector<std::string> initial_images, const CrashOptions& options);

  /// A cut at every flush and at the end of the log, in the order of the log.
  [[nodiscard]] const std::vector<CrashState>& states() const { return states_; }
  [[nodiscard]] std::size_t cut_count() const { return cuts_; }

  /// Writes the images of a state (sparse files, made or replaced) and returns a hash over them. States in the order of
  /// the log are built incrementally.
  std::uint64_t build(const CrashState& state, const std::vector<std::string>& images);

  [[nodiscard]] const std::vector<LogRecord>& log() const { return log_; }
  /// How many marks that begin with this text lie before the cut.
  [[nodiscard]] std::size_t marks_before(const CrashState& state, std::string_view text) const;

 private:
  void enumerate_cut(std::uint64_t position, const std::vector<std::size_t>& in_flight);
  void add_subsets(std::uint64_t position, const std::vector<std::size_t>& in_flight);
  void add_tears(std::uint64_t position, const std::vector<std::size_t>& in_flight);
  [[nodiscard]] std::uint64_t unit_count(const LogRecord& record) const;
  void load_initial_images();
  void advance(std::uint64_t position);
  void apply(SparseImage& disk, const LogRecord& record, const CrashState* state) const;

  std::vector<LogRecord> log_;
  std::vector<std::string> initial_images_;
  CrashOptions options_;
  std::vector<CrashState> states_;
  std::size_t cuts_ = 0;

  std::vector<SparseImage> durable_;  ///< contents of each disk with everything that was flushed before `position_`
  std::vector<std::vector<std::size_t>> pending_;  ///< by disk: records before `position_` that are in flight
  std::uint64_t position_ = 0;
};

}  // namespace slotkeeper::test

// What a fault disk does wrong, and when. Pure data and decisions, without I/O, so that they have a test of their own.
//
//   rules = (rule "\n")*
//   rule  = action " " call (" " name "=" value)*        ; the first rule that matches and has a count left decides
//
//   error write errno=28 skip=3 count=1                  the 4th write fails with ENOSPC, that one only
//   torn write sectors=1 errno=0 from=65536 to=131072    of writes that touch this range only the first sector arrives,
//                                                        and nobody is told
//   lose flush disk=store                                every flush of this disk is answered and not done
#pragma once

#include <cerrno>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace slotkeeper::test {

enum class DiskCall : std::uint8_t { read, write, flush, discard };

enum class FaultAction : std::uint8_t {
  error,      ///< answers `error_number`, does nothing
  torn,       ///< write: only the first `sectors` arrive; answers `error_number` or, where that is 0, success
  flip,       ///< write: bit `bit` arrives flipped; read: is answered flipped
  lose,       ///< write, flush, discard: answers success, does nothing
  misdirect,  ///< write: arrives `shift` bytes further on (round the end of the disk), nothing where it belongs
  delay,      ///< waits `milliseconds`, then goes on as if this rule were not there
};

struct FaultRule {
  FaultAction action = FaultAction::error;
  DiskCall call = DiskCall::write;
  std::string disk;  ///< empty: all of them
  std::uint64_t from = 0;
  std::uint64_t to = std::numeric_limits<std::uint64_t>::max();  ///< calls that touch [from, to); flushes always match
  std::uint64_t skip = 0;                                        ///< so many matching calls go by first
  std::uint64_t count = std::numeric_limits<std::uint64_t>::max();  ///< then it strikes so many times
  int error_number = EIO;
  std::uint64_t sectors = 1;  ///< of 512 bytes
  std::uint64_t bit = 0;      ///< counted from the begin of the call's data
  std::uint64_t shift = 4096;
  std::uint64_t milliseconds = 0;

  [[nodiscard]] std::string print() const;
};

/// Throws std::invalid_argument with the line that is no rule.
[[nodiscard]] std::vector<FaultRule> parse_rules(std::string_view text);
[[nodiscard]] std::string print_rules(const std::vector<FaultRule>& rules);

inline constexpr std::uint64_t kSectorBytes = 512;

/// Rules at work: counts what matched and decides.
class FaultRules {
 public:
  FaultRules() = default;
  explicit FaultRules(std::vector<FaultRule> rules) : rules_(std::move(rules)), seen_(rules_.size()) {}

  struct Call {
    DiskCall call = DiskCall::read;
    std::string_view disk;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };
  struct Decision {
    std::optional<FaultRule> fault;
    std::uint64_t milliseconds = 0;  ///< to wait before anything is done
  };
  [[nodiscard]] Decision decide(const Call& call);
  /// How often each rule has struck.
  [[nodiscard]] std::vector<std::uint64_t> struck() const;

 private:
  [[nodiscard]] static bool matches(const FaultRule& rule, const Call& call);

  std::vector<FaultRule> rules_;
  std::vector<std::uint64_t> seen_;  ///< matching calls so far, by rule
};

}  // namespace slotkeeper::test

// What a FaultStorage lets go wrong, and what was called so far. Private to it.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "partitions/io/posix_call.hpp"
#include "tests/support/fault_storage.hpp"
#include "tests/support/simulated_freeze.hpp"

namespace slotkeeper::test {

using std::literals::operator""sv;

/// What goes wrong when, and what was called so far.
class FaultStorage::Plan {
 public:
  void set(const Fault& fault) {
    const std::lock_guard lock(mutex_);
    faults_.push_back({.fault = fault, .matches = 0});
  }
  void cut_power_after(std::uint64_t call) {
    const std::lock_guard lock(mutex_);
    last_call_ = call;
  }
  void flip_bit_in_read(std::uint64_t nth, std::uint64_t bit) {
    const std::lock_guard lock(mutex_);
    reads_until_flip_ = nth;
    flipped_bit_ = bit;
  }
  void reset() {
    const std::lock_guard lock(mutex_);
    freezes = writes_while_frozen = 0;
    faults_.clear();
    sites_.clear();
    calls_ = faults_met_ = reads_until_flip_ = 0;
    last_failed_.clear();
    last_failed_object_.clear();
    last_call_.reset();
  }
  [[nodiscard]] std::uint64_t calls() const {
    const std::lock_guard lock(mutex_);
    return calls_;
  }
  [[nodiscard]] std::uint64_t faults_met() const {
    const std::lock_guard lock(mutex_);
    return faults_met_;
  }
  [[nodiscard]] std::string last_failed() const {
    const std::lock_guard lock(mutex_);
    return last_failed_;
  }
  [[nodiscard]] std::string last_failed_object() const {
    const std::lock_guard lock(mutex_);
    return last_failed_object_;
  }
  [[nodiscard]] std::map<CallSite, std::uint64_t> sites() const {
    const std::lock_guard lock(mutex_);
    return sites_;
  }

  /// Counts a call; its error when it is to fail.
  [[nodiscard]] Result<void> meet(std::string_view operation, const std::string& object, io::Caller caller) {
    const std::lock_guard lock(mutex_);
    const CallSite site{.file = caller.file_name(), .line = caller.line(), .operation = std::string(operation)};
    ++sites_[site];
    ++calls_;
    if (last_call_ && calls_ > *last_call_) {
      ++faults_met_;
      return make_error(Errc::internal, object + ": power cut before " + site.operation);
    }
    std::optional<int> failure;
    if (would_wait(operation, object)) {
      ++writes_while_frozen;
      failure = EDEADLK;
    }
    for (Armed& armed : faults_) {
      if (!matches(armed.fault, site)) continue;
      ++armed.matches;
      const bool due = armed.matches == armed.fault.nth || (armed.fault.persistent && armed.matches > armed.fault.nth);
      if (due && !failure) failure = armed.fault.os_errno;
    }
    if (!failure) return success();
    ++faults_met_;
    last_failed_ = site.operation;
    last_failed_object_ = object;
    Error error = io::call_failed(site.operation + " (injected)", object, *failure);
    if (operation.starts_with("sync")) return std::move(error).with_code(Errc::sync_failed);
    return error;
  }

  [[nodiscard]] bool power_is_cut() const {
    const std::lock_guard lock(mutex_);
    return last_call_ && calls_ > *last_call_;
  }

  bool simulates_freezes = false;
  FrozenPaths frozen;
  std::uint64_t freezes = 0;
  std::uint64_t writes_while_frozen = 0;

  void falsify(io::Bytes read) {
    const std::lock_guard lock(mutex_);
    if (reads_until_flip_ == 0 || --reads_until_flip_ != 0 || read.empty()) return;
    ++faults_met_;
    const std::uint64_t bit = flipped_bit_ % (read.size() * 8);
    read[bit / 8] ^= std::byte{1} << (bit % 8);
  }

 private:
  struct Armed {
    Fault fault;
    std::uint64_t matches;
  };
  /// Whether a call would wait for a thaw: it changes something at or below a frozen directory.
  [[nodiscard]] bool would_wait(std::string_view operation, const std::string& object) const {
    constexpr std::array kChanging = {"submit"sv,
                                      "write_at"sv,
                                      "sync"sv,
                                      "resize"sv,
                                      "allocate"sv,
                                      "zero"sv,
                                      "discard"sv,
                                      "set_attributes"sv,
                                      "set_extended_attribute"sv,
                                      "remove_extended_attribute"sv,
                                      "create_directory"sv,
                                      "create_symlink"sv,
                                      "create_hard_link"sv,
                                      "create_node"sv,
                                      "rename"sv,
                                      "remove_file"sv,
                                      "remove_directory"sv,
                                      "set_attributes_of"sv,
                                      "set_extended_attribute_of"sv,
                                      "remove_extended_attribute_of"sv,
                                      "sync_filesystem"sv};
    if (std::ranges::find(kChanging, operation) == kChanging.end()) return false;
    return std::ranges::any_of(frozen, [&](const std::string& path) { return object.starts_with(path); });
  }
  static bool matches(const Fault& fault, const CallSite& site) {
    return site.file.ends_with(fault.file) && (fault.line == 0 || fault.line == site.line) &&
           (fault.operation.empty() || fault.operation == site.operation);
  }

  mutable std::mutex mutex_;
  std::vector<Armed> faults_;
  std::map<CallSite, std::uint64_t> sites_;
  std::uint64_t calls_ = 0;
  std::uint64_t faults_met_ = 0;
  std::optional<std::uint64_t> last_call_;
  std::string last_failed_;
  std::string last_failed_object_;
  std::uint64_t reads_until_flip_ = 0;
  std::uint64_t flipped_bit_ = 0;
};

}  // namespace slotkeeper::test

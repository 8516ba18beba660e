// A machine of QEMU: switched on with the object, its serial console read line by line, its power taken at any moment.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <thread>
#include <vector>

namespace slotkeeper::test {

/// The machine did not do what it had to within the time, or at all. `what` has the end of its console.
class MachineFailure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class VirtualMachine {
 public:
  struct Drive {
    std::string file;
    bool read_only = false;
    /// Without: what the guest wrote lies in this machine's page cache and survives when QEMU is killed. With: every
    /// write and flush goes to the file as the guest makes it, which a fault disk wants to see.
    bool direct = false;
  };
  /// `bootloader_arguments`: what QEMU needs to come up with the bootloader.
  VirtualMachine(const std::vector<std::string>& bootloader_arguments, const std::vector<Drive>& drives);
  VirtualMachine(const VirtualMachine&) = delete;
  VirtualMachine& operator=(const VirtualMachine&) = delete;
  ~VirtualMachine();  ///< takes the power, if that was not done before

  /// The next line, behind the one that the last wait found, in which one of `texts` stands. Throws MachineFailure when
  /// `limit` is over or the machine switches itself off before.
  std::string wait_for(const std::vector<std::string>& texts, std::chrono::seconds limit);
  std::string wait_for(const std::string& text, std::chrono::seconds limit) {
    return wait_for(std::vector<std::string>{text}, limit);
  }
  /// Types a line.
  void send(const std::string& line);
  /// Waits until it has switched itself off.
  void wait_for_end(std::chrono::seconds limit);
  /// From now to the next instruction that is not carried out any more.
  void cut_power();

  /// All lines so far.
  [[nodiscard]] std::vector<std::string> lines() const;
  /// How many lines have this text in them.
  [[nodiscard]] std::size_t count_of(std::string_view text) const;
  /// The number behind the last `text` in any line.
  [[nodiscard]] std::optional<std::uint64_t> last_number_after(std::string_view text) const;
  /// The end of the console, for messages.
  [[nodiscard]] std::string story() const;

 private:
  void read_console();
  void take(std::string_view bytes);

  pid_t process_ = -1;
  int input_ = -1;
  int output_ = -1;
  std::thread reader_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> lines_;
  std::string begun_;  ///< a line that has not ended yet
  std::size_t waited_up_to_ = 0;
  bool is_over_ = false;
};

}  // namespace slotkeeper::test

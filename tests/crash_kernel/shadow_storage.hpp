// The real storage with the model of the simulation in its shadow: every change that the engine makes on the real
// filesystem is made on the model, too, and after each one it is remembered what the model promises and how long the
// log of the fault disk was. So every state that a cut of that log leaves can be asked of the model.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "partitions/io/storage.hpp"
#include "tests/support/simulation/found_tree.hpp"
#include "tests/support/simulation/model_check.hpp"

namespace slotkeeper::test {

/// What the model says of each moment of a recording.
class ModelTrace {
 public:
  struct Disk {
    std::string name;  ///< for messages
    NodeNumber node = 0;
    PagedBytes found;
  };

  /// What was found after a power cut before record `position` of the log is not allowed, in sentences.
  [[nodiscard]] std::vector<std::string> not_allowed(std::uint64_t position, const FileTree& permanent,
                                                     const std::vector<Disk>& disks) const;
  /// The running machine, before any cut, differs from what the model has come to.
  [[nodiscard]] std::vector<std::string> differs_from(const FileTree& permanent) const;

  [[nodiscard]] std::size_t steps() const { return steps_.size(); }
  [[nodiscard]] NodeNumber device(const std::string& path) const;

 private:
  friend class ShadowStorage;
  /// A call that changed something, and the model after it. Calls follow each other.
  struct Step {
    std::uint64_t begin = 0;  ///< length of the log before and after the call
    std::uint64_t end = 0;
    VolatileTree tree;
    std::string call = {};
  };
  [[nodiscard]] std::vector<std::string> not_allowed_by(const Step& step, const FileTree& permanent,
                                                        const std::vector<Disk>& disks) const;

  NodeNumber top_ = 0;
  io::TimeStamp clock_from_;
  std::map<std::string, NodeNumber> devices_;
  std::vector<Step> steps_;
};

class ShadowStorage final : public io::Storage {
 public:
  struct Device {
    std::string path;
    PagedBytes contents;
  };
  /// `root`: where the partition is mounted; what is there now is durable. `log_length` is asked before and after every
  /// call that changes something.
  ShadowStorage(io::Storage& real, const std::string& root, const std::vector<Device>& devices,
                std::function<std::uint64_t()> log_length);
  ~ShadowStorage() override;

  [[nodiscard]] const ModelTrace& trace() const { return trace_; }
  /// Calls that the kernel carried out and the model refused: the model is wrong.
  [[nodiscard]] const std::vector<std::string>& refusals() const { return refusals_; }

 protected:
  Result<std::unique_ptr<io::File>> do_open_file(const std::string& path, io::OpenMode mode, io::Caller) override;
  Result<std::unique_ptr<io::Directory>> do_open_directory(const std::string& path, io::Caller) override;
  Result<io::EntryStatus> do_status_of(const std::string& path, io::Caller) override;
  Result<io::DeviceIdentity> do_identify(const std::string& path, io::Caller) override;
  Result<std::vector<io::Mount>> do_mounts(io::Caller) override;
  Result<std::string> do_holder_of(const std::string& path, io::Caller) override;
  Result<std::optional<int>> do_lock_holder(const std::string& path, io::Caller) override;
  Result<std::optional<std::uint64_t>> do_filesystem_errors(const std::string& path, io::Caller) override;
  Result<io::StorageHealth> do_health_of(const std::string& path, io::Caller) override;
  Result<std::optional<std::uint64_t>> do_bytes_written(const std::string& path, io::Caller) override;
  Result<io::DeviceIdentity> do_root_device(io::Caller) override;
  Result<std::string> do_kernel_command_line(io::Caller) override;
  Result<std::unique_ptr<io::Freeze>> do_freeze(const std::string& path, std::chrono::milliseconds limit,
                                                io::Caller) override;
  Result<bool> do_thaw(const std::string& path, io::Caller) override;
  Result<std::vector<std::string>> do_lying_on(const std::string& filesystem, const std::vector<std::string>& paths,
                                               io::Caller) override;

 private:
  friend class ShadowFile;
  friend class ShadowDirectory;

  [[nodiscard]] bool has_shadow(const std::string& path) const;
  /// Makes the real call and, when it succeeded, the model's; the answer is the real one.
  template <class Real, class Model>
  std::invoke_result_t<const Real&> both(const std::string& call, const Real& real, const Model& model);

  io::Storage& real_;
  std::string root_;
  std::function<std::uint64_t()> log_length_;
  SimulatedMachine machine_;
  SimulatedStorage model_;
  ModelTrace trace_;
  std::vector<std::string> refusals_;
};

}  // namespace slotkeeper::test

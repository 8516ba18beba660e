// How much does the live system write to the permanent partition? Measured while something else is being done, so that
// it costs little time of its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "partitions/io/host.hpp"
#include "partitions/io/storage.hpp"
#include "partitions/permanent/inventory.hpp"

namespace slotkeeper::permanent {

inline constexpr std::size_t kProbedLogsMax = 1000;  ///< the most recently changed ones
inline constexpr unsigned int kProbeSlices = 5;      ///< samples of the device over the length of a probe

/// Bytes per second. They measure the same writing in three places, so the largest counts and not their sum.
struct WriteRate {
  /// Median over the slices: the flush of something that was written before shows in a few of them only and does not
  /// count. Nothing where no block device carries the partition.
  std::optional<std::uint64_t> device;
  std::uint64_t blocks = 0;  ///< growth of the used blocks, those that are only promised so far included
  std::uint64_t logs = 0;    ///< growth of log files; what a rotation deletes elsewhere is not taken off
  std::chrono::milliseconds measured_over{0};

  [[nodiscard]] std::uint64_t bytes_per_s() const { return std::max({device.value_or(0), blocks, logs}); }
};

class WriteProbe {
 public:
  /// Takes the first sample. `length` is how long `finish` makes it last at least. `root` and the rest must outlive it.
  [[nodiscard]] static Result<WriteProbe> begin(io::Storage& storage, io::Host& host, io::Directory& root,
                                                const std::string& path, const Inventory& inventory,
                                                std::chrono::milliseconds length);

  /// Takes a sample of the device where a slice has passed. Cheap; to be called often from the work that goes on.
  [[nodiscard]] Result<void> look();

  /// Waits for what is left of the length, then computes. Writes nothing.
  /// Errors: io_error, cancelled.
  [[nodiscard]] Result<WriteRate> finish(ProgressSink& progress);

 private:
  struct LogFile {
    std::string path;
    std::uint64_t inode = 0;
    std::uint64_t size_bytes = 0;
  };
  WriteProbe(io::Storage& storage, io::Host& host, io::Directory& root, std::string path,
             std::chrono::milliseconds length)
      : storage_(&storage), host_(&host), root_(&root), path_(std::move(path)), length_(length) {}

  [[nodiscard]] Result<void> sample_device();
  [[nodiscard]] Result<std::uint64_t> log_growth() const;
  [[nodiscard]] std::optional<std::uint64_t> device_rate() const;

  struct DeviceSample {
    std::chrono::nanoseconds at{0};
    std::uint64_t written = 0;
  };

  io::Storage* storage_;
  io::Host* host_;
  io::Directory* root_;
  std::string path_;
  std::chrono::nanoseconds length_;
  std::chrono::nanoseconds began_{0};
  std::vector<LogFile> logs_;
  std::uint64_t used_bytes_ = 0;
  std::vector<DeviceSample> device_;
  bool has_device_ = true;
};

}  // namespace slotkeeper::permanent

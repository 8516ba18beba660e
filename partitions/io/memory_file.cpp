#include "partitions/io/memory_file.hpp"

#include <cerrno>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "partitions/io/posix_call.hpp"

namespace slotkeeper::io {
namespace {

class DescriptorMemoryFile final : public MemoryFile {
 public:
  explicit DescriptorMemoryFile(Descriptor descriptor)
      : descriptor_(std::move(descriptor)), path_("/proc/self/fd/" + std::to_string(descriptor_.number())) {}

  [[nodiscard]] const std::string& path() const override { return path_; }

  [[nodiscard]] Result<std::vector<std::byte>> content() override {
    struct stat facts {};
    if (::fstat(descriptor_.number(), &facts) != 0) return call_failed("fstat", path_, errno);
    std::vector<std::byte> bytes(static_cast<std::size_t>(facts.st_size));
    for (std::size_t done = 0; done < bytes.size();) {
      const ssize_t count = uninterrupted([&] {
        return ::pread(descriptor_.number(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
      });
      if (count < 0) return call_failed("pread", path_, errno);
      if (count == 0) return call_failed("pread (nothing read)", path_, EIO);
      done += static_cast<std::size_t>(count);
    }
    return bytes;
  }

 private:
  Descriptor descriptor_;
  std::string path_;
};

}  // namespace

Result<std::unique_ptr<MemoryFile>> MemoryFile::create(const std::string& name, ConstBytes content) {
  Descriptor descriptor(::memfd_create(name.c_str(), MFD_CLOEXEC));
  if (!descriptor.is_open()) return call_failed("memfd_create", name, errno);
  for (std::size_t done = 0; done < content.size();) {
    const ConstBytes rest = content.subspan(done);
    const ssize_t count = uninterrupted(
        [&] { return ::pwrite(descriptor.number(), rest.data(), rest.size(), static_cast<off_t>(done)); });
    if (count < 0) return call_failed("pwrite", name, errno);
    if (count == 0) return call_failed("pwrite (nothing written)", name, EIO);
    done += static_cast<std::size_t>(count);
  }
  return std::make_unique<DescriptorMemoryFile>(std::move(descriptor));
}

}  // namespace slotkeeper::io

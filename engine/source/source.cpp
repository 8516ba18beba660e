#include "engine/source/source.hpp"

#include "engine/source/http_source.hpp"
#include "engine/source/location.hpp"

namespace slotkeeper {
namespace {

constexpr std::uint64_t kReleasedBytes = std::uint64_t{8} << 20U;

class FileSource final : public Source {
 public:
  FileSource(std::unique_ptr<io::File> file, std::string name, std::uint64_t size_bytes)
      : file_(std::move(file)), name_(std::move(name)), size_bytes_(size_bytes) {}

  [[nodiscard]] const std::string& name() const override { return name_; }
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override { return size_bytes_; }
  [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, io::Bytes into) override {
    auto got = file_->read_at(offset, into);
    if (!got.has_value()) return std::move(got).assume_error().with_code(Errc::source_unreachable);
    SK_TRY(release_behind(offset));
    return got;
  }

 private:
  /// A bundle is read once, front to back, and must not push out of the page cache what the device needs.
  Result<void> release_behind(std::uint64_t offset) {
    if (offset < released_bytes_ + kReleasedBytes) return success();
    SK_TRY(file_->release(released_bytes_, offset - released_bytes_));
    released_bytes_ = offset;
    return success();
  }

  std::uint64_t released_bytes_ = 0;  ///< from the beginning of the file
  std::unique_ptr<io::File> file_;
  std::string name_;
  std::uint64_t size_bytes_;
};

}  // namespace

Result<std::unique_ptr<Source>> open_file_source(io::Storage& storage, const std::string& path) {
  const auto open = [&]() -> Result<std::unique_ptr<Source>> {
    SK_TRY_ASSIGN(auto file, storage.open_file(path, {.follow_symlink = true}));
    SK_TRY_ASSIGN(const auto status, file->status());
    if (status.type != io::EntryType::regular) {
      return make_error(Errc::source_unreachable, path + " is not a regular file");
    }
    return std::unique_ptr<Source>(std::make_unique<FileSource>(std::move(file), path, status.size_bytes));
  };
  auto source = open();
  if (!source.has_value()) return std::move(source).assume_error().with_code(Errc::source_unreachable);
  return source;
}

Result<std::unique_ptr<Source>> open_source(io::Storage& storage, const std::string& location,
                                            const SourceSettings& settings, SourceCalls calls) {
  if (is_url(location)) return open_http_source(storage, location, settings, std::move(calls));
  return open_file_source(storage, location);
}

}  // namespace slotkeeper

// Whatever is accepted as a manifest keeps its limits and prints as something that is the same manifest.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/bundle/manifest.hpp"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace slotkeeper;
  using namespace slotkeeper::bundle;
  const auto parsed = parse_manifest({reinterpret_cast<const char*>(data), size});
  if (!parsed.has_value()) {
    const Errc code = parsed.assume_error().code;
    require(code == Errc::corrupt || code == Errc::unsupported);
    return 0;
  }
  const Manifest& manifest = parsed.assume_value();
  require(size <= kManifestMaxBytes && !manifest.images.empty() && manifest.images.size() <= kImagesMax);
  require(manifest.records_min >= 1 && manifest.records_min <= manifest.records_max);
  for (const auto& image : manifest.images) {
    require(is_plain_name(image.volume) && manifest.find(image.volume) == &image);
    require(image.plain_bytes >= 1 && image.plain_bytes <= kImageMaxBytes && image.index_bytes <= kIndexMaxBytes);
  }
  const std::string printed = print_manifest(manifest);
  if (printed.size() > kManifestMaxBytes) return 0;  // escapes may take more room than what they were written with
  const auto again = parse_manifest(printed);
  require(again.has_value() && print_manifest(again.assume_value()) == printed);
  return 0;
}

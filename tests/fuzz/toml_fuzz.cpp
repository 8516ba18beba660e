// Any text is a configuration, a manifest source, or an error that names the file.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/configuration/configuration.hpp"

namespace {

using namespace slotkeeper;

void check(const Error& error) {
  if (error.code != Errc::config && error.code != Errc::not_supported_yet) std::abort();
  if (!error.message.starts_with("f.toml:")) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto configuration = parse_configuration(text, "f.toml");
  if (configuration.has_error()) {
    check(configuration.assume_error());
  } else {
    const Configuration& good = configuration.assume_value();
    if (good.attempts < 1 || good.attempts > 9 || good.slots.a.volumes.size() != good.slots.b.volumes.size() ||
        good.slots.a.volumes.empty() || good.permanent_path.size() < 2)
      std::abort();
  }
  const auto source = parse_manifest_source(text, "f.toml");
  if (source.has_error()) {
    check(source.assume_error());
  } else if (source.assume_value().images.empty() || source.assume_value().compatible.empty()) {
    std::abort();
  }
  return 0;
}

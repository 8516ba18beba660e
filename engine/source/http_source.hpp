#pragma once

#include "engine/source/source.hpp"

namespace slotkeeper {

/// See open_source.
[[nodiscard]] Result<std::unique_ptr<Source>> open_http_source(io::Storage& storage, const std::string& url,
                                                               const SourceSettings& settings, SourceCalls calls);

}  // namespace slotkeeper

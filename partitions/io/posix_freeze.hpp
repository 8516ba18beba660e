// Freezing a filesystem through a process of its own. Private to partitions/io.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "partitions/io/freeze.hpp"
#include "partitions/io/storage.hpp"

namespace slotkeeper::io {

[[nodiscard]] Result<std::unique_ptr<Freeze>> freeze_filesystem(Storage& storage, const std::string& path,
                                                                std::chrono::milliseconds limit);

/// Undoes a freeze that nobody holds any more. True when there was one.
[[nodiscard]] Result<bool> thaw_filesystem(const std::string& path);

}  // namespace slotkeeper::io

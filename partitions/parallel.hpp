// Work on pieces by several threads.
#pragma once

#include <cstddef>
#include <functional>

#include "partitions/io/result.hpp"

namespace slotkeeper {

/// Threads beside the calling one that work may use; with 0 every call is made by the calling thread, in one order that
/// does not change from run to run.
using Helpers = unsigned int;

/// Calls `work` once for each number below `count`, begun in ascending order, by the calling thread and `helpers` more.
/// `between` is called by the calling thread alone, after each of its own pieces, with how many are done; its error
/// ends the work. Returns the error of the lowest piece that failed; no piece is begun after a failure.
[[nodiscard]] Result<void> for_each_piece(Helpers helpers, std::size_t count,
                                          const std::function<Result<void>(std::size_t piece)>& work,
                                          const std::function<Result<void>(std::size_t done)>& between);

}  // namespace slotkeeper

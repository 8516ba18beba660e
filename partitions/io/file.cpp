#include "partitions/io/file.hpp"

#include <cerrno>

namespace slotkeeper::io {

Result<void> File::read_exactly_at(std::uint64_t offset, Bytes into, Caller caller) {
  SK_TRY_ASSIGN(const std::size_t count, do_read_at(offset, into, caller));
  if (count == into.size()) return success();
  return make_error(Errc::io_error, name() + ": ends at offset " + std::to_string(offset + count) + " where " +
                                        std::to_string(into.size() - count) + " more bytes were expected");
}

}  // namespace slotkeeper::io

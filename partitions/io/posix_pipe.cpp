#include "partitions/io/posix_pipe.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace slotkeeper::io {

Descriptor lifted(int number) {
  Descriptor low(number);
  constexpr int kFirstFree = 3;
  return Descriptor(::fcntl(low.number(), F_DUPFD_CLOEXEC, kFirstFree));
}

Result<Pipe> make_pipe(const std::string& purpose) {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return call_failed("pipe2", purpose, errno);
  Pipe pipe{.read_end = lifted(ends[0]), .write_end = lifted(ends[1])};
  if (!pipe.read_end.is_open() || !pipe.write_end.is_open()) return call_failed("fcntl F_DUPFD", purpose, EMFILE);
  return pipe;
}

}  // namespace slotkeeper::io

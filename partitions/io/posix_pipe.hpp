// Pipes to processes of ours. Private to partitions/io.
#pragma once

#include "partitions/io/posix_call.hpp"

namespace slotkeeper::io {

/// The same descriptor above those of standard input, output and error, where dup2 in a child cannot meet it.
[[nodiscard]] Descriptor lifted(int number);

struct Pipe {
  Descriptor read_end;
  Descriptor write_end;
};
/// Both ends are lifted and close on exec. `purpose` is for messages.
[[nodiscard]] Result<Pipe> make_pipe(const std::string& purpose);

}  // namespace slotkeeper::io

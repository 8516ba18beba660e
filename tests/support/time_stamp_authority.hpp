// A real time stamp authority: OpenSSL's `openssl ts`.
#pragma once

#include <string>

namespace slotkeeper::test {

/// Answers a request (RFC 3161, DER) with this time (as faketime(1) takes it; the present when empty). `keys` is a
/// folder of fixtures/keys/make-keys, `name` the authority in it. Throws when the program does.
[[nodiscard]] std::string answer_time_stamp_request(const std::string& request, const std::string& keys,
                                                    const std::string& name, const std::string& time = "");

}  // namespace slotkeeper::test

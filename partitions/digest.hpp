// SHA-256 (through OpenSSL's EVP) and the fast hash for read-backs (XXH3): the one door to both.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "partitions/io/types.hpp"

namespace slotkeeper {

struct Sha256 {
  std::array<std::byte, 32> bytes{};
  auto operator<=>(const Sha256&) const = default;
  [[nodiscard]] std::string hex() const;
  [[nodiscard]] static std::optional<Sha256> from_hex(std::string_view text);  ///< 64 lower-case digits
};

/// Hashes a stream. After `finish` it starts over.
class Sha256Stream {
 public:
  Sha256Stream();
  Sha256Stream(Sha256Stream&&) noexcept;
  Sha256Stream& operator=(Sha256Stream&&) noexcept;
  ~Sha256Stream();
  void update(io::ConstBytes data);
  [[nodiscard]] Sha256 finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

[[nodiscard]] Sha256 sha256(io::ConstBytes data);

/// XXH3 with 64 bits: finds accidents, not attackers.
[[nodiscard]] std::uint64_t fast_hash(io::ConstBytes data);

/// XXH3 over a stream; the same value however it is cut. After `finish` it starts over.
class FastHashStream {
 public:
  FastHashStream();
  FastHashStream(FastHashStream&&) noexcept;
  FastHashStream& operator=(FastHashStream&&) noexcept;
  ~FastHashStream();
  void update(io::ConstBytes data);
  [[nodiscard]] std::uint64_t finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// CRC-32 (IEEE 802.3, as U-Boot and zlib have it).
[[nodiscard]] std::uint32_t crc32(io::ConstBytes data);

}  // namespace slotkeeper

// SHA-256 (through OpenSSL's EVP) and the fast hash for read-backs (XXH3): the one door to both.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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

/// A hash that several processors can compute at a time: SHA-256 over the SHA-256 of each piece, of which all but the
/// last have this length. In the shell: split -b 1M --filter='sha256sum | cut -c1-64 | xxd -r -p' FILE | sha256sum
inline constexpr std::size_t kHashPieceBytes = 1 << 20;
[[nodiscard]] Sha256 combine_pieces(const std::vector<Sha256>& pieces);
/// The same as sha256(), without the work where all of it is zero, as in much of an image.
[[nodiscard]] Sha256 hash_piece(io::ConstBytes piece);

/// The hash by pieces of a stream. After `finish` it starts over.
class PiecesStream {
 public:
  void update(io::ConstBytes data);
  [[nodiscard]] Sha256 finish();

 private:
  Sha256Stream piece_;
  std::size_t filled_bytes_ = 0;
  std::vector<Sha256> pieces_;
};

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

// Encrypts and decrypts what a bundle stores of an image, its frames and its index: AES-256-GCM, the one door to it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/bundle/content_key.hpp"
#include "partitions/io/result.hpp"
#include "partitions/io/types.hpp"

namespace slotkeeper::bundle {

inline constexpr std::size_t kTagBytes = 16;  ///< by so much the stored form is longer

/// What is encrypted of an image is told apart by where its plain bytes begin in it; the index has this number.
inline constexpr std::uint64_t kIndexPosition = UINT64_MAX;

/// What an image is encrypted with. Without a key it is not.
struct ImageKey {
  ContentKeyPointer content_key;
  std::uint32_t image = 0;  ///< its number in the manifest
  std::string volume;
};

using Nonce = std::array<std::byte, 12>;
/// Different for everything that is ever encrypted under one content key: that is made for one bundle, and in it image
/// and position occur once.
[[nodiscard]] Nonce nonce_of(std::uint32_t image, std::uint64_t position);

/// One for each thread.
class FrameCipher {
 public:
  /// Requires: a key.
  explicit FrameCipher(const ImageKey& key);
  FrameCipher(FrameCipher&&) noexcept;
  ~FrameCipher();
  /// Requires: each position once.
  [[nodiscard]] std::vector<std::byte> seal(std::uint64_t position, io::ConstBytes plain);
  /// In place; what comes back is the first part of `sealed`. Errors: corrupt (another key, image, position, or
  /// damaged).
  [[nodiscard]] Result<io::Bytes> open(std::uint64_t position, io::Bytes sealed);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace slotkeeper::bundle

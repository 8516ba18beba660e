// What the tests of bundles need: keys made at run time, images, bundles whole and taken apart.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "engine/bundle/bundle.hpp"
#include "engine/bundle/bundle_writer.hpp"
#include "engine/source/source.hpp"
#include "partitions/io/storage.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/temporary_directory.hpp"

namespace slotkeeper::test {

inline std::string read_file(const std::string& path) {
  const auto storage = io::make_posix_storage();
  auto text = storage->read_text(path, 1u << 30);
  if (!text.has_value()) throw std::runtime_error(text.error().message);
  return std::move(text).value();
}

/// Replaces what is there.
inline void write_file(const std::string& path, std::string_view text) {
  const auto storage = io::make_posix_storage();
  auto file = storage->open_file(path, io::OpenMode::read_write());
  if (!file.has_value()) file = storage->open_file(path, io::OpenMode::create_new(0644));
  if (!file.has_value()) throw std::runtime_error(file.error().message);
  if (!file.value()->resize(text.size()).has_value() || !file.value()->write_at(0, io::as_bytes(text)).has_value() ||
      !file.value()->close().has_value()) {
    throw std::runtime_error(path + " cannot be written");
  }
}

inline bool exists(const std::string& path) { return io::make_posix_storage()->status_of(path).has_value(); }

/// The folder that fixtures/keys/make-keys has filled. Made once and kept beside the test program, because every test
/// is a process of its own; the name follows the script, so that a changed one is run again.
inline const std::string& key_folder() {
  static const std::string folder = [] {
    const std::string script = std::string(SLOTKEEPER_SOURCE_DIR) + "/fixtures/keys/make-keys";
    const std::string version = sha256(io::as_bytes(read_file(script))).hex().substr(0, 16);
    std::string program = run_tool({"readlink", "/proc/" + std::to_string(getpid()) + "/exe"});
    const std::string path = program.substr(0, program.rfind('/')) + "/test-keys-" + version;
    if (!exists(path)) {
      const std::string mine = path + "." + std::to_string(getpid());
      run_tool({"bash", script, mine});
      // Whoever comes second finds the name taken and uses what is there.
      run_tool({"sh", "-c", "mv -T \"$1\" \"$2\" 2>/dev/null || rm -rf \"$1\"", "sh", mine, path});
    }
    return path;
  }();
  return folder;
}

inline std::string certificate_path(const std::string& name) { return key_folder() + "/" + name + ".pem"; }
inline std::string key_path(const std::string& name) { return key_folder() + "/" + name + ".key"; }

/// A signer of make-keys with the intermediates that its chain needs.
inline bundle::SigningIdentity identity_of(const std::string& name) {
  bundle::SigningIdentity identity{.certificate_pem = read_file(certificate_path(name)),
                                   .key_pem = read_file(key_path(name)),
                                   .intermediates_pem = {}};
  if (name == "brainpool") identity.intermediates_pem.push_back(read_file(certificate_path("intermediate")));
  return identity;
}

/// A recipient of make-keys.
inline bundle::RecipientIdentity recipient_of(const std::string& name) {
  bundle::RecipientIdentity identity;
  identity.certificate_pem = read_file(certificate_path(name));
  identity.key_pem = read_file(key_path(name));
  identity.origin = name + ".pem";
  return identity;
}
inline bundle::FindRecipient decrypted_by(const std::string& name) {
  return [name]() -> Result<bundle::RecipientIdentity> { return recipient_of(name); };
}

inline constexpr std::int64_t kMiddleOf2026 = 1782000000;  ///< seconds since 1970

inline bundle::TrustPolicy policy_with(const std::string& anchor = "ca") {
  return {.anchors_pem = read_file(certificate_path(anchor)),
          .origin = "/etc/slotkeeper/trust.pem",
          .signatures_required = 1,
          .now = {.seconds = kMiddleOf2026, .nanoseconds = 0}};
}

/// Bytes like those of a root filesystem: text that compresses, noise that does not, and long runs of zeros.
inline std::string image_bytes(std::size_t size, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  constexpr std::size_t kPiece = 32 * 1024;
  for (std::size_t begin = 0; begin < size; begin += kPiece) {
    const std::size_t end = std::min(size, begin + kPiece);
    const auto kind = (begin / kPiece) % 8;
    for (std::size_t i = begin; i < end && kind < 5; ++i) {
      bytes[i] = static_cast<char>(kind == 0 ? random() & 0xff : 'a' + (random() & 3));
    }
  }
  return bytes;
}

struct TestImage {
  std::string volume;
  std::string bytes;
};

inline std::vector<TestImage> two_images() {
  return {{"rootfs", image_bytes(3 << 20, 1)}, {"boot-fs", image_bytes((256 << 10) + 512, 2)}};
}

/// Makes NAME in the folder, and the images as files beside it.
inline bundle::CreateRequest request_for(const TemporaryDirectory& folder, const std::string& name,
                                         const std::vector<TestImage>& images, const std::string& signer = "p256") {
  bundle::CreateRequest request;
  request.description.version = "3.5.1";
  request.description.compatible = {"konnektor-x1"};
  for (const auto& image : images) {
    write_file(folder / (image.volume + ".img"), image.bytes);
    request.images.push_back({.volume = image.volume, .path = folder / (image.volume + ".img")});
  }
  request.identity = identity_of(signer);
  request.output_path = folder / name;
  request.compression_level = 3;
  request.chunk_bytes = 64 * 1024;
  return request;
}

inline Result<bundle::CreatedBundle> create(const bundle::CreateRequest& request) {
  const auto storage = io::make_posix_storage();
  SilentProgress progress;
  return bundle::create_bundle(*storage, request, progress);
}

/// All images encrypted.
inline bundle::CreateRequest encrypted_for(bundle::CreateRequest request, const std::vector<std::string>& recipients) {
  for (auto& image : request.images) image.encrypt = true;
  for (const auto& name : recipients) request.recipients_pem.push_back(read_file(certificate_path(name)));
  return request;
}

/// Bytes in memory as a source. Without a known size it is like a stream.
class MemorySource final : public Source {
 public:
  explicit MemorySource(std::string bytes, bool size_is_known = true)
      : bytes_(std::move(bytes)), size_is_known_(size_is_known) {}
  [[nodiscard]] const std::string& name() const override { return name_; }
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override {
    return size_is_known_ ? std::optional<std::uint64_t>(bytes_.size()) : std::nullopt;
  }
  [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, io::Bytes into) override {
    if (offset >= bytes_.size()) return std::size_t{0};
    const std::size_t count = std::min<std::size_t>(into.size(), bytes_.size() - offset);
    bytes_.copy(reinterpret_cast<char*>(into.data()), count, offset);
    bytes_read_ += count;
    return count;
  }
  [[nodiscard]] std::string& bytes() { return bytes_; }
  [[nodiscard]] std::uint64_t bytes_read() const { return bytes_read_; }

 private:
  std::string name_ = "test.skb";
  std::string bytes_;
  bool size_is_known_;
  std::uint64_t bytes_read_ = 0;
};

inline Result<bundle::VerifiedManifest> verify_bytes(std::string bytes, const bundle::TrustPolicy& policy,
                                                     const bundle::FindRecipient& find = bundle::no_recipient) {
  SK_TRY_ASSIGN(auto opened, bundle::open_bundle(std::make_unique<MemorySource>(std::move(bytes))));
  return bundle::verify_bundle(std::move(opened), policy, find);
}

/// All bytes of an image, or the first error.
inline Result<std::string> read_image(const bundle::VerifiedManifest& manifest, std::size_t image,
                                      std::size_t first_chunk = 0, Helpers helpers = 0) {
  bundle::ImageReader reader(manifest, image, {.first_chunk = first_chunk, .helpers = helpers});
  std::string bytes;
  while (true) {
    SK_TRY_ASSIGN(const auto chunk, reader.next());
    if (!chunk) return bytes;
    if (chunk->zeros) {
      bytes.append(chunk->plain_bytes, '\0');
    } else {
      bytes.append(io::as_text(chunk->data));
    }
  }
}

/// Two strings in the place of slots.
class TwoStrings final : public bundle::OnSlots {
 public:
  std::string target;
  std::string old;
  bool fails = false;  ///< no read succeeds

  [[nodiscard]] bool read(bundle::ReusePlan::From from, std::uint64_t offset, io::Bytes into) override {
    const std::string& bytes = from == bundle::ReusePlan::From::target ? target : old;
    if (fails || offset >= bytes.size()) return false;
    EXPECT_EQ(offset % io::kDirectAlignment, 0u);
    EXPECT_EQ(into.size() % io::kDirectAlignment, 0u);
    bytes.copy(reinterpret_cast<char*>(into.data()), into.size(), offset);
    return true;
  }
};

struct RawMember {
  std::string name;
  std::string data;
};

/// Reads the archive by itself, so that it can be put together wrongly.
inline std::vector<RawMember> take_apart(const std::string& bytes) {
  std::vector<RawMember> members;
  for (std::size_t at = 0; at + 512 <= bytes.size() && bytes[at] != '\0';) {
    const std::size_t size = std::stoull(bytes.substr(at + 124, 11), nullptr, 8);
    members.push_back({bytes.c_str() + at, bytes.substr(at + 512, size)});
    at += 512 + (size + 511) / 512 * 512;
  }
  return members;
}

inline std::string put_together(const std::vector<RawMember>& members) {
  std::string bytes;
  for (const auto& member : members) {
    bytes += bundle::member_header(member.name, member.data.size()) + member.data;
    bytes.resize((bytes.size() + 511) / 512 * 512, '\0');
  }
  return bytes + std::string(1024, '\0');
}

/// manifest.json changed and signed again, so that only what the change does is wrong.
inline std::vector<RawMember> sign_again(std::vector<RawMember> members, const bundle::Manifest& manifest) {
  members[0].data = bundle::print_manifest(manifest);
  members[1].data = bundle::sign_manifest(members[0].data, identity_of("p256")).value();
  return members;
}

inline void expect_error(Errc code, std::string_view gist, const Error& error) {
  EXPECT_EQ(info(error.code).name, info(code).name) << error.message;
  EXPECT_NE(error.message.find(gist), std::string::npos) << "'" << gist << "' is not in: " << error.message;
}

template <class T>
void expect_failure(const Result<T>& result, Errc code, std::string_view gist = "") {
  ASSERT_FALSE(result.has_value()) << "expected " << info(code).name << ": " << gist;
  expect_error(code, gist, result.error());
}

}  // namespace slotkeeper::test

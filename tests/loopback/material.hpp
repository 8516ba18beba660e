// What all devices of the tests are made from and is slow to make: keys, root filesystems, bundles. Made once for each
// build of the program, in a folder that test processes share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/file_contents.hpp"

namespace slotkeeper::test {

void write_file(const std::string& path, const std::string& contents, unsigned int mode = 0644);

/// Signers that fixtures/keys/make-keys makes: trusted, or wrong in one way each.
enum class Signer {
  good,
  unknown,
  impostor,
  expired,
  not_yet_valid,
  wrong_purpose,
  no_purpose,
  no_usage,
  short_rsa,
  other_curve,
  explicit_curve,
  sha1_certificate,
  below_intermediate,
  second,   ///< as good as `good`
  renewed,  ///< of the name of `good`, with another key
  revoked,
};

class Material {
 public:
  /// Waits while another process makes it.
  [[nodiscard]] static const Material& get();

  [[nodiscard]] std::string anchors() const { return folder_ + "/keys/ca.pem"; }
  [[nodiscard]] std::string certificate(Signer signer) const;
  [[nodiscard]] std::string key(Signer signer) const;
  [[nodiscard]] std::string intermediate() const;
  /// A file of fixtures/keys/make-keys by its name.
  [[nodiscard]] std::string key_file(const std::string& name) const { return folder_ + "/keys/" + name; }
  /// Of whom bundles are encrypted for: "device", "device-rsa", "group"; of "stranger", whom none is.
  [[nodiscard]] std::string recipient(const std::string& name) const { return folder_ + "/keys/" + name + ".pem"; }
  [[nodiscard]] std::string recipient_key(const std::string& name) const { return folder_ + "/keys/" + name + ".key"; }
  /// A root filesystem with this version in /etc/firmware-version: "1.0.0", "2.0.0", "3.0.0"; "9.0.0" has no
  /// /sbin/init and never comes up.
  [[nodiscard]] std::string image(const std::string& version) const;
  /// The bundle of such an image, for "konnektor-x1", volume rootfs.
  [[nodiscard]] std::string bundle(const std::string& version) const;
  [[nodiscard]] static std::uint64_t image_bytes() { return 12ull << 20; }

 private:
  explicit Material(std::string folder);
  void make() const;

  std::string folder_;
};

/// How a bundle differs from the ordinary.
struct BundleRecipe {
  std::string version = "2.0.0";
  std::string compatible = "konnektor-x1";
  std::string more = {};  ///< further lines of the manifest source, before the images
  /// volume, file
  std::vector<std::pair<std::string, std::string>> images = {{"rootfs", Material::get().image("2.0.0")}};
  Signer signer = Signer::good;
  bool with_intermediate = false;         ///< pack the certificate between brainpool signer and CA
  std::vector<std::string> options = {};  ///< further ones of `bundle create`
};
/// Runs `bundle create`; throws when it fails.
void make_bundle(const BundleRecipe& recipe, const std::string& output);

/// A bundle taken apart, so that tests can break it: headers and data of its members.
class BundleFile {
 public:
  struct Member {
    std::string name;
    std::string header;  ///< 512 bytes
    std::string data;    ///< without padding
  };

  [[nodiscard]] static BundleFile read(const std::string& path);
  [[nodiscard]] std::vector<Member>& members() { return members_; }
  [[nodiscard]] Member& member(const std::string& name);
  /// Puts other data into a member; its header tells the new size.
  void replace(const std::string& name, const std::string& data);
  /// Signs the manifest anew, by the openssl program and not by ours. Not every signer can be had from `bundle create`.
  void sign(Signer signer);

  /// Where each member and the end of the archive begin.
  [[nodiscard]] std::vector<std::uint64_t> boundaries() const;
  [[nodiscard]] std::string bytes() const;
  void write(const std::string& path) const { write_file(path, bytes()); }

 private:
  std::vector<Member> members_;
};

}  // namespace slotkeeper::test

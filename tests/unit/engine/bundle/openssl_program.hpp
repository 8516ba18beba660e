// OpenSSL's own program: it makes and reads what ours reads and makes, and signs what ours refuses to.
#pragma once

#include <string>
#include <vector>

#include "tests/unit/engine/bundle/bundle_workshop.hpp"

namespace slotkeeper::test {

inline const std::string kSignedText = "{\"format\":1}\n";

class OpensslProgram {
 public:
  OpensslProgram() { write_file(folder_ / "manifest.json", kSignedText); }

  /// A detached signature over `kSignedText`.
  std::string sign(const std::vector<std::string>& options) {
    std::vector<std::string> command = {"openssl", "cms",        "-sign",       "-binary", "-outform", "DER",
                                        "-in",     path("json"), "-nosmimecap", "-out",    path("cms")};
    command.insert(command.end(), options.begin(), options.end());
    run_tool(command);
    return read_file(path("cms"));
  }
  static std::vector<std::string> by(const std::string& name, std::vector<std::string> more = {"-md", "sha256"}) {
    std::vector<std::string> options = {"-signer", certificate_path(name), "-inkey", key_path(name)};
    options.insert(options.end(), more.begin(), more.end());
    return options;
  }
  /// Throws when the program does not accept the signature.
  std::string verify(const std::string& cms) {
    write_file(path("cms"), cms);
    return run_tool({"openssl", "cms", "-verify", "-inform", "DER", "-binary", "-purpose", "any", "-content",
                     path("json"), "-in", path("cms"), "-CAfile", certificate_path("ca")});
  }
  std::string describe(const std::string& cms) {
    write_file(path("cms"), cms);
    return run_tool({"openssl", "cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", path("cms")});
  }

 private:
  [[nodiscard]] std::string path(const std::string& ending) const { return folder_ / ("manifest." + ending); }
  TemporaryDirectory folder_;
};

}  // namespace slotkeeper::test

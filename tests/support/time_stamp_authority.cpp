#include "tests/support/time_stamp_authority.hpp"

#include <fstream>
#include <sstream>

#include "tests/support/loop_device.hpp"
#include "tests/support/temporary_directory.hpp"

namespace slotkeeper::test {

std::string answer_time_stamp_request(const std::string& request, const std::string& keys, const std::string& name,
                                      const std::string& time) {
  const TemporaryDirectory folder;
  std::ofstream(folder / "request", std::ios::binary) << request;
  std::ofstream(folder / "tsa.cnf") << "[tsa]\ndefault_tsa = authority\n[authority]\nserial = " << (folder / "serial")
                                    << "\nsigner_cert = " << keys << "/" << name << ".pem\nsigner_key = " << keys << "/"
                                    << name
                                    << ".key\nsigner_digest = sha256\ndefault_policy = 1.2.3.4\n"
                                       "digests = sha256, sha384, sha512\ness_cert_id_alg = sha256\n";
  std::vector<std::string> command = {"openssl",          "ts",         "-reply",           "-config",
                                      folder / "tsa.cnf", "-queryfile", folder / "request", "-out",
                                      folder / "response"};
  if (!time.empty()) command.insert(command.begin(), {"faketime", time});
  run_tool(command);
  std::ostringstream response;
  response << std::ifstream(folder / "response", std::ios::binary).rdbuf();
  return response.str();
}

}  // namespace slotkeeper::test

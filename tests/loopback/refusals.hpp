// What bad input gets: exit status, code, the message's gist, and a device that is byte for byte what it was. The cases
// stand in refusals_*_test.cpp, by what is wrong: the bundle (exit 4), the environment (2), the moment (3, 6, 8).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"

namespace slotkeeper::test {

/// Makes one thing wrong; returns the arguments of the command that is to be refused.
using Preparation = std::function<std::vector<std::string>(DeviceRig&)>;

struct Refusal {
  std::string name;
  Preparation prepare;
  int exit_status = 0;
  std::string code;
  std::string gist;  ///< regular expression that the message matches
  RigSettings settings;
};
void PrintTo(const Refusal& refusal, std::ostream* out);

class Refuses : public testing::TestWithParam<Refusal> {};
std::string name_of_refusal(const testing::TestParamInfo<Refusal>& info);

void expect_refusal(const Answer& answer, int exit_status, const std::string& code, const std::string& gist);
/// Exits 3 and 4 may add to the history, all others write nothing at all.
void expect_unchanged(const Fingerprint& before, const DeviceRig& device, int exit_status);

std::vector<std::string> install_good();
/// Installs a copy of the good bundle that was changed by `change`.
Preparation with_bundle(std::function<void(BundleFile&)> change);
Preparation signed_by(Signer signer);
Preparation with_recipe(std::function<void(DeviceRig&, BundleRecipe&)> change);
/// A manifest with a piece replaced, signed by the trusted signer.
Preparation with_manifest(std::string piece, std::string by);
/// Adds lines to `[trust]`; $NAME.crl and $NAME.pem in them stand for files of fixtures/keys/make-keys, $HERE for the
/// device's folder.
Preparation with_trust(
    std::string lines, Preparation rest = [](DeviceRig&) { return install_good(); });
Preparation with_configuration(std::string piece, std::string by);
Preparation with_command(std::vector<std::string> arguments);
void flip_in_middle(std::string& data);

}  // namespace slotkeeper::test

#include "tests/loopback/refusals.hpp"

#include <utility>

#include <gmock/gmock.h>

namespace slotkeeper::test {

using testing::ContainsRegex;
void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }

std::vector<std::string> install_good() { return {"install", Material::get().bundle("2.0.0")}; }

static std::string outcome_of(int exit_status) {
  return exit_status == 3 ? "postponed" : exit_status == 4 ? "refused" : "failed";
}

void expect_refusal(const Answer& answer, int exit_status, const std::string& code, const std::string& gist) {
  EXPECT_EQ(answer.exit_status, exit_status) << answer.story();
  EXPECT_EQ(answer.code(), code) << answer.story();
  EXPECT_THAT(answer.message(), ContainsRegex(gist));
  EXPECT_EQ(answer.outcome(), outcome_of(exit_status)) << answer.story();
  EXPECT_NE(answer.message().empty() ? '.' : answer.message().back(), '.');
}

void expect_unchanged(const Fingerprint& before, const DeviceRig& device, int exit_status) {
  const bool may_note = exit_status == 3 || exit_status == 4;
  const std::vector<std::string> ignored =
      may_note ? std::vector<std::string>{"store history"} : std::vector<std::string>{};
  EXPECT_EQ(difference(without(before, ignored), without(device.fingerprint(), ignored)), "");
}

TEST_P(Refuses, AndChangesNothing) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  const Refusal& refusal = GetParam();
  DeviceRig device(refusal.settings);
  const std::vector<std::string> arguments = refusal.prepare(device);
  const Fingerprint before = device.fingerprint();
  const Answer answer = device.run(arguments);
  expect_refusal(answer, refusal.exit_status, refusal.code, refusal.gist);
  expect_unchanged(before, device, refusal.exit_status);
  // Once more with the same answer: the refusal itself left nothing behind.
  EXPECT_EQ(device.run(arguments).code(), refusal.code);
}

std::string name_of_refusal(const testing::TestParamInfo<Refusal>& info) { return info.param.name; }

Preparation with_bundle(std::function<void(BundleFile&)> change) {
  return [change = std::move(change)](DeviceRig& device) {
    BundleFile bundle = BundleFile::read(Material::get().bundle("2.0.0"));
    change(bundle);
    bundle.write(device.path("changed.skb"));
    return std::vector<std::string>{"install", device.path("changed.skb")};
  };
}

Preparation signed_by(Signer signer) {
  return with_bundle([signer](BundleFile& bundle) { bundle.sign(signer); });
}

Preparation with_recipe(std::function<void(DeviceRig&, BundleRecipe&)> change) {
  return [change = std::move(change)](DeviceRig& device) {
    BundleRecipe recipe;
    change(device, recipe);
    make_bundle(recipe, device.path("changed.skb"));
    return std::vector<std::string>{"install", device.path("changed.skb")};
  };
}

Preparation with_manifest(std::string piece, std::string by) {
  return with_bundle([piece = std::move(piece), by = std::move(by)](BundleFile& bundle) {
    std::string manifest = bundle.member("manifest.json").data;
    const std::size_t at = manifest.find(piece);
    if (at == std::string::npos) throw std::runtime_error("the manifest has no " + piece + ": " + manifest);
    bundle.replace("manifest.json", manifest.replace(at, piece.size(), by));
    bundle.sign(Signer::good);
  });
}

void flip_in_middle(std::string& data) {
  char& byte = data.at(data.size() / 2);
  byte = static_cast<char>(byte ^ 0x10);
}

namespace {

void replace_all(std::string& text, const std::string& piece, const std::string& by) {
  for (std::size_t at = 0; (at = text.find(piece, at)) != std::string::npos; at += by.size()) {
    text.replace(at, piece.size(), by);
  }
}

}  // namespace

Preparation with_trust(std::string lines, Preparation rest) {
  return [lines = std::move(lines), rest = std::move(rest)](DeviceRig& device) {
    std::string text = lines;
    replace_all(text, "$HERE", device.path(""));
    replace_all(text, "$", Material::get().key_file(""));
    device.edit_configuration("[trust]", "[trust]\n" + text);
    return rest(device);
  };
}

Preparation with_configuration(std::string piece, std::string by) {
  return [piece = std::move(piece), by = std::move(by)](DeviceRig& device) {
    device.edit_configuration(piece, by);
    return install_good();
  };
}

Preparation with_command(std::vector<std::string> arguments) {
  return [arguments = std::move(arguments)](DeviceRig&) { return arguments; };
}

}  // namespace slotkeeper::test

#include "engine/bundle/manifest.hpp"

#include <gtest/gtest.h>

namespace slotkeeper::bundle {
namespace {

const std::string kDigest(64, 'c');
const std::string kImage =
    R"({"volume":"rootfs","plain-bytes":4096,"stored-bytes":100,"index-bytes":96,"index-sha256":")" + kDigest +
    R"(","plain-sha256":")" + kDigest + R"(","pieces-sha256":")" + kDigest + R"("})";

std::string with(const std::string& members, const std::string& images) {
  return R"({"format":1,"version":"3.5.1","compatible":["konnektor-x1"],"records":[1,1])" + members + R"(,"images":[)" +
         images + "]}";
}

/// The good manifest with the first occurrence of a text replaced.
std::string changed(const std::string& from, const std::string& to) {
  std::string text = with("", kImage);
  const std::size_t at = text.find(from);
  if (at == std::string::npos) throw std::runtime_error("no " + from);
  return text.replace(at, from.size(), to);
}

std::string error_of(const std::string& text) {
  const auto parsed = parse_manifest(text);
  return parsed.has_value() ? "accepted" : std::string(info(parsed.error().code).name);
}

Manifest full_manifest() {
  Manifest manifest;
  manifest.version = "3.5.1";
  manifest.compatible = {"konnektor-x1", "konnektor-x2"};
  manifest.firmware_group = FirmwareGroup{.version = 7, .admits = {"3.5.0", "3.5.1"}};
  manifest.config = ConfigSchema{.schema = 4, .readable_by = 3};
  manifest.records_max = 2;
  for (const char* volume : {"rootfs", "boot-fs"}) {
    Image image;
    image.volume = volume;
    image.plain_bytes = 1 << 20;
    image.stored_bytes = 1000;
    image.index_bytes = 96;
    image.index_digest = sha256(io::as_bytes(volume));
    image.plain_digest = sha256(io::as_bytes("plain"));
    image.pieces_digest = sha256(io::as_bytes("pieces"));
    manifest.images.push_back(image);
  }
  return manifest;
}

TEST(Manifest, ComesBackAsPrinted) {
  const std::string text = print_manifest(full_manifest());
  const auto parsed = parse_manifest(text);
  ASSERT_TRUE(parsed.has_value()) << parsed.error().message;
  EXPECT_EQ(print_manifest(parsed.value()), text);
  EXPECT_EQ(parsed.value().firmware_group->admits.size(), 2u);
  EXPECT_EQ(parsed.value().config->readable_by, 3);
  EXPECT_EQ(parsed.value().records_max, 2);
  ASSERT_NE(parsed.value().find("boot-fs"), nullptr);
  EXPECT_EQ(parsed.value().find("boot-fs")->index_digest, sha256(io::as_bytes("boot-fs")));
  EXPECT_EQ(parsed.value().find("data"), nullptr);
}

TEST(Manifest, ADeltaNamesItsOldImageAndPerhapsTheFullBundle) {
  Manifest manifest = full_manifest();
  manifest.full = "full-3.5.1.skb";
  EXPECT_EQ(error_of(print_manifest(manifest)), "corrupt");  // no image needs an old one
  manifest.images[1].old_image = OldImage{.version = "3.5.0",
                                          .plain_bytes = 4096,
                                          .plain_digest = sha256(io::as_bytes("old")),
                                          .pieces_digest = sha256(io::as_bytes("old pieces"))};
  const std::string text = print_manifest(manifest);
  const auto parsed = parse_manifest(text);
  ASSERT_TRUE(parsed.has_value()) << parsed.error().message;
  EXPECT_TRUE(parsed.value().is_delta());
  EXPECT_FALSE(parsed.value().images[0].old_image.has_value());
  EXPECT_EQ(parsed.value().images[1].old_image, manifest.images[1].old_image);
  EXPECT_EQ(parsed.value().full, "full-3.5.1.skb");
  EXPECT_EQ(print_manifest(parsed.value()), text);
  for (const char* name : {"../full.skb", "/full.skb", "http://host/full.skb", ".full.skb", ""}) {
    manifest.full = name;
    EXPECT_EQ(error_of(print_manifest(manifest)), "corrupt") << name;
  }
  EXPECT_EQ(error_of(changed(R"("volume":)", R"("delta-from":"3.4","volume":)")), "corrupt");
  EXPECT_EQ(error_of(changed(R"("volume":)", R"("delta-from":{"version":"3.4"},"volume":)")), "corrupt");
}

TEST(Manifest, AlwaysPrintsTheSameBytes) {
  Manifest manifest;
  manifest.version = "1";
  manifest.compatible = {"d"};
  Image image;
  image.volume = "rootfs";
  image.plain_bytes = 512;
  image.stored_bytes = 20;
  image.index_bytes = 96;
  manifest.images.push_back(image);
  const std::string zeros(64, '0');
  EXPECT_EQ(print_manifest(manifest),
            R"({"format":1,"version":"1","compatible":["d"],"records":[1,1],"images":[{"volume":"rootfs",)"
            R"("plain-bytes":512,"stored-bytes":20,"index-bytes":96,"index-sha256":")" +
                zeros + R"(","plain-sha256":")" + zeros + R"(","pieces-sha256":")" + zeros + "\"}]}\n");
}

TEST(Manifest, AcceptsTheSmallestOne) { EXPECT_EQ(error_of(with("", kImage)), "accepted"); }

TEST(Manifest, RefusesAnotherFormatBeforeAnythingElse) {
  EXPECT_EQ(error_of(R"({"format":2,"what":"ever"})"), "unsupported");
  EXPECT_EQ(error_of(changed(R"("format":1)", R"("format":0)")), "corrupt");
  EXPECT_EQ(error_of(changed(R"("format":1,)", "")), "corrupt");
}

TEST(Manifest, RefusesUnknownKeysAsMadeForANewerVersion) {
  EXPECT_EQ(error_of(with(R"(,"requires":"magic")", kImage)), "unsupported");
  EXPECT_EQ(error_of(changed(R"("volume":)", R"("delta-to":"3.4","volume":)")), "unsupported");
  EXPECT_EQ(error_of(with(R"(,"config":{"schema":4,"readable-by":3,"x":1})", kImage)), "unsupported");
  EXPECT_EQ(error_of(with(R"(,"firmware-group":{"version":7,"admits":["3.5.1"],"x":1})", kImage)), "unsupported");
}

TEST(Manifest, RefusesVersionRulesThatContradictIt) {
  const auto group = [](const std::string& admits) {
    return error_of(with(R"(,"firmware-group":{"version":7,"admits":[)" + admits + "]}", kImage));
  };
  EXPECT_EQ(group("\"3.5.1\""), "accepted");
  EXPECT_EQ(group(""), "corrupt");
  EXPECT_EQ(group("\"3.5.0\""), "corrupt");
  std::string many = "\"3.5.1\"";
  for (std::size_t i = 0; i < kAdmitsMax; ++i) many += ",\"" + std::to_string(i) + "\"";
  EXPECT_EQ(group(many), "corrupt");
  EXPECT_EQ(error_of(with(R"(,"minimum-version":"3.5")", kImage)), "accepted");
  EXPECT_EQ(error_of(with(R"(,"minimum-version":"3.5.2")", kImage)), "corrupt");
  EXPECT_EQ(error_of(with(R"(,"minimum-version":"three")", kImage)), "corrupt");
  EXPECT_EQ(error_of(with(R"(,"minimum-version":"3","firmware-group":{"version":7,"admits":["3.5.1"]})", kImage)),
            "corrupt");
}

TEST(Manifest, RefusesDuplicateKeysAndTrailingText) {
  EXPECT_EQ(error_of(changed(R"("format":1)", R"("format":1,"format":1)")), "corrupt");
  EXPECT_EQ(error_of(changed(R"("volume":"rootfs")", R"("volume":"rootfs","volume":"boot")")), "corrupt");
  EXPECT_EQ(error_of(with("", kImage) + "{}"), "corrupt");
}

TEST(Manifest, RefusesWhatIsNotItsGrammar) {
  for (const std::string text : {"", "[]", "null", "{", "\x01"}) EXPECT_EQ(error_of(text), "corrupt") << text;
  EXPECT_EQ(error_of(changed(R"("version":"3.5.1")", R"("version":351)")), "corrupt");
  EXPECT_EQ(error_of(changed(R"("version":"3.5.1",)", "")), "corrupt");
  EXPECT_EQ(error_of(changed(R"("konnektor-x1")", "")), "corrupt");
  EXPECT_EQ(error_of(changed(R"(["konnektor-x1"])", R"("konnektor-x1")")), "corrupt");
  EXPECT_EQ(error_of(changed("[1,1]", "[2,1]")), "corrupt");
  EXPECT_EQ(error_of(changed("[1,1]", "[0,1]")), "corrupt");
  EXPECT_EQ(error_of(changed("[1,1]", "[1]")), "corrupt");
  EXPECT_EQ(error_of(with("", "")), "corrupt");
  EXPECT_EQ(error_of(with("", kImage + "," + kImage)), "corrupt");
  EXPECT_EQ(error_of(with(R"(,"config":{"schema":3,"readable-by":4})", kImage)), "corrupt");
}

TEST(Manifest, RefusesNamesThatCouldMeanSomethingElse) {
  for (const std::string name : {"", "..", ".hidden", "-f", "a/b", "a b", "a\\u0000b", "\\u00e4"}) {
    EXPECT_EQ(error_of(changed(R"("volume":"rootfs")", R"("volume":")" + name + "\"")), "corrupt") << name;
  }
  EXPECT_EQ(error_of(changed("rootfs", std::string(kNameMaxBytes, 'v'))), "accepted");
  EXPECT_EQ(error_of(changed("rootfs", std::string(kNameMaxBytes + 1, 'v'))), "corrupt");
  EXPECT_EQ(error_of(changed("3.5.1", "3.5.1\\u001b[2J")), "corrupt");
  EXPECT_EQ(error_of(changed("3.5.1", std::string(129, '3'))), "corrupt");
  EXPECT_EQ(error_of(changed("konnektor-x1", "")), "corrupt");
}

TEST(Manifest, RefusesNumbersOutsideTheLimits) {
  for (const std::string number : {"0", "-1", "1099511627777", "9223372036854775808", "4096.0", "4e3", "\"4096\""}) {
    EXPECT_EQ(error_of(changed("\"plain-bytes\":4096", "\"plain-bytes\":" + number)), "corrupt") << number;
  }
  EXPECT_EQ(error_of(changed("\"stored-bytes\":100", "\"stored-bytes\":-1")), "corrupt");
  EXPECT_EQ(error_of(changed("\"stored-bytes\":100", "\"stored-bytes\":2199023255553")), "corrupt");
  EXPECT_EQ(error_of(changed("\"index-bytes\":96", "\"index-bytes\":0")), "corrupt");
  EXPECT_EQ(error_of(changed("\"index-bytes\":96", "\"index-bytes\":8388609")), "corrupt");
  EXPECT_EQ(error_of(changed(kDigest, kDigest.substr(1))), "corrupt");
  EXPECT_EQ(error_of(changed(kDigest, std::string(64, 'C'))), "corrupt");
}

TEST(Manifest, RefusesMoreThanItsLimits) {
  std::string images;
  for (std::size_t i = 0; i <= kImagesMax; ++i) {
    std::string image = kImage;
    images += (i == 0 ? "" : ",") + image.replace(image.find("rootfs"), 6, "v" + std::to_string(i));
  }
  EXPECT_EQ(error_of(with("", images)), "corrupt");
  EXPECT_EQ(error_of(with("", kImage) + std::string(kManifestMaxBytes, ' ')), "corrupt");
}

}  // namespace
}  // namespace slotkeeper::bundle

#include <gtest/gtest.h>

#include "engine/configuration/configuration.hpp"

namespace slotkeeper {
namespace {

const std::string kHead = "version = \"3.5.1\"\ncompatible = \"konnektor-x1\"\n";
const std::string kImage = "[[image]]\nvolume = \"rootfs\"\nfile = \"rootfs.ext4\"\n";

Error refusal_of(const std::string& text) {
  auto parsed = parse_manifest_source(text, "m.toml");
  EXPECT_FALSE(parsed.has_value()) << text;
  return parsed.has_value() ? Error{} : parsed.assume_error();
}

TEST(ParseManifestSource, ReadsTheLeast) {
  auto parsed = parse_manifest_source(kHead + kImage, "m.toml");
  ASSERT_TRUE(parsed.has_value()) << parsed.assume_error().message;
  const ManifestSource& source = parsed.assume_value();
  EXPECT_EQ(source.version, "3.5.1");
  EXPECT_EQ(source.compatible, std::vector<std::string>{"konnektor-x1"});
  EXPECT_EQ(source.config_schema, std::nullopt);
  EXPECT_EQ(source.records_min, 1);
  EXPECT_EQ(source.records_max, 1);
  ASSERT_EQ(source.images.size(), 1u);
  EXPECT_EQ(source.images[0].volume, "rootfs");
  EXPECT_EQ(source.images[0].file, "rootfs.ext4");
}

TEST(ParseManifestSource, ReadsEverythingElse) {
  auto parsed = parse_manifest_source(
      "version = \"1\"\ncompatible = [\"a\", \"b\"]\n[config]\nschema = 4\nreadable-by = 3\n[engine]\nrecords = [1, "
      "2]\n" +
          kImage + "[[image]]\nvolume = \"boot\"\nfile = \"/abs/boot.img\"\nencrypt = false\n",
      "m.toml");
  ASSERT_TRUE(parsed.has_value()) << parsed.assume_error().message;
  const ManifestSource& source = parsed.assume_value();
  EXPECT_EQ(source.compatible, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(source.config_schema, 4);
  EXPECT_EQ(source.config_readable_by, 3);
  EXPECT_EQ(source.records_max, 2);
  EXPECT_EQ(source.images[1].file, "/abs/boot.img");
  EXPECT_EQ(source.images[0].encrypt, std::nullopt);
  EXPECT_EQ(source.images[1].encrypt, false);
}

TEST(ParseManifestSource, ReadsAFirmwareGroup) {
  const auto parsed = parse_manifest_source(
      "version = \"3.5.1\"\ncompatible = \"a\"\n[firmware-group]\nversion = 7\nadmits = [\"3.5.0\", \"3.5.1\"]\n" +
          kImage,
      "m.toml");
  ASSERT_TRUE(parsed.has_value()) << parsed.assume_error().message;
  ASSERT_TRUE(parsed.assume_value().firmware_group);
  EXPECT_EQ(parsed.assume_value().firmware_group->version, 7);
  EXPECT_EQ(parsed.assume_value().firmware_group->admits, (std::vector<std::string>{"3.5.0", "3.5.1"}));
}

TEST(ParseManifestSource, RefusesVersionRulesThatContradictTheBundle) {
  const std::string head = "version = \"3.5.1\"\ncompatible = \"a\"\n";
  const std::pair<std::string, const char*> cases[] = {
      {"[firmware-group]\nversion = 7\nadmits = [\"3.5.0\"]\n",
       "m.toml:5: firmware-group.admits: must name the version of this bundle, \"3.5.1\", too"},
      {"[firmware-group]\nadmits = [\"3.5.1\"]\n", "m.toml:3: firmware-group.version: is missing"},
      {"[firmware-group]\nversion = 7\n", "m.toml:3: firmware-group.admits: is missing"},
      {"minimum-version = \"3.6\"\n", "m.toml:3: minimum-version: must not be above the version of this bundle"},
      {"minimum-version = \"3.5-rc1\"\n",
       "m.toml:3: minimum-version: needs versions of numbers and dots, such as \"3.5.1\", here and in version"},
      {"minimum-version = \"3.5\"\n[firmware-group]\nversion = 7\nadmits = [\"3.5.1\"]\n",
       "m.toml:3: minimum-version: and a firmware group exclude each other: the group says what may follow"},
  };
  for (const auto& [text, message] : cases) {
    const Error error = refusal_of(head + text + kImage);
    EXPECT_EQ(error.code, Errc::config);
    EXPECT_EQ(error.message, message);
  }
}

TEST(ParseManifestSource, RefusesWhatIsWrongAndNamesThePlace) {
  const std::pair<std::string, const char*> cases[] = {
      {"compatible = \"a\"\n" + kImage, "m.toml: version: is missing"},
      {"version = \"1\"\n" + kImage, "m.toml: compatible: is missing"},
      {kHead, "m.toml: image: is missing"},
      {kHead + "image = []\n", "m.toml: image: is missing"},
      {kHead + "image = \"x\"\n", "m.toml:3: image: must be written as [[image]], not as a string"},
      {"version = 3\ncompatible = \"a\"\n" + kImage, "m.toml:1: version: must be a string, not an integer"},
      {"version = \"a\\nb\"\ncompatible = \"a\"\n" + kImage,
       "m.toml:1: version: must not hold control characters or backslashes"},
      {"version = \"" + std::string(65, 'x') + "\"\ncompatible = \"a\"\n" + kImage,
       "m.toml:1: version: is longer than 64 bytes"},
      {"version = \"1\"\ncompatible = []\n" + kImage, "m.toml:2: compatible: must name at least one device"},
      {"version = \"1\"\ncompatible = [\"a\", \"a\"]\n" + kImage, "m.toml:2: compatible: \"a\" stands there twice"},
      {"version = \"1\"\ncompatible = [\"\"]\n" + kImage, "m.toml:2: compatible: must not be empty"},
      {"version = \"1\"\ncompatible = [1]\n" + kImage, "m.toml:2: compatible: must be a string or a list of strings"},
      {kHead + "versoin = \"x\"\n" + kImage, "m.toml:3: versoin: unknown key (did you mean version?)"},
      {kHead + "[[image]]\nvolume = \"rootfs\"\nfiles = \"x\"\n",
       "m.toml:5: image[1].files: unknown key (did you mean file?)"},
      {kHead + "[[image]]\nvolume = \"rootfs\"\n", "m.toml:3: image[1].file: is missing"},
      {kHead + "[[image]]\nvolume = \"../x\"\nfile = \"x\"\n",
       "m.toml:4: image[1].volume: \"../x\" is not a volume name: letters, digits, '-', '_' and '.', at most 64 of "
       "them"},
      {kHead + kImage + kImage, "m.toml:7: image[2].volume: there are two images for the volume rootfs"},
      {kHead + "[config]\nreadable-by = 3\n" + kImage, "m.toml:4: config.readable-by: needs the key schema beside it"},
      {kHead + "[config]\nschema = 3\nreadable-by = 4\n" + kImage,
       "m.toml:5: config.readable-by: must not be greater than schema"},
      {kHead + "[config]\nschema = -1\n" + kImage, "m.toml:4: config.schema: -1 is not between 0 and 2147483647"},
      {kHead + "[engine]\nrecords = [2, 1]\n" + kImage,
       "m.toml:4: engine.records: must be the oldest and the newest record version, such as [1, 1]"},
      {kHead + "[engine]\nrecords = [1]\n" + kImage,
       "m.toml:4: engine.records: must be the oldest and the newest record version, such as [1, 1]"},
      {kHead + "[engine]\nrecords = [0, 1]\n" + kImage, "m.toml:4: engine.records: 0 is not between 1 and 2147483647"},
      {kHead + "[engine]\nrecords = [\"1\", 1]\n" + kImage,
       "m.toml:4: engine.records: must hold integers only, not a string"},
  };
  for (const auto& [text, message] : cases) {
    const Error error = refusal_of(text);
    EXPECT_EQ(error.code, Errc::config);
    EXPECT_EQ(error.message, message) << text;
  }
}

}  // namespace
}  // namespace slotkeeper

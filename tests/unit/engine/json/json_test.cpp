#include "engine/json/json.hpp"

#include <limits>

#include <gtest/gtest.h>

namespace slotkeeper {
namespace {

using namespace std::string_literals;

constexpr std::size_t kLimit = 1 << 16;

Error refusal_of(std::string_view text, std::size_t limit = kLimit) {
  auto parsed = Json::parse(text, limit);
  EXPECT_FALSE(parsed.has_value()) << text;
  return parsed.has_value() ? Error{} : parsed.assume_error();
}

std::string reprinted(std::string_view text) {
  auto parsed = Json::parse(text, kLimit);
  EXPECT_TRUE(parsed.has_value()) << text << ": " << (parsed.has_error() ? parsed.assume_error().message : "");
  return parsed.has_value() ? parsed.assume_value().print() : "";
}

TEST(Json, KeepsTheOrderOfMembersAndPrintsWithoutBlanks) {
  EXPECT_EQ(reprinted(R"( { "z" : 1 , "a" : [ true , false , null , -7 , "x" ] , "m" : { } } )"),
            R"({"z":1,"a":[true,false,null,-7,"x"],"m":{}})");
}

TEST(Json, PrintsWhatWasBuiltInCode) {
  Json json;
  json.set("count", std::uint64_t{5});
  json.set("name", "Zähler");
  json.set("list", JsonArray{1, "two", nullptr});
  json.set("count", 6);
  EXPECT_EQ(json.print(), R"({"count":6,"name":"Zähler","list":[1,"two",null]})");
}

TEST(Json, EscapesControlCharactersAndQuotes) {
  EXPECT_EQ(Json("a\"b\\c\n\x01\x1b"s + '\0').print(), R"("a\"b\\c\n\u0001\u001b\u0000")");
}

TEST(Json, PrintsBytesThatAreNotUtf8AsReplacementsInsteadOfFailing) {
  EXPECT_EQ(Json("a\xff").print(), "\"a\xEF\xBF\xBD\"");
}

TEST(Json, HoldsTheWholeRangeOfSigned64) {
  EXPECT_EQ(reprinted("[9223372036854775807,-9223372036854775808,0]"), "[9223372036854775807,-9223372036854775808,0]");
}

TEST(Json, RefusesNumbersThatAreNotSigned64) {
  for (const char* text : {"9223372036854775808", "-9223372036854775809", "18446744073709551615", "1.0", "1e3", "0.5",
                           "99999999999999999999999"})
    EXPECT_EQ(refusal_of(text).code, Errc::corrupt) << text;
}

TEST(Json, RefusesTextThatIsNotJson) {
  for (const char* text : {"", " ", "{", "[1,]", "{\"a\":1,}", "{'a':1}", "nul", "01", "+1", "\"a", "\"\x01\"",
                           "\"\xff\"", "\"\\ud800\"", "// x\n1", "NaN", "{\"a\" 1}", "]"})
    EXPECT_EQ(refusal_of(text).code, Errc::corrupt) << text;
}

TEST(Json, RefusesTrailingText) {
  EXPECT_EQ(refusal_of("{} x").code, Errc::corrupt);
  EXPECT_EQ(refusal_of("1 2").code, Errc::corrupt);
  EXPECT_EQ(refusal_of("{}\0"s).code, Errc::corrupt);
  EXPECT_EQ(reprinted("{}\n"), "{}");
}

TEST(Json, RefusesADuplicateKeyAtAnyDepthAndNamesIt) {
  const Error error = refusal_of(R"({"a":[{"twice":1,"other":2,"twice":1}]})");
  EXPECT_EQ(error.code, Errc::corrupt);
  EXPECT_EQ(error.message, "JSON: the key \"twice\" appears twice (byte 36)");
  EXPECT_EQ(refusal_of(R"({"a":1,"\u0061":2})").code, Errc::corrupt);
}

TEST(Json, RefusesMoreThanSixteenLevels) {
  EXPECT_EQ(reprinted(std::string(16, '[') + std::string(16, ']')), std::string(16, '[') + std::string(16, ']'));
  const Error error = refusal_of(std::string(17, '[') + std::string(17, ']'));
  EXPECT_EQ(error.code, Errc::corrupt);
  EXPECT_EQ(error.message, "JSON: it is nested deeper than 16 levels (byte 16)");
  EXPECT_EQ(refusal_of(std::string(60'000, '[')).code, Errc::corrupt);
}

TEST(Json, NamesTheByteOfASyntaxError) {
  EXPECT_EQ(refusal_of("{\"a\":x}").message, "JSON: it is not valid JSON (byte 5)");
}

TEST(Json, RefusesTextOverTheLimitBeforeParsing) {
  EXPECT_EQ(refusal_of("[1,2]", 4).code, Errc::corrupt);
  EXPECT_TRUE(Json::parse("[1,2]", 5).has_value());
}

TEST(EscapeBytes, LeavesUtf8AloneAndEscapesTheRest) {
  EXPECT_EQ(escape_bytes("Grüße/日本/😀"), "Grüße/日本/😀");
  EXPECT_EQ(escape_bytes("a\\b"), "a\\\\b");
  EXPECT_EQ(escape_bytes("a\n\x7f\0b"s), "a\\x0a\\x7f\\x00b");
  EXPECT_EQ(escape_bytes("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(escape_bytes("\xc0\xaf"), "\\xc0\\xaf");                    // overlong
  EXPECT_EQ(escape_bytes("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // surrogate
  EXPECT_EQ(escape_bytes("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // above U+10FFFF
  EXPECT_EQ(escape_bytes("\xc2\x9b"), "\\xc2\\x9b");                    // C1: a terminal may obey it
}

TEST(EscapeBytes, IsUndoneByUnescape) {
  std::string all;
  for (int first = 0; first < 256; ++first) {
    all += static_cast<char>(first);
    for (int second = 0; second < 256; second += 5) all += {static_cast<char>(second), static_cast<char>(first)};
  }
  const std::string escaped = escape_bytes(all);
  auto back = unescape_bytes(escaped);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back.assume_value(), all);
  const std::string printed = Json(escaped).print();
  const auto parsed = Json::parse(printed, printed.size());
  ASSERT_TRUE(parsed.has_value()) << "escaped bytes must be valid UTF-8";
  EXPECT_EQ(parsed.assume_value(), Json(escaped));
}

TEST(UnescapeBytes, RefusesWhatEscapeNeverWrites) {
  for (const char* text : {"\\", "a\\", "\\x", "\\x1", "\\xg0", "\\xAB", "\\n", "\\u0041"}) {
    auto result = unescape_bytes(text);
    ASSERT_FALSE(result.has_value()) << text;
    EXPECT_EQ(result.assume_error().code, Errc::corrupt);
  }
}

Json sample() { return Json::parse(R"({"s":"x","i":5,"b":true,"l":["a","b"],"n":null,"o":{}})", kLimit).value(); }

TEST(JsonReader, ReadsEveryKindAndFinishes) {
  const Json json = sample();
  JsonReader reader(json, "thing");
  EXPECT_EQ(reader.string("s").value(), "x");
  EXPECT_EQ(reader.integer("i", 5, 5).value(), 5);
  EXPECT_TRUE(reader.boolean("b").value());
  EXPECT_EQ(reader.strings("l").value(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(reader.optional_member("n"), nullptr);
  EXPECT_EQ(reader.optional_member("absent"), nullptr);
  EXPECT_NE(reader.member("o").value()->as_object(), nullptr);
  EXPECT_TRUE(reader.finish().has_value());
}

TEST(JsonReader, RefusesAKeyThatNobodyAskedFor) {
  const Json json = sample();
  JsonReader reader(json, "thing");
  EXPECT_TRUE(reader.string("s").has_value());
  auto finished = reader.finish();
  ASSERT_FALSE(finished.has_value());
  EXPECT_EQ(finished.assume_error().code, Errc::corrupt);
  EXPECT_EQ(finished.assume_error().message, "thing.i: unknown key");
}

TEST(JsonReader, RefusesWrongTypesRangesAndMissingMembers) {
  const Json json = sample();
  JsonReader reader(json, "thing");
  EXPECT_EQ(reader.string("i").error().message, "thing.i: is not a string");
  EXPECT_EQ(reader.integer("s", 0, 9).error().message, "thing.s: is not an integer");
  EXPECT_EQ(reader.integer("i", 6, 9).error().message, "thing.i: 5 is not between 6 and 9");
  EXPECT_EQ(reader.integer("i", 0, 4).error().code, Errc::corrupt);
  EXPECT_EQ(reader.boolean("i").error().message, "thing.i: is not true or false");
  EXPECT_EQ(reader.strings("s").error().message, "thing.s: is not a list");
  EXPECT_EQ(reader.string("gone").error().message, "thing.gone: is missing");
}

TEST(JsonReader, RefusesAValueThatIsNoObject) {
  const Json json(3);
  JsonReader reader(json, "thing");
  EXPECT_EQ(reader.string("s").error().message, "thing: is not an object");
  EXPECT_EQ(reader.finish().error().code, Errc::corrupt);
}

}  // namespace
}  // namespace slotkeeper

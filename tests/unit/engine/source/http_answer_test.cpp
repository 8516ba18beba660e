#include "engine/source/http_answer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slotkeeper {
namespace {

using testing::HasSubstr;

TEST(ParseContentRange, TakesAPartAndATotal) {
  EXPECT_EQ(parse_content_range("bytes 0-9/100"), (ContentRange{.range = ByteRange{0, 10}, .total = 100}));
  EXPECT_EQ(parse_content_range(" Bytes  90-99/100 \r\n"), (ContentRange{.range = ByteRange{90, 100}, .total = 100}));
  EXPECT_EQ(parse_content_range("bytes 5-5/*"), (ContentRange{.range = ByteRange{5, 6}, .total = std::nullopt}));
  EXPECT_EQ(parse_content_range("bytes */100"), (ContentRange{.range = std::nullopt, .total = 100}));
}

TEST(ParseContentRange, RefusesWhatContradictsItselfOrIsNone) {
  for (const char* const value :
       {"", "bytes", "bytes ", "bytes 0-9", "bytes 0-9/", "bytes 0-9/9", "bytes 9-0/100", "bytes -9/100",
        "bytes 0-/100", "bytes */*", "bytes 0-9/1x", "bytes 0--9/100", "bytes +0-9/100", "lines 0-9/100",
        "bytes0-9/100", "bytes 0-9223372036854775808/*", "bytes 0-9/99999999999999999999", "bytes 1 - 2/100"}) {
    EXPECT_EQ(parse_content_range(value), std::nullopt) << value;
  }
}

TEST(HttpAnswer, TakesTheHeadersThatCount) {
  HttpAnswer answer;
  answer.host = "update.example";
  for (const char* const line :
       {"HTTP/1.1 206 Partial Content\r\n", "Server: nginx\r\n", "CONTENT-LENGTH: 10\r\n", "ETag:  \"a:b\" \r\n",
        "last-modified: Fri, 27 Nov 2026 07:30:00 GMT\r\n", "Content-Range: bytes 0-9/100\r\n", "Retry-After: 7\r\n",
        "Content-Encoding: GZIP\r\n", "no colon\r\n", "\r\n"}) {
    answer.take_line(line);
  }
  EXPECT_EQ(answer.status, 206);
  EXPECT_EQ(answer.content_length, 10U);
  EXPECT_EQ(answer.etag, "\"a:b\"");
  EXPECT_EQ(answer.last_modified, "Fri, 27 Nov 2026 07:30:00 GMT");
  EXPECT_EQ(answer.content_encoding, "gzip");
  EXPECT_EQ(answer.retry_after, std::chrono::seconds(7));
  EXPECT_EQ(answer.identity().total, 100U);
  EXPECT_EQ(answer.host, "update.example");
}

TEST(HttpAnswer, ARedirectLeavesNothingInTheAnswerBehindIt) {
  HttpAnswer answer;
  for (const char* const line : {"HTTP/1.1 302 Found\r\n", "ETag: \"redirect\"\r\n", "Content-Length: 5\r\n", "\r\n",
                                 "HTTP/1.1 200 OK\r\n", "\r\n"}) {
    answer.take_line(line);
  }
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.etag, "");
  EXPECT_EQ(answer.content_length, std::nullopt);
}

TEST(HttpAnswer, WhatIsMalformedOrTooLongCountsAsAbsent) {
  HttpAnswer answer;
  for (const std::string& line :
       {std::string("HTTP/2\r\n"), std::string("Content-Length: -1\r\n"), std::string("Content-Range: bytes x\r\n"),
        "ETag: \"" + std::string(kHeaderValueMaxBytes, 'e') + "\"\r\n", std::string("Retry-After: soon\r\n")}) {
    answer.take_line(line);
  }
  EXPECT_EQ(answer.status, 0);
  EXPECT_EQ(answer.content_length, std::nullopt);
  EXPECT_EQ(answer.content_range, std::nullopt);
  EXPECT_EQ(answer.etag, "");
  EXPECT_EQ(answer.retry_after, std::nullopt);
}

TEST(HttpAnswer, TheLengthOfAPartIsNotTheTotal) {
  HttpAnswer answer;
  answer.take_line("HTTP/1.1 206 Partial Content");
  answer.take_line("Content-Length: 10");
  EXPECT_EQ(answer.identity().total, std::nullopt);
}

TEST(ContentIdentity, AsksOnTheConditionOfTheStrongestThereIs) {
  EXPECT_EQ((ContentIdentity{.total = {}, .etag = "\"a\"", .last_modified = "then"}).condition(), "\"a\"");
  EXPECT_EQ((ContentIdentity{.total = {}, .etag = "W/\"a\"", .last_modified = "then"}).condition(), "then");
  EXPECT_EQ((ContentIdentity{.total = {}, .etag = "W/\"a\"", .last_modified = ""}).condition(), "");
}

TEST(ContentIdentity, SaysHowALaterAnswerDiffers) {
  const ContentIdentity first{.total = 100, .etag = "\"a\"", .last_modified = "then"};
  EXPECT_EQ(first.difference(first), std::nullopt);
  EXPECT_EQ(first.difference({.total = {}, .etag = "", .last_modified = ""}), std::nullopt);
  EXPECT_THAT(first.difference({.total = 99, .etag = "\"a\"", .last_modified = "then"}).value_or(""),
              HasSubstr("100 bytes and is 99"));
  EXPECT_THAT(first.difference({.total = 100, .etag = "\"b\"", .last_modified = "then"}).value_or(""),
              HasSubstr("\"b\""));
  EXPECT_THAT(first.difference({.total = 100, .etag = "", .last_modified = "now"}).value_or(""), HasSubstr("then"));
}

TEST(Status, TellsWhatPassesFromWhatDoesNot) {
  for (const int status : {408, 425, 429, 500, 502, 503, 504}) EXPECT_TRUE(is_passing(status)) << status;
  for (const int status : {0, 200, 206, 301, 400, 401, 403, 404, 410, 416}) EXPECT_FALSE(is_passing(status)) << status;
  EXPECT_THAT(status_text(404), HasSubstr("not found"));
  EXPECT_EQ(status_text(418), "answered 418");
}

}  // namespace
}  // namespace slotkeeper

// The source behind a URL against a server that misbehaves as told.
#include <atomic>
#include <chrono>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/source/http_fetch.hpp"
#include "engine/source/source.hpp"
#include "tests/support/played_http_server.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/unit/engine/bundle/bundle_workshop.hpp"

namespace slotkeeper {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using test::bare_answer;
using test::body_of;
using test::expect_failure;
using test::HttpRequest;
using test::part_answer;
using test::PlayedHttpServer;
using test::whole_answer;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::Not;
using Connection = PlayedHttpServer::Connection;

constexpr std::uint64_t kLongBytes = 20 << 20;

/// Bytes of which no two places are alike.
std::string noise(std::size_t length, unsigned int seed = 1) {
  std::minstd_rand random(seed);
  std::string bytes(length, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random() >> 8U);
  return bytes;
}

const std::string& long_content() {
  static const std::string content = noise(kLongBytes);
  return content;
}

class HttpSource : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_fetch()) GTEST_SKIP() << "built without SLOTKEEPER_WITH_HTTP";
  }

  static bool may_fetch() {
    const auto storage = io::make_posix_storage();
    return open_source(*storage, "http://").error().code != Errc::not_supported_yet;
  }

  /// Ends the server before what its answers refer to goes.
  struct [[nodiscard]] Serving {
    explicit Serving(HttpSource& that) : test(that) {}
    Serving(const Serving&) = delete;
    Serving& operator=(const Serving&) = delete;
    ~Serving() { test.server.reset(); }
    HttpSource& test;
  };
  Serving serve(PlayedHttpServer::Answering answering) {
    server = std::make_unique<PlayedHttpServer>(std::move(answering));
    return Serving(*this);
  }
  /// A well-behaved server.
  Serving serve_parts(const std::string& content) {
    return serve([&content](const HttpRequest& request, const Connection& connection) {
      connection.send(part_answer(request, content));
    });
  }

  Result<std::unique_ptr<Source>> open(const std::string& path = "/bundle.skb") {
    return open_source(*storage, server->url(path), settings,
                       {.check_cancelled = [this]() -> Result<void> {
                          ++asked;
                          if (is_cancelled) return make_error(Errc::cancelled, "stopped by the test");
                          return success();
                        },
                        .notice = [this](std::string_view text) { notices.emplace_back(text); }});
  }

  static Result<std::string> read(Source& source, std::uint64_t offset, std::size_t length) {
    std::string bytes(length, '?');
    SK_TRY_ASSIGN(const std::size_t count, source.read_at(offset, std::as_writable_bytes(std::span(bytes))));
    bytes.resize(count);
    return bytes;
  }
  /// Reads a range in pieces as an image is read.
  static Result<std::string> read_in_pieces(Source& source, ByteRange range, std::size_t piece = 100'000) {
    std::string all;
    for (std::uint64_t at = range.begin; at < range.end; at += piece) {
      SK_TRY_ASSIGN(const std::string bytes, read(source, at, std::min<std::size_t>(piece, range.end - at)));
      all += bytes;
    }
    return all;
  }

  std::unique_ptr<io::Storage> storage = io::make_posix_storage();
  SourceSettings settings{.ca = {},
                          .client_certificate = {},
                          .client_key = {},
                          .proxy = {},
                          .max_rate = {},
                          .timeout = seconds(2),
                          .retries = 2};
  std::atomic<bool> is_cancelled = false;
  std::atomic<int> asked = 0;
  std::vector<std::string> notices;
  std::unique_ptr<PlayedHttpServer> server;
};

// ---- a server that serves ranges ------------------------------------------------------------------------------------

TEST_F(HttpSource, ReadsAnywhereAndShortOnlyAtTheEnd) {
  const std::string content = noise(300'000);
  const Serving serving = serve_parts(content);
  const auto source = open().value();
  EXPECT_EQ(source->name(), server->url());
  EXPECT_EQ(source->size_bytes(), content.size());
  EXPECT_EQ(read(*source, 0, 10).value(), content.substr(0, 10));
  EXPECT_EQ(read(*source, 250'000, 10).value(), content.substr(250'000, 10));
  EXPECT_EQ(read(*source, 100, 250'000).value(), content.substr(100, 250'000));
  EXPECT_EQ(read(*source, content.size() - 3, 10).value(), content.substr(content.size() - 3));
  EXPECT_EQ(read(*source, content.size(), 10).value(), "");
  EXPECT_EQ(read(*source, ~0ULL - 5, 10).value(), "");
}

TEST_F(HttpSource, SmallReadsThatLieTogetherAreOneRequest) {
  const std::string content = noise(1'000'000);
  const Serving serving = serve_parts(content);
  const auto source = open().value();
  for (std::uint64_t at = 0; at + 512 <= kNearBytes; at += 512) {
    ASSERT_EQ(read(*source, at, 512).value(), content.substr(at, 512));
  }
  EXPECT_EQ(server->requests().size(), 1U);
  for (std::uint64_t at = 500'000; at < 500'000 + kNearBytes; at += 512) {
    ASSERT_EQ(read(*source, at, 512).value(), content.substr(at, 512));
  }
  EXPECT_EQ(read(*source, 0, 512).value(), content.substr(0, 512)) << "the beginning is kept";
  EXPECT_LE(server->requests().size(), 3U);
  EXPECT_THAT(server->requests().front().headers, HasSubstr("\r\nUser-Agent: Slotkeeper/"));
  EXPECT_THAT(server->requests().front().headers, HasSubstr("\r\nAccept-Encoding: identity"));
}

TEST_F(HttpSource, ReadsAheadInWhatIsExpectedWithSeveralRequests) {
  std::atomic<int> in_flight = 0;
  std::atomic<int> most = 0;
  const Serving serving = serve([&](const HttpRequest& request, const Connection& connection) {
    const int now = ++in_flight;
    for (int before = most; before < now && !most.compare_exchange_weak(before, now);) continue;
    std::this_thread::sleep_for(milliseconds(30));
    --in_flight;
    connection.send(part_answer(request, long_content()));
  });
  const auto source = open().value();
  source->expect({{1 << 20, 10 << 20}, {(10 << 20) + 1000, 12 << 20}, {15 << 20, 20 << 20}});
  EXPECT_EQ(read_in_pieces(*source, {1 << 20, 10 << 20}).value(), long_content().substr(1 << 20, 9 << 20));
  EXPECT_EQ(read_in_pieces(*source, {(10 << 20) + 1000, 12 << 20}).value(),
            long_content().substr((10 << 20) + 1000, (2 << 20) - 1000));
  EXPECT_EQ(read_in_pieces(*source, {15 << 20, 20 << 20}).value(), long_content().substr(15 << 20));
  EXPECT_GE(most, 3);
  EXPECT_LE(most, static_cast<int>(kRequestsMax) + 1);
  // 11 MiB and a gap of 1000 bytes that is fetched with them, 5 MiB, and the first request.
  EXPECT_EQ(server->requests().size(), (16U << 20) / kPieceBytes + 1);
  for (const auto& request : server->requests()) {
    EXPECT_FALSE(request.range->first > (12 << 20) && request.range->first < (15 << 20)) << request.range->first;
    EXPECT_EQ(request.if_range, request.number == 0 ? "" : "\"one\"");
  }
}

TEST_F(HttpSource, NoMoreIsFetchedThanTheBoundWhileNobodyReads) {
  std::atomic<std::uint64_t> sent = 0;
  const Serving serving = serve([&](const HttpRequest& request, const Connection& connection) {
    const std::string answer = part_answer(request, long_content());
    sent += answer.size() - body_of(answer);
    connection.send(answer);
  });
  const auto source = open().value();
  source->expect({{0, kLongBytes}});
  std::uint64_t before = 0;
  do {
    before = sent;
    std::this_thread::sleep_for(milliseconds(300));
  } while (sent != before);
  EXPECT_GE(sent, 2U << 20);
  EXPECT_LE(sent, kReadAheadMaxBytes);
  EXPECT_EQ(read_in_pieces(*source, {0, kLongBytes}).value(), long_content());
}

TEST_F(HttpSource, ReadsElsewhereWhileMoreIsExpected) {
  const Serving serving = serve_parts(long_content());
  const auto source = open().value();
  source->expect({{1 << 20, 4 << 20}});
  EXPECT_EQ(read(*source, 1 << 20, 1000).value(), long_content().substr(1 << 20, 1000));
  EXPECT_EQ(read(*source, 10 << 20, 2 << 20).value(), long_content().substr(10 << 20, 2 << 20));
  EXPECT_EQ(read(*source, 1000, 100).value(), long_content().substr(1000, 100));
  EXPECT_EQ(read_in_pieces(*source, {(1 << 20) + 1000, 4 << 20}).value(),
            long_content().substr((1 << 20) + 1000, (3 << 20) - 1000));
  EXPECT_EQ(read(*source, 1 << 20, 1000).value(), long_content().substr(1 << 20, 1000)) << "back to what was read";
}

TEST_F(HttpSource, SkipsWhatWasExpectedAndIsNotRead) {
  const Serving serving = serve_parts(long_content());
  const auto source = open().value();
  source->expect({{0, kLongBytes}});
  EXPECT_EQ(read(*source, 200'000, 10).value(), long_content().substr(200'000, 10));
  EXPECT_EQ(read(*source, 19 << 20, 100'000).value(), long_content().substr(19 << 20, 100'000));
  EXPECT_LE(server->requests().size(), 20U);
  source->expect({{5 << 20, 6 << 20}, {30 << 20, 40 << 20}});  // the second lies behind the end
  EXPECT_EQ(read_in_pieces(*source, {5 << 20, 6 << 20}).value(), long_content().substr(5 << 20, 1 << 20));
}

// ---- a server without ranges ----------------------------------------------------------------------------------------

TEST_F(HttpSource, WithoutRangesTheOneAnswerIsReadInOrder) {
  const Serving serving =
      serve([](const HttpRequest&, const Connection& connection) { connection.send(whole_answer(long_content())); });
  const auto source = open().value();
  EXPECT_EQ(source->size_bytes(), std::nullopt) << "its end cannot be read before the rest";
  EXPECT_EQ(read(*source, 0, 1000).value(), long_content().substr(0, 1000));
  EXPECT_EQ(read(*source, 500'000, 1000).value(), long_content().substr(500'000, 1000));
  EXPECT_EQ(read(*source, 10, 1000).value(), long_content().substr(10, 1000)) << "the beginning is kept";
  source->expect({{2 << 20, 20 << 20}});
  EXPECT_EQ(read_in_pieces(*source, {2 << 20, 12 << 20}).value(), long_content().substr(2 << 20, 10 << 20));
  EXPECT_EQ(read_in_pieces(*source, {15 << 20, 20 << 20}).value(), long_content().substr(15 << 20)) << "skips forward";
  EXPECT_EQ(read(*source, kLongBytes, 10).value(), "");
  EXPECT_EQ(read(*source, 0, 1000).value(), long_content().substr(0, 1000));
  expect_failure(read(*source, 3 << 20, 10), Errc::source_unreachable, "no range support");
  EXPECT_EQ(server->requests().size(), 1U);
}

TEST_F(HttpSource, AStreamWaitsForItsReader) {
  std::atomic<std::uint64_t> sent = 0;
  const Serving serving = serve([&](const HttpRequest&, const Connection& connection) {
    const std::string answer = whole_answer(long_content());
    constexpr std::size_t kStep = 16 << 10;
    for (std::size_t at = 0; at < answer.size() && connection.send(answer.substr(at, kStep)); at += kStep) sent = at;
  });
  const auto source = open().value();
  std::uint64_t before = 0;
  do {
    before = sent;
    std::this_thread::sleep_for(milliseconds(300));
  } while (sent != before);
  // The kernel's buffers on both ends hold some as well.
  EXPECT_LE(sent, kReadAheadMaxBytes + (10U << 20));
  EXPECT_EQ(read_in_pieces(*source, {0, kLongBytes}).value(), long_content());
}

TEST_F(HttpSource, AStreamThatBreaksIsBegunAgainAndWhatIsKnownSkipped) {
  const Serving serving = serve([](const HttpRequest& request, const Connection& connection) {
    const std::string answer = whole_answer(long_content());
    connection.send(request.number < 3 ? answer.substr(0, (5 << 20) * (request.number + 1)) : answer);
  });
  const auto source = open().value();
  EXPECT_EQ(read_in_pieces(*source, {0, kLongBytes}).value(), long_content());
  EXPECT_EQ(server->requests().size(), 4U);
  EXPECT_EQ(notices.size(), 3U);
}

TEST_F(HttpSource, AStreamThatIsAnotherTheSecondTimeHasChanged) {
  const std::string other = noise(kLongBytes, 2);
  const Serving serving = serve([&](const HttpRequest& request, const Connection& connection) {
    const std::string answer =
        request.number == 0 ? whole_answer(long_content()) : whole_answer(other, "ETag: \"two\"\r\n");
    connection.send(request.number == 0 ? answer.substr(0, 5 << 20) : answer);
  });
  const auto source = open().value();
  expect_failure(read_in_pieces(*source, {0, kLongBytes}), Errc::source_changed, "entity tag");
}

TEST_F(HttpSource, AnEndWithoutALengthIsTheEnd) {
  const std::string content = noise(200'000);
  const Serving serving = serve([&](const HttpRequest&, const Connection& connection) {
    connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + content);
  });
  const auto source = open().value();
  EXPECT_EQ(read(*source, 0, 300'000).value(), content);
}

// ---- connections that break -----------------------------------------------------------------------------------------

TEST_F(HttpSource, GoesOnWhereAConnectionBroke) {
  std::atomic<int> broken = 0;
  const Serving serving = serve([&](const HttpRequest& request, const Connection& connection) {
    const std::string answer = part_answer(request, long_content());
    if (request.number % 2 == 0) {
      connection.send(answer);
      return;
    }
    ++broken;
    connection.send(answer.substr(0, body_of(answer) + 70'000));
    if (request.number % 4 == 1) connection.reset();
  });
  const auto source = open().value();
  source->expect({{1 << 20, kLongBytes}});
  EXPECT_EQ(read_in_pieces(*source, {1 << 20, kLongBytes}).value(), long_content().substr(1 << 20));
  EXPECT_GE(broken, 10);
  std::set<std::uint64_t> begins;
  for (const auto& request : server->requests()) {
    EXPECT_TRUE(begins.insert(request.range->first).second) << "asked twice for " << request.range->first;
  }
}

TEST_F(HttpSource, AnAnswerThatAlwaysEndsAtTheSamePlaceIsTruncated) {
  const std::string content = noise(500'000);
  const Serving serving = serve([&](const HttpRequest& request, const Connection& connection) {
    const std::string answer = part_answer(request, content);
    const std::uint64_t first = request.range->first;
    connection.send(first <= 200'000 && request.range->second > 200'000
                        ? answer.substr(0, body_of(answer) + (200'000 - first))
                        : answer);
  });
  const auto source = open().value();
  expect_failure(read(*source, 150'000, 100'000), Errc::source_truncated, "ended before its announced length");
  EXPECT_THAT(notices, Each(AllOf(HasSubstr("127.0.0.1"), HasSubstr("trying again in"))));
  EXPECT_THAT(notices.back(), HasSubstr("(2 of 2)"));
}

TEST_F(HttpSource, AStreamThatAlwaysEndsAtTheSamePlaceIsTruncated) {
  const Serving serving = serve([](const HttpRequest&, const Connection& connection) {
    connection.send(whole_answer(long_content()).substr(0, 3 << 20));
  });
  const auto source = open().value();
  expect_failure(read_in_pieces(*source, {0, kLongBytes}), Errc::source_truncated);
  EXPECT_EQ(server->requests().size(), 1 + settings.retries);
}

TEST_F(HttpSource, NobodyListensIsUnreachableAndSaysWhere) {
  const Serving serving = serve_parts(long_content());
  const std::string url = server->url("/a?secret=1");
  server.reset();
  settings.retries = 1;
  const auto source = open_source(*storage, url, settings);
  expect_failure(source, Errc::source_unreachable, "there is no connection to 127.0.0.1");
  EXPECT_THAT(source.error().message,
              AllOf(HasSubstr("check the network"), Not(HasSubstr("secret")), HasSubstr("2 times")));
}

TEST_F(HttpSource, AServerThatGoesAwayIsUnreachable) {
  const Serving serving = serve([](const HttpRequest& request, const Connection& connection) {
    if (request.number < 4) connection.send(part_answer(request, long_content()));
    if (request.number >= 4) connection.reset();
  });
  const auto source = open().value();
  source->expect({{0, kLongBytes}});
  expect_failure(read_in_pieces(*source, {0, kLongBytes}), Errc::source_unreachable, "127.0.0.1");
}

TEST_F(HttpSource, ASilentServerIsLeftAfterTheTimeOut) {
  settings.timeout = seconds(1);
  settings.retries = 0;
  const Serving serving = serve([](const HttpRequest&, const Connection& connection) { connection.hold(); });
  const auto begin = steady_clock::now();
  expect_failure(open(), Errc::source_unreachable, "does not answer in time");
  EXPECT_LT(steady_clock::now() - begin, seconds(8));
}

TEST_F(HttpSource, ALineThatDiesIsTriedAgain) {
  settings.timeout = seconds(1);
  const Serving serving = serve([](const HttpRequest& request, const Connection& connection) {
    const std::string answer = part_answer(request, long_content());
    connection.send(request.number == 1 ? answer.substr(0, answer.size() / 2) : answer);
    if (request.number == 1) connection.hold();
  });
  const auto source = open().value();
  EXPECT_EQ(read(*source, 1 << 20, 400'000).value(), long_content().substr(1 << 20, 400'000));
  EXPECT_EQ(notices.size(), 1U);
}

TEST_F(HttpSource, StatusThatPassesIsTriedAgainAndRetryAfterHonoured) {
  const Serving serving = serve([](const HttpRequest& request, const Connection& connection) {
    connection.send(request.number == 0 ? bare_answer("503 Service Unavailable", "Retry-After: 2\r\n")
                                        : part_answer(request, long_content()));
  });
  const auto begin = steady_clock::now();
  const auto source = open().value();
  EXPECT_EQ(source->size_bytes(), kLongBytes);
  EXPECT_GE(steady_clock::now() - begin, seconds(2));
  EXPECT_THAT(notices, Each(HasSubstr("503")));
}

TEST_F(HttpSource, StatusThatLastsIsNotTriedAgain) {
  const Serving serving = serve([](const HttpRequest& request, const Connection& connection) {
    connection.send("HTTP/1.1 " + request.path().substr(1) + " Whatever\r\nContent-Length: 9\r\n\r\nnot here\n");
  });
  for (const std::string status : {"400", "401", "403", "404", "410", "418"}) {
    expect_failure(open("/" + status), Errc::source_unreachable, "127.0.0.1 answered " + status);
  }
  EXPECT_EQ(server->requests().size(), 6U);
}

// ---- content that is not what it was --------------------------------------------------------------------------------

struct Change {
  std::string name;
  std::string first_headers;
  std::string later_headers;
  std::size_t later_bytes = kLongBytes;
  bool honours_condition = false;  ///< sends the whole when the condition does not hold
  std::string gist;
};
void PrintTo(const Change& change, std::ostream* out) { *out << change.name; }

class HttpSourceChanges : public HttpSource, public testing::WithParamInterface<Change> {};

TEST_P(HttpSourceChanges, Between) {
  const Change& change = GetParam();
  const std::string later = noise(change.later_bytes, 2);
  const Serving serving = serve([&](const HttpRequest& request, const Connection& connection) {
    if (request.number < 3) {
      connection.send(part_answer(request, long_content(), change.first_headers));
    } else if (change.honours_condition && !request.if_range.empty()) {
      connection.send(whole_answer(later, change.later_headers));
    } else {
      connection.send(part_answer(request, later, change.later_headers));
    }
  });
  const auto source = open().value();
  source->expect({{0, kLongBytes}});
  const auto got = read_in_pieces(*source, {0, kLongBytes});
  expect_failure(got, Errc::source_changed, change.gist);
  EXPECT_THAT(got.error().message, HasSubstr("127.0.0.1"));
}

INSTANTIATE_TEST_SUITE_P(
    All, HttpSourceChanges,
    testing::Values(
        Change{"EntityTag", "ETag: \"one\"\r\n", "ETag: \"two\"\r\n", kLongBytes, false, "entity tag"},
        Change{"WeakEntityTag", "ETag: W/\"one\"\r\n", "ETag: W/\"two\"\r\n", kLongBytes, false, "entity tag"},
        Change{"Date", "Last-Modified: Fri, 27 Nov 2026 07:30:00 GMT\r\n",
               "Last-Modified: Fri, 27 Nov 2026 07:30:01 GMT\r\n", kLongBytes, false, "last modified"},
        Change{"Total", "", "", kLongBytes + 1, false, "20971520 bytes and is 20971521"},
        Change{"ConditionDoesNotHold", "ETag: \"one\"\r\n", "ETag: \"two\"\r\n", kLongBytes, true, "entity tag"},
        Change{"ConditionByDate", "Last-Modified: Fri, 27 Nov 2026 07:30:00 GMT\r\n", "", kLongBytes, true,
               "as a whole"}),
    [](const testing::TestParamInfo<Change>& each) { return each.param.name; });

TEST_F(HttpSource, AFileThatBecameShorterHasChanged) {
  const Serving serving = serve([](const HttpRequest& request, const Connection& connection) {
    connection.send(request.number == 0 ? part_answer(request, long_content(), "")
                                        : bare_answer("416 Range Not Satisfiable", "Content-Range: bytes */1000\r\n"));
  });
  const auto source = open().value();
  expect_failure(read(*source, 10 << 20, 10), Errc::source_changed, "is 1000 now");
}

TEST_F(HttpSource, ConditionFailedHasChanged) {
  const Serving serving = serve([](const HttpRequest& request, const Connection& connection) {
    connection.send(request.number == 0 ? part_answer(request, long_content())
                                        : bare_answer("412 Precondition Failed"));
  });
  const auto source = open().value();
  expect_failure(read(*source, 10 << 20, 10), Errc::source_changed);
}

// ---- answers that are wrong -----------------------------------------------------------------------------------------

struct Wrong {
  std::string name;
  std::function<std::string(const HttpRequest&)> answer;  ///< to every request but the first
  Errc code;
  std::string gist;
};
void PrintTo(const Wrong& wrong, std::ostream* out) { *out << wrong.name; }

class HttpSourceRefuses : public HttpSource, public testing::WithParamInterface<Wrong> {};

TEST_P(HttpSourceRefuses, WrongAnswer) {
  const Serving serving = serve([&](const HttpRequest& request, const Connection& connection) {
    connection.send(request.number == 0 ? part_answer(request, long_content()) : GetParam().answer(request));
  });
  settings.retries = 0;
  const auto source = open().value();
  const auto got = read(*source, 10 << 20, 100'000);
  expect_failure(got, GetParam().code, GetParam().gist);
}

std::string answer_with(const std::string& range, const std::string& more, std::size_t bytes) {
  return "HTTP/1.1 206 Partial Content\r\nConnection: close\r\n" + range + more + "\r\n" + std::string(bytes, 'x');
}
std::string range_of(std::uint64_t first, std::uint64_t last) {
  return "Content-Range: bytes " + std::to_string(first) + "-" + std::to_string(last) + "/" +
         std::to_string(kLongBytes) + "\r\n";
}

INSTANTIATE_TEST_SUITE_P(
    All, HttpSourceRefuses,
    testing::Values(
        Wrong{"AnotherPart", [](const auto& r) { return answer_with(range_of(0, r.range->second), "", 100'000); },
              Errc::source_unreachable, "another part"},
        Wrong{"ALongerPart",
              [](const auto& r) { return answer_with(range_of(r.range->first, r.range->second + 1), "", 100'001); },
              Errc::source_unreachable, "another part"},
        Wrong{"NoContentRange", [](const auto&) { return answer_with("", "", 100'000); }, Errc::source_unreachable,
              "another part"},
        Wrong{"MoreThanAnnounced",
              [](const auto& r) { return answer_with(range_of(r.range->first, r.range->second), "", 100'010); },
              Errc::source_unreachable, "more than it announced"},
        Wrong{"LessThanAnnounced",
              [](const auto& r) { return answer_with(range_of(r.range->first, r.range->second), "", 99'990); },
              Errc::source_truncated, "shorter"},
        Wrong{"LengthNotReached",
              [](const auto& r) {
                return answer_with(range_of(r.range->first, r.range->second), "Content-Length: 100000\r\n", 99'990);
              },
              Errc::source_truncated, "ended before"},
        Wrong{"Compressed",
              [](const auto& r) {
                return answer_with(range_of(r.range->first, r.range->second), "Content-Encoding: gzip\r\n", 100'000);
              },
              Errc::source_unreachable, "compressed"},
        Wrong{"NoHttp", [](const auto&) { return std::string("220 mail.example ESMTP\r\n"); }, Errc::source_unreachable,
              "127.0.0.1"},
        Wrong{"Nothing", [](const auto&) { return std::string(); }, Errc::source_unreachable, "127.0.0.1"},
        Wrong{"EndlessHeaders", [](const auto&) { return "HTTP/1.1 206 OK\r\nX: " + std::string(2 << 20, 'x'); },
              Errc::source_unreachable, "127.0.0.1"},
        Wrong{"WholeNowWithTheSameTag", [](const auto&) { return whole_answer(long_content()); },
              Errc::source_unreachable, "any more"}),
    [](const testing::TestParamInfo<Wrong>& each) { return each.param.name; });

TEST_F(HttpSource, AShorterPartThanAskedForIsCompletedByAnother) {
  const Serving serving = serve([](const HttpRequest& request, const Connection& connection) {
    HttpRequest less = request;
    less.range->second = std::min(less.range->second, less.range->first + 70'000 - 1);
    connection.send(part_answer(less, long_content()));
  });
  const auto source = open().value();
  EXPECT_EQ(read(*source, 1 << 20, 200'000).value(), long_content().substr(1 << 20, 200'000));
}

TEST_F(HttpSource, AnEmptyFileIsTruncated) {
  const Serving serving = serve([](const HttpRequest& request, const Connection& connection) {
    connection.send(request.path() == "/whole"
                        ? whole_answer("")
                        : bare_answer("416 Range Not Satisfiable", "Content-Range: bytes */0\r\n"));
  });
  expect_failure(open("/part"), Errc::source_truncated, "is empty");
  expect_failure(open("/whole"), Errc::source_truncated, "is empty");
}

// ---- redirects, addresses -------------------------------------------------------------------------------------------

TEST_F(HttpSource, FollowsRedirectsAndLimitsThem) {
  const Serving serving = serve([this](const HttpRequest& request, const Connection& connection) {
    const int left = std::stoi(request.path().substr(1));
    connection.send(left == 0 ? part_answer(request, long_content())
                              : bare_answer("302 Found", "Location: /" + std::to_string(left - 1) + "\r\n"));
  });
  EXPECT_EQ(open("/5").value()->size_bytes(), kLongBytes);
  expect_failure(open("/6"), Errc::source_unreachable, "redirects more than 5 times");
}

TEST_F(HttpSource, FollowsNoRedirectToAnythingButHttp) {
  const Serving serving = serve([](const HttpRequest& request, const Connection& connection) {
    connection.send(bare_answer("301 Moved", "Location: " + request.path().substr(1) + "\r\n"));
  });
  for (const char* const target : {"file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x"}) {
    const auto source = open(std::string("/") + target);
    expect_failure(source, Errc::source_unreachable, "redirects to where this is not followed");
  }
  EXPECT_EQ(server->requests().size(), 3U) << "tried again";
}

TEST_F(HttpSource, AMalformedUrlIsAUsageError) {
  for (const char* const url : {"http://", "http://host:port/x", "http://host:99999/x", "http://a b/"}) {
    expect_failure(open_source(*storage, url, settings), Errc::usage);
  }
}

TEST_F(HttpSource, CredentialsAreSentAndNotPrinted) {
  const Serving serving = serve([](const HttpRequest& request, const Connection& connection) {
    connection.send(request.headers.find("Authorization: Basic dXNlcjp3b3Jk") != std::string::npos
                        ? bare_answer("403 Forbidden")
                        : bare_answer("401 Unauthorized"));
  });
  std::string url = server->url("/bundle.skb?token=abc");
  url.insert(url.find("//") + 2, "user:word@");
  const auto source = open_source(*storage, url, settings);
  expect_failure(source, Errc::source_unreachable, "answered 403");
  EXPECT_THAT(source.error().message, AllOf(Not(HasSubstr("word")), Not(HasSubstr("abc")), HasSubstr("http://...@")));
}

TEST_F(HttpSource, FilesThatAreNamedMustBeThere) {
  const Serving serving = serve_parts(long_content());
  const test::TemporaryDirectory folder;
  settings.ca = folder / "ca.pem";
  expect_failure(open(), Errc::config, "source.ca");
  test::write_file(folder / "ca.pem", "");
  expect_failure(open(), Errc::config, "is empty");
}

TEST_F(HttpSource, TheEnvironmentChoosesNoProxy) {
  const Serving serving = serve_parts(long_content());
  ASSERT_EQ(::setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
  EXPECT_TRUE(open().has_value());
  ASSERT_EQ(::unsetenv("http_proxy"), 0);
}

TEST_F(HttpSource, AProxyIsAskedForTheWholeUrl) {
  const Serving serving = serve_parts(long_content());
  settings.proxy = server->url("");
  const auto source = open_source(*storage, "http://nowhere.example/bundle.skb", settings);
  ASSERT_TRUE(source.has_value()) << source.error().message;
  EXPECT_THAT(server->requests().front().line, HasSubstr("GET http://nowhere.example/bundle.skb HTTP/1.1"));
}

// ---- waiting --------------------------------------------------------------------------------------------------------

TEST_F(HttpSource, CancellingEndsTheWaitWithinASecond) {
  settings.timeout = seconds(60);
  const Serving serving = serve([](const HttpRequest& request, const Connection& connection) {
    if (request.number > 0) connection.hold();
    connection.send(part_answer(request, long_content()));
  });
  auto source = open().value();
  source->expect({{1 << 20, 10 << 20}});
  std::jthread canceller([this] {
    std::this_thread::sleep_for(milliseconds(300));
    is_cancelled = true;
  });
  const auto begin = steady_clock::now();
  expect_failure(read(*source, 1 << 20, 100), Errc::cancelled, "stopped by the test");
  source.reset();
  EXPECT_LT(steady_clock::now() - begin, milliseconds(1300));
}

TEST_F(HttpSource, CancellingEndsThePauseBeforeARetry) {
  settings.retries = 100;
  const Serving serving = serve([](const HttpRequest& request, const Connection& connection) {
    connection.send(request.number == 0 ? part_answer(request, long_content())
                                        : bare_answer("503 Service Unavailable", "Retry-After: 100\r\n"));
  });
  auto source = open().value();
  std::jthread canceller([this] {
    std::this_thread::sleep_for(milliseconds(300));
    is_cancelled = true;
  });
  const auto begin = steady_clock::now();
  expect_failure(read(*source, 1 << 20, 100), Errc::cancelled);
  source.reset();
  EXPECT_LT(steady_clock::now() - begin, milliseconds(1300));
}

TEST_F(HttpSource, TheRateHoldsOverAllRequestsTogether) {
  constexpr std::uint64_t kRate = 4 << 20;
  constexpr std::uint64_t kBytes = 8 << 20;
  for (const bool has_ranges : {true, false}) {
    settings.max_rate = kRate;
    const Serving serving = serve([has_ranges](const HttpRequest& request, const Connection& connection) {
      connection.send(has_ranges ? part_answer(request, long_content()) : whole_answer(long_content()));
    });
    const auto begin = steady_clock::now();
    const auto source = open().value();
    source->expect({{0, kBytes}});
    EXPECT_EQ(read_in_pieces(*source, {0, kBytes}).value(), long_content().substr(0, kBytes));
    const auto took = std::chrono::duration<double>(steady_clock::now() - begin).count();
    EXPECT_GE(took, 1.85);
    EXPECT_LE(took, 6.0);
  }
}

}  // namespace
}  // namespace slotkeeper

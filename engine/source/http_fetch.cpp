#include "engine/source/http_fetch.hpp"

#include <algorithm>
#include <csignal>
#include <random>
#include <system_error>

namespace slotkeeper {

using std::chrono::milliseconds;

namespace {

/// How often a reader that waits asks whether it still has to, and passes on what there is to say.
constexpr milliseconds kAskInterval{100};
constexpr milliseconds kIdle{60'000};
/// Pieces that may be held at a time: room is left for one that is read on its own and for the beginning.
constexpr std::size_t kPiecesMax = (kReadAheadMaxBytes - kPieceBytes - kNearBytes) / kPieceBytes;
constexpr std::size_t kStreamAheadMaxBytes = kReadAheadMaxBytes - kStreamKeptBytes - kPieceBytes;

std::uint32_t throw_dice() {
  thread_local std::minstd_rand dice{std::random_device{}()};
  return static_cast<std::uint32_t>(dice());
}

std::string seconds_text(milliseconds time) {
  return std::to_string(time.count() / 1000) + "." + std::to_string(time.count() % 1000 / 100) + " s";
}

/// All signals stay with the other threads: those of the terminal belong to the program, and a SIGPIPE that OpenSSL
/// causes by writing to a closed connection must end nothing.
void block_signals() {
  sigset_t all;
  sigfillset(&all);
  static_cast<void>(pthread_sigmask(SIG_BLOCK, &all, nullptr));  // fails for an invalid first argument only
}

}  // namespace

/// A part of the bundle that is fetched by one request, or, when that fails, by further ones for what is missing. Of a
/// server without ranges there is one, the stream, whose bytes go elsewhere.
class HttpFetch::Piece final : public TransferListener {
 public:
  Piece(HttpFetch& fetch, ByteRange wanted) : range(wanted), fetch_(fetch) {}

  [[nodiscard]] std::uint64_t arrived_to() const { return range.begin + bytes.size(); }
  [[nodiscard]] bool is_complete() const { return arrived_to() == range.end; }

  [[nodiscard]] Take take(const HttpAnswer& answer, io::ConstBytes more) override {
    const std::lock_guard lock(fetch_.mutex_);
    if (is_dropped) return Take::none;
    if (!is_checked) {
      verdict = fetch_.check_answer(*this, answer);
      if (verdict) return Take::none;
      is_checked = true;
    }
    if (!fetch_.rate_.is_ready(Clock::now())) {
      waits_for_rate = true;
      return Take::later;
    }
    const Take taken = fetch_.store(*this, more);
    if (taken == Take::all) fetch_.rate_.take(more.size());
    return taken;
  }

  void ended(const HttpAnswer& answer, const TransferEnd& end) override {
    const std::lock_guard lock(fetch_.mutex_);
    in_flight = false;
    if (is_dropped) return;
    const bool has_answer = end.kind != TransferEnd::Kind::passing && end.kind != TransferEnd::Kind::lasting;
    if (!is_checked && !verdict && has_answer) {
      verdict = fetch_.check_answer(*this, answer);
      is_checked = !verdict;
    }
    fetch_.finish(*this, answer, end);
  }

  void begins() {
    in_flight = true;
    is_checked = false;
    waits_for_rate = waits_for_room = false;
    verdict.reset();
    to_skip = is_stream ? fetch_.stream_received_ : 0;
    // Once: what arrives later never moves what has arrived.
    if (!is_stream) bytes.reserve(range.length());
  }

  ByteRange range;
  std::vector<std::byte> bytes;  ///< what has arrived, from range.begin on
  bool is_stream = false;
  bool is_dropped = false;  ///< nobody waits for it any more
  bool in_flight = false;
  unsigned int failures = 0;             ///< in a row
  std::uint64_t arrived_at_failure = 0;  ///< bytes that were there when the last of them happened
  Clock::time_point not_before{};        ///< of the next request

  // Of the request in flight.
  bool is_checked = false;
  bool waits_for_rate = false;
  bool waits_for_room = false;
  std::uint64_t to_skip = 0;     ///< of a stream that was begun again: what is known already
  std::optional<Error> verdict;  ///< why the answer is of no use

 private:
  HttpFetch& fetch_;
};

HttpFetch::HttpFetch(std::unique_ptr<Transfers> transfers, const Manners& manners, SourceCalls calls)
    : transfers_(std::move(transfers)),
      retries_(manners.retries),
      calls_(std::move(calls)),
      rate_(manners.max_rate, Clock::now()) {
  try {
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  } catch (const std::system_error& error) {
    failure_ = make_error(Errc::internal, std::string("a thread cannot be started: ") + error.what());
  }
}

HttpFetch::~HttpFetch() {
  thread_.request_stop();
  transfers_->wake();
}

// ---- the reader -----------------------------------------------------------------------------------------------------

Result<void> HttpFetch::open() {
  Lock lock(mutex_);
  own_ = std::make_shared<Piece>(*this, ByteRange{0, kNearBytes});
  transfers_->wake();
  while (mode_ == Mode::unknown) {
    if (failure_) return *failure_;
    SK_TRY(wait(lock));
  }
  return success();
}

std::optional<std::uint64_t> HttpFetch::size_bytes() const {
  const std::lock_guard lock(mutex_);
  return mode_ == Mode::ranges ? end_ : std::nullopt;
}

void HttpFetch::expect(const std::vector<ByteRange>& ranges) {
  const std::lock_guard lock(mutex_);
  if (mode_ != Mode::ranges) return;  // a stream comes as it comes
  for (const auto& piece : ahead_) piece->is_dropped = true;
  ahead_.clear();
  std::vector<ByteRange> wanted;
  for (const ByteRange& range : ranges) {
    const ByteRange missing{std::max<std::uint64_t>(range.begin, head_.size()), std::min(range.end, *end_)};
    if (missing.begin < missing.end) wanted.push_back(missing);
  }
  plan_ = RangePlan(coalesce(wanted, kGapMaxBytes));
  transfers_->wake();
}

Result<std::size_t> HttpFetch::read(std::uint64_t offset, io::Bytes into) {
  std::size_t done = 0;
  while (done < into.size()) {
    SK_TRY_ASSIGN(const std::size_t got, read_some(offset + done, into.subspan(done)));
    if (got == 0) break;
    done += got;
  }
  return done;
}

/// At least one byte, or none at the end.
Result<std::size_t> HttpFetch::read_some(std::uint64_t offset, io::Bytes into) {
  Lock lock(mutex_);
  while (true) {
    let_go(offset);
    if (const auto copied = copy_present(offset, into)) return *copied;
    if (failure_) return *failure_;
    if (mode_ == Mode::stream && offset < stream_received_) return went_back(offset);
    if (mode_ == Mode::ranges && !piece_with(offset)) {
      if (plan_.contains(offset)) {
        plan_.skip_to(offset);
      } else {
        want(offset, into.size());
      }
      transfers_->wake();
    }
    SK_TRY(wait(lock));
  }
}

/// How many bytes of this place are here and were copied; 0 at the end of the bundle, nothing: they have to be waited
/// for.
std::optional<std::size_t> HttpFetch::copy_present(std::uint64_t offset, io::Bytes into) {
  if (end_ && offset >= *end_) return 0;
  io::ConstBytes present;
  if (offset < head_.size()) {
    present = io::ConstBytes(head_).subspan(static_cast<std::size_t>(offset));
  } else if (const auto piece = piece_with(offset); piece && offset < piece->arrived_to()) {
    present = io::ConstBytes(piece->bytes).subspan(static_cast<std::size_t>(offset - piece->range.begin));
  }
  if (present.empty()) return std::nullopt;
  present = present.first(std::min(present.size(), into.size()));
  std::ranges::copy(present, into.begin());
  return present.size();
}

std::shared_ptr<HttpFetch::Piece> HttpFetch::piece_with(std::uint64_t position) const {
  for (const auto& piece : ahead_) {
    if (piece->range.contains(position)) return piece;
  }
  return own_ && !own_->is_stream && own_->range.contains(position) ? own_ : nullptr;
}

/// What was expected is read in order: the pieces before one that is being read are done with.
void HttpFetch::let_go(std::uint64_t position) {
  const bool is_expected =
      std::ranges::any_of(ahead_, [&](const auto& piece) { return piece->range.contains(position); });
  const bool is_beyond =
      !ahead_.empty() && (mode_ == Mode::stream || plan_.contains(position)) && position >= ahead_.back()->range.end;
  if (!is_expected && !is_beyond) return;
  bool any = false;
  while (!ahead_.empty() && ahead_.front()->range.end <= position) {
    ahead_.front()->is_dropped = true;
    ahead_.pop_front();
    any = true;
  }
  if (any) transfers_->wake();
}

void HttpFetch::want(std::uint64_t offset, std::size_t bytes) {
  const std::uint64_t length = std::clamp<std::uint64_t>(bytes, kNearBytes, kPieceBytes);
  if (own_) own_->is_dropped = true;
  own_ = std::make_shared<Piece>(*this, ByteRange{offset, std::min(offset + length, *end_)});
}

Error HttpFetch::went_back(std::uint64_t offset) const {
  return make_error(Errc::source_unreachable,
                    "the server cannot send parts of a file (it has no range support), so byte " +
                        std::to_string(offset) + " cannot be read again; use a server that supports ranges");
}

Result<void> HttpFetch::wait(Lock& lock) {
  changed_.wait_for(lock, kAskInterval);
  std::string notice;
  notice.swap(notice_);
  const Clock::time_point now = Clock::now();
  if (now - asked_ < kAskInterval && notice.empty()) return success();
  asked_ = now;
  lock.unlock();
  if (!notice.empty() && calls_.notice) calls_.notice(notice);
  Result<void> answer = calls_.check_cancelled ? calls_.check_cancelled() : success();
  lock.lock();
  return answer;
}

// ---- the thread -----------------------------------------------------------------------------------------------------

void HttpFetch::run(const std::stop_token& stop) {
  block_signals();
  while (!stop.stop_requested()) {
    auto turned = turn();
    if (turned.has_value()) continue;
    // The door itself is broken; nothing can come through it any more.
    const std::lock_guard lock(mutex_);
    fail(std::move(turned).assume_error());
    break;
  }
  for (const auto& piece : running_) transfers_->abandon(*piece);
}

Result<void> HttpFetch::turn() {
  drop_unwanted();
  for (const auto& piece : due_pieces()) SK_TRY(begin(piece));
  SK_TRY(resume_paused());
  SK_TRY_ASSIGN(const bool any_ended, transfers_->perform());
  if (any_ended) return success();  // something may be due at once
  return transfers_->wait(until_due());
}

void HttpFetch::drop_unwanted() {
  std::vector<std::shared_ptr<Piece>> unwanted;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(running_, [&](const std::shared_ptr<Piece>& piece) {
      if (piece->in_flight && !piece->is_dropped && !failure_) return false;
      if (piece->in_flight) unwanted.push_back(piece);
      piece->in_flight = false;
      return true;
    });
  }
  for (const auto& piece : unwanted) transfers_->abandon(*piece);
}

Result<void> HttpFetch::resume_paused() {
  std::vector<std::shared_ptr<Piece>> ready;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& piece : running_) {
      if (!piece->waits_for_rate && !piece->waits_for_room) continue;
      if ((piece->waits_for_rate && !rate_.is_ready(Clock::now())) || (piece->waits_for_room && !has_room())) continue;
      piece->waits_for_rate = piece->waits_for_room = false;
      ready.push_back(piece);
    }
  }
  for (const auto& piece : ready) SK_TRY(transfers_->resume(*piece));
  return success();
}

std::vector<std::shared_ptr<HttpFetch::Piece>> HttpFetch::due_pieces() {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Piece>> due;
  if (failure_) return due;
  const Clock::time_point now = Clock::now();
  const auto is_due = [now](const Piece& piece) {
    return !piece.in_flight && piece.not_before <= now && (piece.is_stream || !piece.is_complete());
  };
  if (own_ && is_due(*own_)) due.push_back(own_);
  if (mode_ != Mode::ranges) return due;
  while (ahead_.size() < kPiecesMax) {
    const auto next = plan_.next(kPieceBytes);
    if (!next) break;
    ahead_.push_back(std::make_shared<Piece>(*this, *next));
  }
  auto in_flight =
      static_cast<std::size_t>(std::ranges::count_if(ahead_, [](const auto& piece) { return piece->in_flight; }));
  for (const auto& piece : ahead_) {
    if (in_flight == kRequestsMax) break;
    if (!is_due(*piece)) continue;
    due.push_back(piece);
    ++in_flight;
  }
  return due;
}

milliseconds HttpFetch::until_due() {
  const std::lock_guard lock(mutex_);
  const Clock::time_point now = Clock::now();
  milliseconds least = kIdle;
  const auto consider = [&](const Piece& piece) {
    if (piece.in_flight || (!piece.is_stream && piece.is_complete())) return;
    if (piece.not_before <= now) return;  // waits for another request to end
    least = std::min(least, std::chrono::ceil<milliseconds>(piece.not_before - now));
  };
  if (failure_) return least;
  if (own_) consider(*own_);
  for (const auto& piece : ahead_) consider(*piece);
  for (const auto& piece : running_) {
    if (piece->waits_for_rate) least = std::min(least, rate_.until_ready(now));
  }
  return least;
}

Result<void> HttpFetch::begin(const std::shared_ptr<Piece>& piece) {
  Transfers::Request request;
  {
    const std::lock_guard lock(mutex_);
    piece->begins();
    if (!piece->is_stream) {
      request.range = ByteRange{piece->arrived_to(), piece->range.end};
      request.condition = identity_.condition();
    }
    running_.push_back(piece);
  }
  return transfers_->begin(request, *piece);
}

// ---- what came of a request -----------------------------------------------------------------------------------------

namespace {

Error unreachable(const HttpAnswer& answer, const std::string& what) {
  return make_error(Errc::source_unreachable, answer.host + " " + what);
}

Error changed(const HttpAnswer& answer, const std::string& how) {
  return make_error(Errc::source_changed,
                    "the bundle on " + answer.host + " was replaced while it was read: " + how + "; install again");
}

Error is_empty(const HttpAnswer& answer) {
  return make_error(Errc::source_truncated, "the file on " + answer.host + " is empty");
}

constexpr const char* kNoRangesNow =
    "does not send parts of the bundle any more, though it did before; check the server, and whether several stand "
    "behind this name";

}  // namespace

/// Why this answer is of no use. An error of which `is_passing` the status is asks for another try.
std::optional<Error> HttpFetch::check_answer(Piece& piece, const HttpAnswer& answer) {
  if (answer.status != 200 && answer.status != 206) {
    if (answer.status == 412 && mode_ == Mode::ranges) return changed(answer, "it no longer is what it was");
    if (answer.status == 416 && mode_ == Mode::ranges && answer.content_range) {
      if (const auto how =
              identity_.difference({.total = answer.content_range->total, .etag = {}, .last_modified = {}}))
        return changed(answer, *how);
    }
    if (answer.status == 416 && mode_ == Mode::unknown && answer.content_range && answer.content_range->total == 0U) {
      return is_empty(answer);
    }
    return unreachable(answer, status_text(answer.status));
  }
  if (!answer.content_encoding.empty() && answer.content_encoding != "identity") {
    return unreachable(answer, "sends the bundle compressed (" + answer.content_encoding +
                                   "), which was not asked for; switch that off for bundles");
  }
  if (mode_ == Mode::unknown) return check_first(piece, answer);
  return piece.is_stream ? check_whole(answer) : check_part(piece, answer);
}

/// The first answer tells what the server can do.
std::optional<Error> HttpFetch::check_first(Piece& piece, const HttpAnswer& answer) {
  if (answer.status == 206 && answer.content_range && answer.content_range->total) {
    piece.range.end = std::min(piece.range.end, *answer.content_range->total);
    if (auto wrong = check_part(piece, answer)) return wrong;
    mode_ = Mode::ranges;
    identity_ = answer.identity();
    end_ = identity_.total;
  } else if (answer.status == 200) {
    if (answer.content_length == 0U) return is_empty(answer);
    mode_ = Mode::stream;
    piece.is_stream = true;
    piece.bytes.shrink_to_fit();
    identity_ = answer.identity();
  } else {
    return unreachable(answer,
                       "answered a request for a part without saying which part it sends, or of how much; "
                       "check the server");
  }
  changed_.notify_all();
  return std::nullopt;
}

std::optional<Error> HttpFetch::check_part(const Piece& piece, const HttpAnswer& answer) const {
  if (const auto how = identity_.difference(answer.identity())) return changed(answer, *how);
  if (answer.status == 200) {
    // The condition did not hold any more, or the server has no ranges now.
    if (answer.identity() == identity_) return unreachable(answer, kNoRangesNow);
    return changed(answer, "the server sends it anew as a whole");
  }
  const auto& range = answer.content_range ? answer.content_range->range : std::nullopt;
  if (!range || range->begin != piece.arrived_to() || range->end > piece.range.end) {
    return unreachable(answer, "sends another part than the one that was asked for; check the server");
  }
  return std::nullopt;
}

/// A stream that was begun again.
std::optional<Error> HttpFetch::check_whole(const HttpAnswer& answer) {
  if (answer.status != 200) return unreachable(answer, "sends a part though the whole was asked for");
  if (const auto how = identity_.difference(answer.identity())) return changed(answer, *how);
  return std::nullopt;
}

TransferListener::Take HttpFetch::store(Piece& piece, io::ConstBytes bytes) {
  using Take = TransferListener::Take;
  if (piece.is_stream) {
    const auto known = static_cast<std::size_t>(std::min<std::uint64_t>(piece.to_skip, bytes.size()));
    if (known < bytes.size() && !has_room()) {
      piece.waits_for_room = true;
      return Take::later;
    }
    piece.to_skip -= known;
    append_to_stream(bytes.subspan(known));
  } else if (bytes.size() > piece.range.end - piece.arrived_to()) {
    piece.verdict = make_error(Errc::source_unreachable, "the server sends more than it announced; check the server");
    return Take::none;
  } else {
    piece.bytes.insert(piece.bytes.end(), bytes.begin(), bytes.end());
  }
  changed_.notify_all();
  return Take::all;
}

void HttpFetch::append_to_stream(io::ConstBytes bytes) {
  if (head_.size() < kStreamKeptBytes) {
    // Bounded growth: the last doubling would otherwise reserve more than is ever kept.
    if (head_.capacity() == 0) head_.reserve(kStreamKeptBytes);
    const auto kept = bytes.first(std::min(bytes.size(), kStreamKeptBytes - head_.size()));
    head_.insert(head_.end(), kept.begin(), kept.end());
    stream_received_ += kept.size();
    bytes = bytes.subspan(kept.size());
  }
  while (!bytes.empty()) {
    if (ahead_.empty() || ahead_.back()->is_complete()) {
      ahead_.push_back(std::make_shared<Piece>(*this, ByteRange{stream_received_, stream_received_ + kPieceBytes}));
      ahead_.back()->bytes.reserve(kPieceBytes);
    }
    Piece& last = *ahead_.back();
    const auto fits = bytes.first(std::min<std::size_t>(bytes.size(), last.range.end - last.arrived_to()));
    last.bytes.insert(last.bytes.end(), fits.begin(), fits.end());
    stream_received_ += fits.size();
    bytes = bytes.subspan(fits.size());
  }
}

bool HttpFetch::has_room() const { return ahead_.size() * kPieceBytes <= kStreamAheadMaxBytes; }

void HttpFetch::finish(Piece& piece, const HttpAnswer& answer, const TransferEnd& end) {
  using Kind = TransferEnd::Kind;
  if (piece.verdict) {
    Error error = *std::move(piece.verdict);
    if (is_passing(answer.status)) return try_again(piece, answer, std::move(error));
    return fail(std::move(error));
  }
  if (end.kind == Kind::lasting) return fail(make_error(end.code, end.why));
  if (end.kind == Kind::passing || end.kind == Kind::cut_short) {
    return try_again(piece, answer, make_error(end.code, end.why));
  }
  if (piece.is_stream ? piece.to_skip == 0 : piece.is_complete()) return complete(piece);
  try_again(piece, answer,
            make_error(Errc::source_truncated, "the answer of " + answer.host + " is shorter than it has to be"));
}

void HttpFetch::complete(Piece& piece) {
  piece.failures = 0;
  if (piece.is_stream) {
    end_ = stream_received_;
    own_.reset();
  } else if (piece.range.begin == 0 && head_.empty() && own_.get() == &piece) {
    head_ = std::move(piece.bytes);
    own_.reset();
  }
  changed_.notify_all();
}

void HttpFetch::try_again(Piece& piece, const HttpAnswer& answer, Error error) {
  const std::uint64_t arrived = piece.is_stream ? stream_received_ : piece.bytes.size();
  if (arrived >= piece.arrived_at_failure + kProgressBytes) piece.failures = 0;
  piece.arrived_at_failure = arrived;
  ++piece.failures;
  const std::uint32_t retries = mode_ == Mode::unknown ? std::min(retries_, kOpeningRetriesMax) : retries_;
  if (piece.failures > retries) {
    if (retries > 0) error.message += "; tried " + std::to_string(piece.failures) + " times";
    return fail(std::move(error));
  }
  const milliseconds delay = retry_delay(piece.failures, throw_dice(), answer.retry_after);
  piece.not_before = Clock::now() + delay;
  notice_ = error.message + "; trying again in " + seconds_text(delay) + " (" + std::to_string(piece.failures) +
            " of " + std::to_string(retries) + ")";
}

void HttpFetch::fail(Error error) {
  if (!failure_) failure_ = std::move(error);
  changed_.notify_all();
}

}  // namespace slotkeeper

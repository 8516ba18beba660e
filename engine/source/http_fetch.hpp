// Fetches a bundle over HTTP(S) and hands its bytes to one reader. A thread of its own talks to the server and reads
// ahead; the reader waits for what it needs.
//
//   reader:  read, expect              thread:  run
//      own request, plan, head  ──────►  requests over Transfers, at most kRequestsMax ahead
//      bytes, failure           ◄──────  pieces, in the order in which they are read
//
// A server that serves ranges is asked for pieces. From one that answers the first request with everything, that one
// answer is read to its end, front to back; of what was read only the first kStreamKeptBytes can be read again.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/source/line_manners.hpp"
#include "engine/source/range_plan.hpp"
#include "engine/source/transfers.hpp"

namespace slotkeeper {

/// All bytes that are fetched and not read yet, and those kept to be read again, are never more than this.
inline constexpr std::size_t kReadAheadMaxBytes = std::size_t{4} << 20;
/// One request for a part.
inline constexpr std::size_t kPieceBytes = std::size_t{512} << 10;
/// How much a request gets at least, and the first one altogether: small members of a bundle lie side by side.
inline constexpr std::size_t kNearBytes = std::size_t{64} << 10;
/// A gap between two ranges up to this size is fetched with them.
inline constexpr std::uint64_t kGapMaxBytes = 64 << 10;
/// Of a stream the beginning is kept: it is read before it is clear what it is for.
inline constexpr std::size_t kStreamKeptBytes = std::size_t{1} << 20;
/// Requests for pieces ahead that are in flight at a time.
inline constexpr std::size_t kRequestsMax = 4;
/// Failures after which as many bytes came do not count together.
inline constexpr std::uint64_t kProgressBytes = 64 << 10;
/// Before a server has answered at all, a wrong URL is likelier than a bad moment.
inline constexpr std::uint32_t kOpeningRetriesMax = 3;

class HttpFetch {
 public:
  /// The settings of the line; see SourceSettings.
  struct Manners {
    std::optional<std::uint64_t> max_rate;
    std::uint32_t retries = 0;
  };

  /// Starts the thread. `calls` are made from the reader's thread only.
  HttpFetch(std::unique_ptr<Transfers> transfers, const Manners& manners, SourceCalls calls);
  HttpFetch(const HttpFetch&) = delete;
  HttpFetch& operator=(const HttpFetch&) = delete;
  ~HttpFetch();  ///< abandons what is in flight

  /// Asks for the first bytes and waits until it is known what the server can do. Errors: as `read`.
  [[nodiscard]] Result<void> open();
  /// Total size; nothing where the server serves no ranges.
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const;
  /// As Source::expect and Source::read_at. Errors: source_unreachable, source_truncated, source_changed, config,
  /// internal, and what ends the waiting.
  void expect(const std::vector<ByteRange>& ranges);
  [[nodiscard]] Result<std::size_t> read(std::uint64_t offset, io::Bytes into);

 private:
  enum class Mode : std::uint8_t { unknown, ranges, stream };
  class Piece;
  using Lock = std::unique_lock<std::mutex>;

  // Of the reader.
  [[nodiscard]] Result<void> wait(Lock& lock);
  [[nodiscard]] Result<std::size_t> read_some(std::uint64_t offset, io::Bytes into);
  [[nodiscard]] std::optional<std::size_t> copy_present(std::uint64_t offset, io::Bytes into);
  [[nodiscard]] std::shared_ptr<Piece> piece_with(std::uint64_t position) const;
  void let_go(std::uint64_t position);
  void want(std::uint64_t offset, std::size_t bytes);
  [[nodiscard]] Error went_back(std::uint64_t offset) const;

  // Of the thread.
  void run(const std::stop_token& stop);
  [[nodiscard]] Result<void> turn();
  void drop_unwanted();
  [[nodiscard]] Result<void> resume_paused();
  [[nodiscard]] std::vector<std::shared_ptr<Piece>> due_pieces();
  [[nodiscard]] std::chrono::milliseconds until_due();
  [[nodiscard]] Result<void> begin(const std::shared_ptr<Piece>& piece);

  // Of the thread, called by pieces while a request runs, with the mutex held.
  [[nodiscard]] std::optional<Error> check_answer(Piece& piece, const HttpAnswer& answer);
  [[nodiscard]] std::optional<Error> check_first(Piece& piece, const HttpAnswer& answer);
  [[nodiscard]] std::optional<Error> check_part(const Piece& piece, const HttpAnswer& answer) const;
  [[nodiscard]] std::optional<Error> check_whole(const HttpAnswer& answer);
  [[nodiscard]] TransferListener::Take store(Piece& piece, io::ConstBytes bytes);
  void append_to_stream(io::ConstBytes bytes);
  [[nodiscard]] bool has_room() const;
  void finish(Piece& piece, const HttpAnswer& answer, const TransferEnd& end);
  void complete(Piece& piece);
  void try_again(Piece& piece, const HttpAnswer& answer, Error error);
  void fail(Error error);

  const std::unique_ptr<Transfers> transfers_;
  const std::uint32_t retries_;
  const SourceCalls calls_;
  Clock::time_point asked_{};  ///< when the reader last asked whether to go on

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Mode mode_ = Mode::unknown;
  ContentIdentity identity_;
  std::optional<std::uint64_t> end_;          ///< of the bundle, once it is known
  std::vector<std::byte> head_;               ///< the first bytes; they stay
  std::shared_ptr<Piece> own_;                ///< asked for by a read outside of the plan; of a stream: the stream
  RangePlan plan_;                            ///< what `ahead_` does not hold yet
  std::deque<std::shared_ptr<Piece>> ahead_;  ///< ascending; of a stream: what has arrived and was not read
  std::uint64_t stream_received_ = 0;
  std::optional<Error> failure_;
  std::string notice_;  ///< for the reader to pass on

  // Of the thread alone.
  RateLimit rate_;
  std::vector<std::shared_ptr<Piece>> running_;

  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace slotkeeper

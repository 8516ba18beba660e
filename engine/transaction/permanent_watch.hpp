// Watches the permanent partition from the compaction to the last check, so that an update ends when the live system
// needs the room and not when one of its writes has failed. Stands between the steps and the reporter: whoever reports
// progress or asks whether to stop lets it look, at most every kLookInterval. A thread of its own looks at the room,
// too, and gives the reserve back at once: a flood fills a partition while one slow write to a slot goes on.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "engine/transaction/forwarding_sink.hpp"
#include "partitions/io/directory.hpp"
#include "partitions/io/host.hpp"
#include "partitions/io/storage.hpp"

namespace slotkeeper {

struct WatchSettings {
  std::string path;                  ///< of the permanent partition
  permanent::Amount before_reserve;  ///< what must be available until the reserve is built: all that the update needs
  permanent::Amount with_reserve;    ///< and while the reserve is there: what of it is not in the reserve
  std::uint64_t growth_bytes = 0;    ///< of the live system, as forecast
  std::uint64_t filesystem_errors = 0;  ///< counted before the update began
};

class PermanentWatch final : public ForwardingSink {
 public:
  static constexpr std::chrono::milliseconds kLookInterval{20};  ///< of the room: one statvfs, some microseconds
  static constexpr std::chrono::milliseconds kThreadInterval{5};
  static constexpr std::chrono::milliseconds kErrorsInterval{200};
  /// As much as the live system wrote in this time it must find room for once more, until somebody
  /// looks again and the reserve is given back.
  static constexpr std::chrono::milliseconds kRateWindow{200};

  /// Opens the partition. `inner` and the others must outlive it.
  ///
  /// Durable:  once storage_full was found the reserve is gone, or being removed. The transaction has to end then.
  /// On crash: some of it is left; nothing was armed, so nobody needs it, and recovery removes the rest.
  /// Errors:   io_error.
  [[nodiscard]] static Result<std::unique_ptr<PermanentWatch>> begin(EngineSink& inner, io::Storage& storage,
                                                                     io::Host& host, WatchSettings settings);

  void progress(Phase phase, std::uint64_t done_bytes, std::uint64_t total_bytes) override;
  /// As of the inner sink, and what `look` finds. Once it found something that stays its answer.
  [[nodiscard]] Result<void> check_cancelled() override;

  /// Compaction is over: from now on there must be room for all that the update needs.
  void room_is_needed() { enter(State::before_reserve); }
  /// We begin to write the reserve; what becomes less now is our own doing.
  void reserve_begins() { enter(State::building); }
  /// The reserve is there: what becomes less from now on is the live system's doing.
  void reserve_is_there() { enter(State::with_reserve); }

  /// Looks at once, whatever the interval.
  /// Errors: storage_full (too little room is left for the rest of the update, a rollback and the log reserve),
  /// read_only, io_error (the filesystem counted new errors), each telling what to do.
  [[nodiscard]] Result<void> look();

  /// Looks for the last time. From now on the reserve is left alone. Errors: as look.
  [[nodiscard]] Result<void> end();

  /// Why the update ends: what the watch found, or `other` where it found nothing.
  [[nodiscard]] Error reason(Error other);

 private:
  enum class State : std::uint8_t { compacting, before_reserve, building, with_reserve };
  struct Sample {
    std::chrono::nanoseconds at;
    std::uint64_t available_bytes;
  };

  PermanentWatch(EngineSink& inner, io::Storage& storage, io::Host& host, std::unique_ptr<io::Directory> root,
                 WatchSettings settings)
      : ForwardingSink(inner), storage_(storage), host_(host), root_(std::move(root)), settings_(std::move(settings)) {}

  // All of these with the mutex held.
  [[nodiscard]] Result<void> look_at(std::chrono::nanoseconds now, bool errors_too);
  [[nodiscard]] Result<void> check_room(const io::SpaceFacts& space, std::chrono::nanoseconds now);
  [[nodiscard]] Result<void> check_errors();
  [[nodiscard]] std::uint64_t fall_within_window() const;
  void look_when_due();

  void enter(State state);
  void say_what_is_pending();
  void look_from_thread();

  io::Storage& storage_;
  io::Host& host_;
  std::unique_ptr<io::Directory> root_;
  WatchSettings settings_;
  std::mutex mutex_;  ///< over everything below
  State state_ = State::compacting;
  std::deque<Sample> samples_;  ///< of the last kRateWindow, while only others write
  std::optional<std::chrono::nanoseconds> looked_at_;
  std::optional<std::chrono::nanoseconds> errors_looked_at_;
  std::optional<std::uint64_t> available_at_first_;
  std::string pending_notice_;  ///< said by the working thread, since sinks know only one
  bool growth_was_noticed_ = false;
  std::optional<Error> found_;
  std::unique_ptr<io::Repetition> thread_;  ///< the last member: it must be over before the others go
};

}  // namespace slotkeeper

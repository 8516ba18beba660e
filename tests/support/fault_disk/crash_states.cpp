#include "tests/support/fault_disk/crash_states.hpp"

#include <algorithm>
#include <functional>
#include <random>
#include <set>
#include <stdexcept>

#include "tests/support/fault_disk/image_files.hpp"

namespace slotkeeper::test {
namespace {

bool changes_disk(const LogRecord& record) { return record.kind == LogKind::write || record.kind == LogKind::discard; }

/// Subsets of the writes of one cut, as positions in the list of those in flight.
class SubsetChoice {
 public:
  SubsetChoice(std::size_t count, const CrashOptions& options, std::uint64_t position)
      : count_(count), options_(options), generator_(options.seed * 1'000'003 + position) {}

  struct Subset {
    std::string name;
    std::vector<bool> takes;
  };

  std::vector<Subset> run() {
    for (std::size_t length = 0; length <= count_; ++length) {
      add("prefix-" + std::to_string(length), [&](std::size_t i) { return i < length; });
    }
    if (count_ <= options_.exhaustive_writes_max) {
      for (std::uint64_t mask = 0; mask < (1ull << count_); ++mask) {
        add("subset-" + std::to_string(mask), [&](std::size_t i) { return (mask >> i & 1) != 0; });
      }
      return std::move(subsets_);
    }
    std::vector<std::size_t> order(count_);
    for (std::size_t i = 0; i < count_; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), generator_);
    order.resize(std::min(count_, options_.singles_max));
    for (const std::size_t one : order) {
      add("only-" + std::to_string(one), [&](std::size_t i) { return i == one; });
      add("without-" + std::to_string(one), [&](std::size_t i) { return i != one; });
    }
    for (std::size_t number = 0; number < options_.random_subsets; ++number) {
      add("random-" + std::to_string(number), [&](std::size_t) { return (generator_() & 1) != 0; });
    }
    return std::move(subsets_);
  }

 private:
  template <class Takes>
  void add(std::string name, const Takes& takes) {
    Subset subset{std::move(name), std::vector<bool>(count_)};
    for (std::size_t i = 0; i < count_; ++i) subset.takes[i] = takes(i);
    if (known_.insert(subset.takes).second) subsets_.push_back(std::move(subset));
  }

  std::size_t count_;
  const CrashOptions& options_;
  std::mt19937_64 generator_;
  std::set<std::vector<bool>> known_;
  std::vector<Subset> subsets_;
};

}  // namespace

CrashStates::CrashStates(std::vector<LogRecord> log, std::vector<std::string> initial_images,
                         const CrashOptions& options)
    : log_(std::move(log)), initial_images_(std::move(initial_images)), options_(options) {
  std::vector<std::vector<std::size_t>> in_flight(initial_images_.size());
  const auto cut = [&](std::uint64_t position) {
    std::vector<std::size_t> all;
    for (const auto& records : in_flight) all.insert(all.end(), records.begin(), records.end());
    std::ranges::sort(all);
    if (position >= options_.from_position) enumerate_cut(position, all);
  };
  for (std::size_t i = 0; i < log_.size(); ++i) {
    const LogRecord& record = log_[i];
    if (record.kind == LogKind::flush) {
      cut(i);
      in_flight.at(record.disk).clear();
    } else if (changes_disk(record)) {
      in_flight.at(record.disk).push_back(i);
    }
  }
  cut(log_.size());
  load_initial_images();
}

void CrashStates::enumerate_cut(std::uint64_t position, const std::vector<std::size_t>& in_flight) {
  ++cuts_;
  add_subsets(position, in_flight);
  add_tears(position, in_flight);
}

void CrashStates::add_subsets(std::uint64_t position, const std::vector<std::size_t>& in_flight) {
  for (const auto& [name, takes] : SubsetChoice(in_flight.size(), options_, position).run()) {
    CrashState state{.position = position, .name = std::to_string(position) + ":" + name, .survivors = {}, .tear = {}};
    for (std::size_t i = 0; i < in_flight.size(); ++i) {
      if (takes[i]) state.survivors.push_back(in_flight[i]);
    }
    states_.push_back(std::move(state));
  }
}

std::uint64_t CrashStates::unit_count(const LogRecord& record) const {
  const std::uint64_t unit = options_.tear_unit_bytes;
  return record.length == 0 ? 0 : (record.offset + record.length - 1) / unit - record.offset / unit + 1;
}

/// The write that is torn is the last one to arrive.
void CrashStates::add_tears(std::uint64_t position, const std::vector<std::size_t>& in_flight) {
  std::vector<std::size_t> candidates;
  for (std::size_t i = 0; i < in_flight.size(); ++i) {
    if (unit_count(log_[in_flight[i]]) > 1) candidates.push_back(i);
  }
  std::mt19937_64 generator(options_.seed * 7'000'003 + position);
  std::shuffle(candidates.begin(), candidates.end(), generator);
  for (std::size_t number = 0; number < options_.tears && !candidates.empty(); ++number) {
    const std::size_t torn = candidates[number % candidates.size()];
    const LogRecord& record = log_[in_flight[torn]];
    const std::uint64_t units = unit_count(record);
    const std::uint64_t first_half = (1ull << std::min<std::uint64_t>(units / 2, 63)) - 1;
    // By turns: the begin arrives, the end arrives, any part arrives.
    const std::uint64_t bits = number % 3 == 0 ? first_half : number % 3 == 1 ? ~first_half : generator();
    CrashState state{.position = position,
                     .name = std::to_string(position) + ":torn-" + std::to_string(torn) + "-" + std::to_string(number),
                     .survivors = {},
                     .tear = CrashState::Tear{in_flight[torn], bits}};
    state.survivors.assign(in_flight.begin(), in_flight.begin() + static_cast<std::ptrdiff_t>(torn) + 1);
    states_.push_back(std::move(state));
  }
}

void CrashStates::load_initial_images() {
  durable_.clear();
  for (const std::string& path : initial_images_) durable_.emplace_back(path);
  pending_.assign(durable_.size(), {});
  position_ = 0;
}

void CrashStates::apply(SparseImage& disk, const LogRecord& record, const CrashState* state) const {
  if (record.offset > disk.size() || record.length > disk.size() - record.offset) {
    throw std::runtime_error("record " + std::to_string(record.sequence) + " of the log lies beyond its disk");
  }
  const std::size_t offset = record.offset;
  const std::size_t length = record.length;
  const auto put = [&](std::size_t begin, std::size_t size) {
    if (record.kind == LogKind::discard) {
      disk.zero(offset + begin, size);
    } else {
      disk.write(offset + begin, std::string_view(record.data).substr(begin, size));
    }
  };
  if (state == nullptr || !state->tear || state->tear->record != record.sequence) {
    put(0, length);
    return;
  }
  // Units lie where the disk has them, not where the write begins.
  const std::size_t unit_bytes = options_.tear_unit_bytes;
  for (std::size_t at = 0, unit = 0; at < length; ++unit) {
    const std::size_t size = std::min(length - at, unit_bytes - (offset + at) % unit_bytes);
    if ((state->tear->units >> (unit % 64) & 1) != 0) put(at, size);
    at += size;
  }
}

void CrashStates::advance(std::uint64_t position) {
  if (position < position_) load_initial_images();
  for (; position_ < position; ++position_) {
    const LogRecord& record = log_[position_];
    if (record.kind == LogKind::flush) {
      for (const std::size_t earlier : pending_[record.disk]) apply(durable_[record.disk], log_[earlier], nullptr);
      pending_[record.disk].clear();
    } else if (changes_disk(record)) {
      pending_[record.disk].push_back(position_);
    }
  }
}

std::uint64_t CrashStates::build(const CrashState& state, const std::vector<std::string>& images) {
  advance(state.position);
  std::uint64_t hash = 0;
  for (std::size_t disk = 0; disk < durable_.size(); ++disk) {
    SparseImage contents = durable_[disk];
    for (const std::size_t survivor : state.survivors) {
      if (log_[survivor].disk == disk) apply(contents, log_[survivor], &state);
    }
    contents.store(images.at(disk));
    hash = hash * 1'099'511'628'211u ^ contents.hash();
  }
  return hash;
}

std::size_t CrashStates::marks_before(const CrashState& state, std::string_view text) const {
  std::size_t count = 0;
  for (std::size_t i = 0; i < state.position; ++i) {
    if (log_[i].kind == LogKind::mark && std::string_view(log_[i].data).starts_with(text)) ++count;
  }
  return count;
}

}  // namespace slotkeeper::test

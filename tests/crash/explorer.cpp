#include "tests/crash/explorer.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "bootloader-hooks/boot_control.hpp"
#include "engine/transaction/record.hpp"
#include "engine/transaction/recovery.hpp"
#include "partitions/state_store.hpp"

namespace slotkeeper::test {
namespace {

constexpr int kBootsMax = World::kAttempts + 6;
constexpr std::uint64_t kRowsNotedOneIn = 16;

std::uint64_t mix(std::uint64_t sum, std::uint64_t value) {
  sum = (sum ^ value) * 0xD6E8FEB86659FD93U;
  return sum ^ sum >> 32U;
}
std::uint64_t hash_of(std::string_view text) {
  std::uint64_t sum = text.size();
  for (const char c : text) sum = (sum ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  return mix(sum, 0);
}
std::uint64_t hash_of(const TreeListing& listing) {
  std::uint64_t sum = 0;
  for (const auto& [path, line] : listing) sum = mix(sum, hash_of(path) ^ hash_of(line) * 3);
  return sum;
}

char letter(SlotId slot) { return slot == SlotId::a ? 'A' : 'B'; }
const char* device_of(SlotId slot) { return slot == SlotId::a ? "/dev/slot-a" : "/dev/slot-b"; }

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

/// While files are replaced one by one, names of one file come apart.
TreeListing without_links(TreeListing listing) {
  for (auto& [path, line] : listing) line.resize(std::min(line.find(" same-as="), line.size()));
  return listing;
}

/// What a firmware on trial does to the configuration before it dies.
void spoil(World& world) {
  world.write_file("net/if.conf", "address = broken\n");
  world.write_file("invented.conf", "by the trial\n");
  world.remove_file("current");
  world.write_file("leases.state", "lease of the trial\n");
}

}  // namespace

Explorer::Expectation Explorer::prepare(World& world) const {
  Expectation expected;
  world.newer_differs = scene_.newer_differs;
  world.clock_jumps = scene_.clock_jumps;
  expected.original = scene_.prepare(world);
  world.bootloader = scene_.bootloader;
  world.writers.write = scene_.writers;
  expected.sides = {without_links(world.configuration()), without_links(expected.original)};
  expected.log = lines_of(world.log());
  expected.original_slot = world.machine().node(device_of(scene_.original)).contents.hash();
  return expected;
}

ExplorerCounts Explorer::run() {
  World world;
  const Expectation expected = prepare(world);
  World uncut(world);
  uncut.before_call = [this](const SimulatedCall&) -> Result<void> {
    ++calls_;
    return success();
  };
  static_cast<void>(scene_.command(uncut));
  watch(world, expected, {.path = "", .depth = 1}, 1);
  const CommandResult result = scene_.command(world);
  world.writers.write = false;
  consider(world, expected, {.path = "end", .depth = 1});
  world.before_call = nullptr;
  if (story_.empty() && result.failure) {
    ++counts_.violations;
    story_ = scene_.name + " without any cut: " + result.failure->error.message;
  }
  return counts_;
}

bool Explorer::is_wanted(const std::string& path) const {
  if (options_.replay.empty()) return true;
  return options_.replay == path || options_.replay.starts_with(path + ">");
}

void Explorer::watch(World& world, const Expectation& expected, const Position& at, std::uint64_t call_one_in) {
  ++counts_.engine_runs;
  std::optional<State> before;
  if (const auto record = recorded_transaction(world); record) before = record->state;
  world.before_call = [this, &world, &expected, at, call_one_in, call = std::uint64_t{0}, seen = std::uint64_t{0},
                       state = before](const SimulatedCall&) mutable -> Result<void> {
    ++call;
    if (world.writers.write && call % world.writers.every_calls == 0) world.let_others_write();
    const VolatileTree& tree = world.machine().tree;
    if (tree.version() == seen) return success();
    seen = tree.version();
    note_recorded_state(tree, state);
    if (at.depth == 1) allowed_ = options_.cases_max * std::min(call, calls_) / calls_;
    if (!story_.empty() || (at.depth > 1 && counts_.cases >= allowed_)) return success();
    const std::string path = at.path + std::to_string(call);
    const bool is_replayed = is_wanted(path) || options_.replay.starts_with(path + ":");
    const bool is_chosen = call_one_in <= 1 || mix(hash_of(path), options_.seed) % call_one_in == 0;
    if (options_.replay.empty() ? is_chosen : is_replayed) consider(world, expected, {.path = path, .depth = at.depth});
    return success();
  };
}

void Explorer::consider(World& world, const Expectation& expected, const Position& at) {
  if (!story_.empty()) return;
  ++counts_.cuts;
  const auto& pending = world.machine().tree.pending();
  const std::uint64_t seed = mix(hash_of(at.path), options_.seed);
  for (const CrashChoice& choice : crash_choices(pending, at.depth == 1 ? options_.first : options_.again, seed)) {
    const Position one{.path = at.path + ":" + choice.name, .depth = at.depth};
    if (!is_wanted(one.path)) continue;
    if (!options_.replay.empty()) tell(world, choice, one);
    try_state(world, choice, expected, one);
    if (!story_.empty() || (at.depth > 1 && counts_.cases >= allowed_)) return;
  }
}

/// In a replay: what was not synced at this cut, and what became of it.
void Explorer::tell(const World& world, const CrashChoice& choice, const Position& at) {
  constexpr std::array kFates = {"lost", "kept", "torn", "trashed"};
  std::printf("%s\n", at.path.c_str());
  const auto& pending = world.machine().tree.pending();
  for (std::size_t i = 0; i < pending.size(); ++i) {
    const Fate& fate = choice.fates[i];
    std::printf("  %-8s %s", kFates[static_cast<std::size_t>(fate.kind)], pending[i].describe().c_str());
    const std::string path = world.machine().tree.seen().path_of(pending[i].node);
    std::printf(" %s\n", path.c_str());
  }
}

void Explorer::try_state(const World& world, const CrashChoice& choice, const Expectation& before, const Position& at) {
  FileTree left = world.machine().tree.after_crash(choice.fates, choice.garbage_seed);
  if (!met_.insert(World::everything_in(left)).second) {
    ++counts_.duplicates;
    return;
  }
  World after(world, std::move(left));
  Expectation expected = before;
  ++counts_.cases;
  ++counts_.cases_by_depth[at.depth];
  const TreeListing now = without_links(after.configuration());
  std::vector<const TreeListing*> sides;
  for (const TreeListing& side : world.writers.configurations) expected.sides.push_back(without_links(side));
  for (const TreeListing& side : expected.sides) sides.push_back(&side);
  const auto& lines = world.writers.synced_lines;
  expected.log.insert(expected.log.end(), lines.begin(), lines.end());
  Violations violations;
  if (!scene_.migrates) violations = check_complete(sides, now);
  const Violations armed = check_armed(after);
  violations.insert(violations.end(), armed.begin(), armed.end());
  if (!check(std::move(violations), at)) return;
  if (scene_.original_runs && at.depth == 1 && !scene_.is_repeated) {
    expected.original = after.configuration();
    expected.sides = {now};
  }
  const bool again =
      at.depth < options_.depth &&
      (!options_.replay.empty() || mix(hash_of(at.path), options_.seed + 1) % options_.again_one_in == 0);
  settle(after, std::move(expected), {.path = at.path + ">", .depth = again ? at.depth + 1 : 0});
}

bool Explorer::settle(World& world, Expectation expected, const Position& at) {
  std::vector<std::uint64_t> passed;
  const std::uint64_t wanted = hash_of(expected.original);
  for (int boots = 0; boots < kBootsMax; ++boots) {
    const std::uint64_t state = mix(world.situation(), wanted);
    if (at.depth == 0 && at_rest_.contains(state)) {
      at_rest_.insert(passed.begin(), passed.end());
      return true;
    }
    passed.push_back(state);
    const Position here{.path = at.path + "b" + std::to_string(boots) + ".", .depth = at.depth};

    const BootDecision decision = world.decide_boot();
    world.write_boot_decision(decision);
    if (decision.written_copy && here.depth > 0) {
      consider(world, expected, {.path = here.path + "boot", .depth = here.depth});
    }
    const BootedSlot booted = world.start(decision);
    const auto version = world.version_in(booted.slot);
    const bool is_target = booted.slot != scene_.original;
    const bool is_expected = is_target ? version == scene_.target_version || version == scene_.replaced_version
                                       : version == scene_.original_version;
    if (!check(
            check_slots({{.slot = letter(booted.slot), .was_started = true, .is_whole = booted.is_whole && is_expected},
                         {.slot = letter(scene_.original),
                          .must_be_same = true,
                          .is_same = world.machine().node(device_of(scene_.original)).contents.hash() ==
                                     expected.original_slot}}),
            here)) {
      return false;
    }
    if (is_target && scene_.ending == Ending::dies_at_once) continue;
    if (!recover_and_check(world, booted, expected, here)) return false;

    if (!is_target) {
      if (world.boot_order().front() != letter(scene_.original)) continue;  // armed still, or sent back
      const TreeListing now = world.configuration();
      Violations violations;
      if (std::ranges::find(expected.or_one_of, now) == expected.or_one_of.end()) {
        violations = check_exact(expected.original, now);
      }
      const Violations at_rest = check_rest(world, booted.slot);
      violations.insert(violations.end(), at_rest.begin(), at_rest.end());
      if (!check(std::move(violations), here)) return false;
      at_rest_.insert(passed.begin(), passed.end());
      return true;
    }
    const auto confirmed = [&] {
      const BootVariables variables = world.environment();
      const auto mark = variables.find("SLOTKEEPER_TX");
      return world.boot_order().front() == letter(booted.slot) &&
             (mark == variables.end() || mark->second.empty() || mark->second.ends_with(":good"));
    };
    if (!confirmed() && world.boot_order().front() == letter(booted.slot)) {
      if (scene_.ending == Ending::dies) {
        spoil(world);
        expected.sides.push_back(without_links(world.configuration()));
      }
      if (scene_.ending == Ending::confirms || scene_.ending == Ending::unhealthy) {
        world.host().health_exit_status = scene_.ending == Ending::unhealthy ? 1 : 0;
        if (here.depth > 0)
          watch(world, expected, {.path = here.path + "c", .depth = here.depth}, options_.again_call_one_in);
        const CommandResult result = world.confirm(booted.slot);
        world.before_call = nullptr;
        ++counts_.engine_runs;
        if (!story_.empty()) return false;
        if (scene_.ending == Ending::confirms && result.failure) {
          check({{9, "a healthy trial is not confirmed: " + result.failure->error.message}}, here);
          return false;
        }
      }
    }
    if (!confirmed()) continue;
    if (is_target && scene_.confirmed_problem) {
      const std::string problem = scene_.confirmed_problem(world);
      if (!problem.empty()) return check({{3, problem}}, here);
    }
    if (!check(check_rest(world, booted.slot), here)) return false;
    at_rest_.insert(passed.begin(), passed.end());
    return true;
  }
  return check({{9, "the device did not come to rest within " + std::to_string(kBootsMax) + " boots"}}, at);
}

/// Whatever a bootloader picks, an unfinished slot cannot come up; and a boot environment that sends the device into a
/// trial promises that the target is whole.
Violations Explorer::check_armed(const World& world) const {
  const SlotId target = other(scene_.original);
  if (world.comes_up(target) && !world.version_in(target)) {
    return {{1, std::string("slot ") + letter(target) + " is not whole, and a bootloader could start it"}};
  }
  BootVariables variables = world.environment();
  const std::string tries = variables[std::string("BOOT_") + letter(target) + "_LEFT"];
  const bool is_armed = variables["BOOT_ORDER"].starts_with(letter(target)) &&
                        variables["SLOTKEEPER_TX"].ends_with(":trial") && !tries.empty() && tries != "0";
  if (!is_armed || world.version_in(target) == scene_.target_version) return {};
  return {{5, std::string("slot ") + letter(target) + " is armed, but does not hold the new image"}};
}

/// Nothing of ours is left, and a bootloader whose environment is damaged takes the slot that counts.
Violations Explorer::check_rest(const World& world, SlotId resting) const {
  Violations violations;
  if (!world.own_directory_is_empty()) violations.push_back({7, "something of ours is left on the partition"});
  World copy(world);
  const auto record = recorded_transaction(copy);
  const bool was_rolled_back = record && record->state == State::rolled_back && !record->revert;
  const auto facts = was_rolled_back ? recorded_facts(copy) : std::nullopt;
  if (facts && record->image.manifest_digest) {
    const bool counts = record->cause && (record->cause->code == "health" || record->cause->code == "health-timeout");
    const auto failures =
        std::ranges::find(facts->failures, *record->image.manifest_digest, &PackageFailures::manifest);
    const std::uint64_t counted = failures == facts->failures.end() ? 0 : failures->count;
    if (counts != (counted > 0) || (counted > 1 && !scene_.is_repeated)) {
      violations.push_back({9, "a rollback because of " + (record->cause ? record->cause->code : "nothing") +
                                   " was counted " + std::to_string(counted) + " times against its package"});
    }
  }
  if (!options_.damages_environment) return violations;
  const std::string order = world.boot_order();
  // Where nothing was staged, the target holds what it held before, and may stay.
  if (facts && resting == record->original && world.version_in(record->target) == scene_.target_version &&
      order.find(letter(record->target)) != std::string::npos) {
    violations.push_back({6, "what was rolled back is in the boot order still: " + order});
  }
  World damaged(world);
  damaged.damage_environment();
  const BootedSlot booted = damaged.start(damaged.decide_boot());
  if (!booted.is_whole || booted.slot != resting) {
    violations.push_back({1, std::string("with a damaged environment slot ") + letter(booted.slot) +
                                 " is started, and " + letter(resting) + " is the confirmed one"});
  }
  return violations;
}

/// The same logs are looked at once: most cuts do not touch them.
Violations Explorer::check_log_of(const World& world, const Expectation& expected) {
  const FileTree& tree = world.machine().tree.seen();
  const std::uint64_t logs = tree.hash(*tree.find("/permanent/log"));
  std::uint64_t key = mix(logs, expected.log.size());
  if (!expected.log.empty()) key = mix(key, hash_of(expected.log.back()));
  if (sound_logs_.contains(key)) return {};
  Violations violations = check_log(expected.log, world.log());
  if (violations.empty()) sound_logs_.insert(key);
  return violations;
}

bool Explorer::recover_and_check(World& world, const BootedSlot& booted, const Expectation& expected,
                                 const Position& at) {
  if (world.everything() % kRowsNotedOneIn == 0) note_row(world, booted.slot);
  if (at.depth > 0) watch(world, expected, at, options_.again_call_one_in);
  CommandResult recovered = world.recover(booted.slot);
  if (scene_.is_repeated && recovered.failure) recovered = scene_.command(world);
  ++counts_.engine_runs;
  if (at.depth > 0) consider(world, expected, {.path = at.path + "end", .depth = at.depth});
  world.before_call = nullptr;
  if (!story_.empty()) return false;
  // A trial that cannot go on, or a target that runs in the middle of a restore: all it can do is send the device back.
  const auto is_sent_back = [&](const CommandResult& result) {
    return booted.slot != scene_.original && result.failure && world.boot_order().front() == letter(scene_.original);
  };
  if (recovered.failure && !is_sent_back(recovered)) {
    return check({{9, "recovery failed: " + recovered.failure->error.message}}, at);
  }
  const std::uint64_t before = world.everything();
  if (!fixed_points_.insert(mix(world.situation(), booted.slot == SlotId::a ? 1 : 2)).second) {
    return check(check_log_of(world, expected), at);
  }
  const CommandResult again = world.recover(booted.slot);
  ++counts_.engine_runs;
  Violations violations = check_log_of(world, expected);
  if (again.failure && !is_sent_back(again))
    violations.push_back({9, "the second recovery failed: " + again.failure->error.message});
  if (world.everything() != before) violations.push_back({9, "the second recovery changed something"});
  return check(std::move(violations), at);
}

void Explorer::note_recorded_state(const VolatileTree& tree, std::optional<State>& before) {
  if (tree.pending().empty() || !tree.pending().back().data) return;
  const auto text = io::as_text(*tree.pending().back().data);
  constexpr std::string_view kMember = "\"state\":\"";
  const std::size_t found = text.find(kMember);
  if (found == std::string_view::npos) return;
  const std::size_t begin = found + kMember.size();
  const auto state = state_from_name(text.substr(begin, text.find('"', begin) - begin));
  if (!state) return;
  if (before && before != state) counts_.recorded.insert({*before, *state});
  before = state;
}

namespace {

/// Payload of a record; nothing where there is none or it cannot be read.
std::optional<std::string> stored_payload(World& world, RecordKind kind) {
  SimulatedStorage storage(world.machine());
  auto store = StateStore::open(storage, "/dev/store", StateStore::Access::read);
  if (!store.has_value()) return std::nullopt;
  const auto stored = store.assume_value()->read_record(kind);
  if (!stored.has_value() || !stored.assume_value()) return std::nullopt;
  return stored.assume_value()->payload;
}

}  // namespace

std::optional<TransactionRecord> recorded_transaction(World& world) {
  const auto payload = stored_payload(world, RecordKind::transaction);
  if (!payload) return std::nullopt;
  auto record = parse_record(*payload);
  if (!record.has_value()) return std::nullopt;
  return std::move(record).assume_value();
}

std::optional<DeviceFacts> recorded_facts(World& world) {
  const auto payload = stored_payload(world, RecordKind::facts);
  if (!payload) return std::nullopt;
  auto facts = parse_facts(*payload);
  if (!facts.has_value()) return std::nullopt;
  return std::move(facts).assume_value();
}

void Explorer::note_row(World& world, SlotId booted) {
  const auto record = recorded_transaction(world);
  if (!record || is_over(record->state)) return;
  SimulatedStorage storage(world.machine());
  const auto control = boot::make_uboot_control(storage, {.fw_env_config = "/etc/fw_env.config", .attempts = 2});
  if (!control.has_value()) return;
  const auto reading = control.assume_value()->read();
  if (!reading.has_value()) return;
  counts_.rows.insert({record->state, classify(*record, {.booted = booted,
                                                         .environment = reading.assume_value().state,
                                                         .keeps_mark = true,
                                                         .boot_id = "boot-" + std::to_string(world.host().boots)})});
}

bool Explorer::check(Violations violations, const Position& at) {
  if (violations.empty()) return story_.empty();
  ++counts_.violations;
  std::string path = at.path;
  if (const std::size_t end = path.rfind('>'); end != std::string::npos && path.find(':', end) == std::string::npos) {
    path.resize(end);
  }
  story_ = "scene " + scene_.name + ", at " + at.path + ":\n" + describe(violations) +
           "again: SLOTKEEPER_SEED=" + std::to_string(options_.seed) + " SLOTKEEPER_REPLAY='" + path +
           "' test_crash --gtest_filter='*Simulation*" + scene_.name + "'";
  return false;
}

}  // namespace slotkeeper::test

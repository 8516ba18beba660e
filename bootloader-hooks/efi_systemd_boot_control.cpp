// Boot control by systemd-boot: four entries on the EFI system partition, one sector each, and its boot counting.
//
// Atomic:    the switch is one overwrite of one sector in place, of the entry that comes to the front or leaves it
//            (efi_entry_layout.hpp has every whole state, every step and what a cut leaves). FAT's renames are not
//            atomic and are kept out of the switch: rest entries are never renamed, trial entries only while they are
//            hidden.
// Cut:       inside our rename of a hidden trial entry: either name, both or none. The order is not touched. `read`
// says
//              damaged or behind, `repair` and every store mend it: a lost entry is made anew from the slot's other
//              entry or from the integrator's lines in loader/slotkeeper, one too many gets a name that systemd-boot
//              does not read. It is not removed: after such a cut two names may share one sector, and removing one
//              would free it.
//            inside systemd-boot's own rename (+3 -> +2-1), by the firmware's FAT driver: none of the two names: the
//              trial is over, the original starts. Both: systemd-boot cannot rename any more and starts the trial entry
//              without counting; the firmware that comes up ends such a trial as one that has had a try, one that never
//              comes up is started again and again. EDK II's driver removes the old name before it makes the new one,
//              so both are not expected; `status` says so nevertheless.
// Read back: each entry after its flush, by direct I/O; names after a flush of their directory, from the cache (nothing
//            reads names past it).
// Damage:    a checksum in each entry. An entry that is lost or damaged does not start for us; the other three are not
//            affected. With all of them lost systemd-boot takes what else it finds: scripts/README.md has an entry
//            `slotkeeper-rescue.conf` for that, which starts the slot that was confirmed last.
// Others:    `default` in loader.conf and the variable LoaderEntryDefault go before any sorting and counting, so
// `default`
//            must be `slotkeeper-*` (of what matches systemd-boot takes the first in its order, and entries of others
//            cannot get in front) and LoaderEntryDefault must not exist: else nothing is armed.
// Sources:   systemd 252, src/boot/efi/boot.c (config_entry_compare, config_default_entry_select,
//            config_entry_bump_counters, config_entry_add_type1); Boot Loader Specification.
#include <algorithm>
#include <array>
#include <cerrno>

#include "bootloader-hooks/boot_control.hpp"
#include "bootloader-hooks/efi_entry_layout.hpp"
#include "bootloader-hooks/efi_variables.hpp"
#include "partitions/io/aligned_buffer.hpp"

namespace slotkeeper::boot {
namespace {

constexpr std::array kSlots{SlotId::a, SlotId::b};
constexpr std::uint32_t kEntryMode = 0644;
constexpr std::size_t kLoaderConfBytesMax = 64u << 10;
constexpr std::size_t kTemplateBytesMax = 4096;
constexpr int kAsideNamesMax = 9;
constexpr std::string_view kDefaultPattern = "slotkeeper-*";
constexpr std::string_view kRescueName = "slotkeeper-rescue.conf";

/// The value of the last line with this key in loader.conf, as systemd-boot reads it.
std::optional<std::string> value_in(std::string_view text, std::string_view key) {
  std::optional<std::string> value;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of("\r\n"), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    const std::size_t word = line.find_first_of(" \t");
    if (line.substr(0, word) != key || word == std::string_view::npos) continue;
    line.remove_prefix(word);
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    value = std::string(line.substr(0, line.find_last_not_of(" \t") + 1));
  }
  return value;
}

std::string bytes_text(const std::vector<std::byte>& bytes) { return std::string(io::as_text(bytes)); }

std::string describe(const EntryStep& step) {
  switch (step.kind) {
    case EntryStep::Kind::create:
      return "making the boot entry " + step.file_name;
    case EntryStep::Kind::write:
      return "writing the boot entry " + step.file_name;
    case EntryStep::Kind::rename:
    case EntryStep::Kind::set_aside:
      return "renaming the boot entry " + step.file_name + " to " + step.new_name;
  }
  return step.file_name;
}

class SystemdBootControl final : public BootControl {
 public:
  SystemdBootControl(io::Storage& storage, SystemdBootSettings settings)
      : storage_(storage),
        settings_(std::move(settings)),
        entries_path_(settings_.partition + "/loader/entries"),
        variables_(storage, settings_.variables) {
    traits_.backend = "efi";
    traits_.counts_tries = true;
    traits_.attempts = settings_.attempts;
    traits_.places = {entries_path_};
    traits_.weaknesses = {
        "the boot entries keep no mark of the transaction; the state record, which is written first, tells how far an "
        "update is",
        "systemd-boot counts a trial by renaming a file of the FAT filesystem at " + settings_.partition +
            ", which is not atomic: a power cut in that moment may end the trial, or, should it leave both names, keep "
            "it from being counted",
        "a directory of the FAT filesystem at " + settings_.partition +
            " can be read back no further than from the cache, and its damage is mended by fsck.fat only",
    };
  }

  [[nodiscard]] const BootTraits& traits() const override { return traits_; }

  /// What may be in the way is told by `status` before it is met. Reads only.
  void look_for_weaknesses() {
    auto checked = check_overrides();
    if (!checked.has_value()) traits_.weaknesses.push_back(checked.assume_error().message);
    if (!storage_.status_of(entries_path_ + "/" + std::string(kRescueName)).has_value()) {
      traits_.weaknesses.push_back("there is no boot entry " + std::string(kRescueName) + " in " + entries_path_ +
                                   ": should all entries of Slotkeeper's be lost, nothing starts");
    }
  }

  [[nodiscard]] Result<BootReading> read() override {
    SK_TRY_ASSIGN(const EntryLayout layout, load());
    return boot_reading_of(layout, settings_.attempts);
  }

  [[nodiscard]] Result<void> store(const BootState& wanted) override {
    if (wanted.mark && wanted.mark->stage == TransactionMark::Stage::trial) SK_TRY(check_overrides());
    SK_TRY_ASSIGN(const EntryLayout layout, load());
    SK_TRY_ASSIGN(const EntryBodies bodies, read_bodies());
    SK_TRY_ASSIGN(const EntryPlan plan, plan_store(layout, wanted, settings_.attempts, bodies));
    return carry_out(plan);
  }

  [[nodiscard]] Result<void> repair() override {
    SK_TRY_ASSIGN(const EntryLayout layout, load());
    SK_TRY_ASSIGN(const EntryBodies bodies, read_bodies());
    SK_TRY_ASSIGN(const EntryPlan plan, plan_repair(layout, settings_.attempts, bodies));
    return carry_out(plan);
  }

  [[nodiscard]] Result<void> initialise(const BootState& wanted) override {
    auto checked = check_overrides();
    if (!checked.has_value()) return std::move(checked).assume_error().with_code(Errc::config);
    EntryBodies bodies;
    SK_TRY_ASSIGN(bodies.a, read_body(SlotId::a));
    SK_TRY_ASSIGN(bodies.b, read_body(SlotId::b));
    SK_TRY_ASSIGN(const EntryLayout layout, load());
    SK_TRY_ASSIGN(const EntryPlan plan, plan_initialise(layout, wanted, settings_.attempts, bodies));
    return carry_out(plan);
  }

  /// By the entry that systemd-boot says it has started.
  [[nodiscard]] Result<std::optional<SlotId>> booted() override {
    auto selected = variables_.read(efi_loader_name("LoaderEntrySelected"));
    if (!selected.has_value() || !selected.assume_value()) return std::optional<SlotId>{};
    const auto name = parse_entry_name(text_of_utf16(selected.assume_value()->data));
    return name ? std::optional(name->slot) : std::nullopt;
  }

 private:
  // ---- reading -----------------------------------------------------------------------------------------------------

  [[nodiscard]] std::string template_path(SlotId slot) const {
    return settings_.partition + "/loader/slotkeeper/" + (slot == SlotId::a ? "a.conf" : "b.conf");
  }

  /// Errors: config (missing, or not fit to be an entry), io_error.
  [[nodiscard]] Result<std::string> read_body(SlotId slot) {
    const std::string path = template_path(slot);
    auto text = storage_.read_text(path, kTemplateBytesMax);
    if (!text.has_value()) {
      return std::move(text)
          .assume_error()
          .with_code(Errc::config)
          .with_context(
              "the integrator's lines for the boot "
              "entries of slot " +
              std::string(name_of(slot)));
    }
    return check_entry_body(text.assume_value(), slot, path);
  }

  /// They are needed only where an entry is lost, so that one that cannot be used is no error here.
  [[nodiscard]] Result<EntryBodies> read_bodies() {
    EntryBodies bodies;
    for (const SlotId slot : kSlots) {
      auto body = read_body(slot);
      if (body.has_value()) (slot == SlotId::a ? bodies.a : bodies.b) = std::move(body).assume_value();
    }
    return bodies;
  }

  [[nodiscard]] Result<EntryLayout> load() {
    SK_TRY_ASSIGN(const auto directory, storage_.open_directory(entries_path_));
    std::vector<std::string> names;
    SK_TRY(directory->visit_entries([&](const io::DirectoryEntry& entry) -> Result<void> {
      if (parse_entry_name(entry.name) && entry.type == io::EntryType::regular) names.push_back(entry.name);
      return success();
    }));
    std::ranges::sort(names);
    EntryLayout layout;
    for (const std::string& name : names) {
      SK_TRY_ASSIGN(const auto content, read_entry(*directory, name));
      layout.add(*parse_entry_name(name), name, parse_entry(bytes_text(content)));
    }
    SK_TRY(directory->close());
    return layout;
  }

  /// Past the cache. One byte more than an entry has, so that one that is too long is seen.
  [[nodiscard]] static Result<std::vector<std::byte>> read_entry(io::Directory& directory, const std::string& name) {
    io::OpenMode mode = io::OpenMode::read_only();
    mode.direct = true;
    SK_TRY_ASSIGN(const auto file, directory.open_file(name, mode));
    SK_TRY(file->drop_cache());
    io::AlignedBuffer buffer(io::kDirectAlignment);
    SK_TRY_ASSIGN(const std::size_t count, file->read_at(0, buffer.bytes()));
    SK_TRY(file->close());
    const io::Bytes bytes = buffer.bytes().first(std::min(count, kEntryBytes + 1));
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  }

  // ---- what goes before our order ----------------------------------------------------------------------------------

  /// Errors: boot_environment (something else decides what is started), io_error.
  [[nodiscard]] Result<void> check_overrides() {
    const std::string path = settings_.partition + "/loader/loader.conf";
    auto text = storage_.read_text(path, kLoaderConfBytesMax);
    if (!text.has_value() && text.assume_error().os_errno != ENOENT) return std::move(text).as_failure();
    const std::string lines = text.has_value() ? text.assume_value() : "";
    const auto pattern = value_in(lines, "default");
    if (pattern != kDefaultPattern) {
      return make_error(Errc::boot_environment,
                        path + (pattern ? " has 'default " + *pattern + "'" : std::string(" has no line 'default'")) +
                            ", so systemd-boot does not go by Slotkeeper's entries; it must be 'default " +
                            std::string(kDefaultPattern) + "'");
    }
    if (const auto preferred = value_in(lines, "preferred")) {
      return make_error(Errc::boot_environment, path + " has 'preferred " + *preferred +
                                                    "', which systemd-boot from 260 on puts before 'default'; take the "
                                                    "line out");
    }
    SK_TRY(check_not_chosen("LoaderEntryPreferred"));
    return check_not_chosen("LoaderEntryDefault");
  }

  [[nodiscard]] Result<void> check_not_chosen(const std::string& variable) {
    auto chosen = variables_.read(efi_loader_name(variable));
    if (!chosen.has_value()) {
      // Without efivarfs nobody could have set it from here; somebody at the console still could.
      if (chosen.assume_error().os_errno == ENOENT) return success();
      return std::move(chosen).as_failure();
    }
    if (!chosen.assume_value()) return success();
    return make_error(Errc::boot_environment,
                      "the EFI variable " + variable + " names '" + text_of_utf16(chosen.assume_value()->data) +
                          "', which systemd-boot starts before it looks at the order of Slotkeeper's entries; take it "
                          "away with bootctl set-default \"\" (or set-preferred \"\")");
  }

  // ---- writing -----------------------------------------------------------------------------------------------------

  [[nodiscard]] Result<void> carry_out(const EntryPlan& plan) {
    if (plan.steps.empty()) return success();
    SK_TRY_ASSIGN(const auto directory, storage_.open_directory(entries_path_));
    for (const EntryStep& step : plan.steps) {
      auto done = take(*directory, step);
      if (!done.has_value()) return std::move(done).assume_error().with_context(describe(step) + where_it_stands());
    }
    SK_TRY(directory->close());
    SK_TRY_ASSIGN(const EntryLayout after, load());
    if (after == plan.after) return success();
    return make_error(Errc::readback_mismatch, "the boot entries in " + entries_path_ +
                                                   " do not read back as they were written" + where_it_stands());
  }

  /// For a message: what the next start takes as far as can be told after an error.
  [[nodiscard]] std::string where_it_stands() {
    const auto layout = load();
    if (!layout.has_value()) return "; what is started next cannot be read";
    const auto listed = listed_entries(layout.assume_value());
    if (listed.empty()) return "; no entry of Slotkeeper's can be started as it stands";
    return "; as it stands " + listed.front().file_name + " is started next";
  }

  [[nodiscard]] Result<void> take(io::Directory& directory, const EntryStep& step) {
    switch (step.kind) {
      case EntryStep::Kind::create:
        return create(directory, step);
      case EntryStep::Kind::write:
        return write(directory, step);
      case EntryStep::Kind::rename:
        SK_TRY(directory.rename(step.file_name, step.new_name, io::RenameKind::no_replace));
        return directory.sync();
      case EntryStep::Kind::set_aside:
        return set_aside(directory, step);
    }
    return make_error(Errc::internal, "unknown step");
  }

  [[nodiscard]] static Result<void> check_content(io::Directory& directory, const EntryStep& step) {
    SK_TRY_ASSIGN(const auto content, read_entry(directory, step.file_name));
    if (bytes_text(content) == print_entry(step.text)) return success();
    return make_error(Errc::readback_mismatch, "it does not read back as it was written");
  }

  [[nodiscard]] static Result<void> create(io::Directory& directory, const EntryStep& step) {
    SK_TRY_ASSIGN(const auto file, directory.open_file(step.file_name, io::OpenMode::create_new(kEntryMode)));
    SK_TRY(file->write_at(0, io::as_bytes(print_entry(step.text))));
    SK_TRY(file->sync());
    SK_TRY(file->close());
    SK_TRY(directory.sync());
    return check_content(directory, step);
  }

  [[nodiscard]] static Result<void> write(io::Directory& directory, const EntryStep& step) {
    SK_TRY_ASSIGN(const auto file, directory.open_file(step.file_name, io::OpenMode::read_write()));
    SK_TRY_ASSIGN(const std::uint64_t size, file->size());
    SK_TRY(file->write_at(0, io::as_bytes(print_entry(step.text))));
    if (size > kEntryBytes) SK_TRY(file->resize(kEntryBytes));
    SK_TRY(file->sync());
    SK_TRY(file->close());
    return check_content(directory, step);
  }

  [[nodiscard]] static Result<void> set_aside(io::Directory& directory, const EntryStep& step) {
    for (int number = 1; number <= kAsideNamesMax; ++number) {
      auto renamed =
          directory.rename(step.file_name, step.new_name + std::to_string(number), io::RenameKind::no_replace);
      if (renamed.has_value()) return directory.sync();
      if (renamed.assume_error().os_errno != EEXIST) return renamed;
    }
    return make_error(Errc::boot_environment,
                      "there are " + std::to_string(kAsideNamesMax) +
                          " entries set aside already; check the partition with fsck.fat and remove *.spare*");
  }

  io::Storage& storage_;
  SystemdBootSettings settings_;
  std::string entries_path_;
  EfiVariables variables_;
  BootTraits traits_;
};

}  // namespace

Result<std::unique_ptr<BootControl>> make_systemd_boot_control(io::Storage& storage, SystemdBootSettings settings) {
  const std::string path = settings.partition + "/loader/entries";
  auto status = storage.status_of(path);
  if (!status.has_value()) {
    return std::move(status)
        .assume_error()
        .with_code(Errc::config)
        .with_context("the boot entries of systemd-boot (is the EFI system partition mounted at " + settings.partition +
                      "?)");
  }
  if (status.assume_value().type != io::EntryType::directory) {
    return make_error(Errc::config, path + " is not a directory");
  }
  auto control = std::make_unique<SystemdBootControl>(storage, std::move(settings));
  control->look_for_weaknesses();
  return std::unique_ptr<BootControl>(std::move(control));
}

}  // namespace slotkeeper::boot

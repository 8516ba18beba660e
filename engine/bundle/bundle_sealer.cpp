#include "engine/bundle/bundle_sealer.hpp"

#include <algorithm>

#include "engine/bundle/container.hpp"
#include "engine/bundle/temporary_file.hpp"

namespace slotkeeper::bundle {
namespace {

constexpr std::size_t kCopyBytes = 1 << 20;
constexpr std::size_t kSignatureMember = 1;  ///< behind manifest.json

Result<void> append_member(TemporaryFile& output, const std::string& name, const std::string& data) {
  SK_TRY(output.append(io::as_bytes(member_header(name, data.size()))));
  SK_TRY(output.append(io::as_bytes(data)));
  const std::string padding(
      output.size() % kContainerBlockBytes == 0 ? 0 : kContainerBlockBytes - output.size() % kContainerBlockBytes,
      '\0');
  return output.append(io::as_bytes(padding));
}

/// A header says nothing of where it stands, so what follows the signature can stand anywhere.
Result<void> append_rest(TemporaryFile& output, Source& source, std::uint64_t offset, std::uint64_t end,
                         ProgressSink& progress) {
  std::vector<std::byte> buffer(kCopyBytes);
  while (offset < end) {
    SK_TRY(progress.check_cancelled());
    const auto part = io::Bytes(buffer).first(std::min<std::uint64_t>(buffer.size(), end - offset));
    SK_TRY(read_exactly(source, offset, part));
    SK_TRY(output.append(part));
    offset += part.size();
    progress.progress(Phase::stage, offset, end);
  }
  return success();
}

/// Opens what was written as a device will.
Result<Inspection> check_written(io::Storage& storage, const std::string& path, const Inspection& before,
                                 const std::string& signature) {
  SK_TRY_ASSIGN(auto source, open_file_source(storage, path));
  SK_TRY_ASSIGN(auto written, open_bundle(std::move(source)));
  SK_TRY_ASSIGN(auto contents, inspect_bundle_contents(written));
  if (contents.digest == before.digest && written.signature() == signature) return contents;
  return make_error(Errc::readback_mismatch, path + " does not hold what was written");
}

}  // namespace

Result<SealedBundle> seal_bundle(io::Storage& storage, const SealRequest& request, const Seal& seal,
                                 ProgressSink& progress) {
  const FilePlace place = place_of(request.output_path);
  const bool replaces = request.output_path == request.bundle_path;
  SK_TRY_ASSIGN(auto source, open_file_source(storage, request.bundle_path));
  SK_TRY_ASSIGN(auto bundle, open_bundle(std::move(source)));
  SK_TRY_ASSIGN(const auto before, inspect_bundle_contents(bundle));
  auto opened = storage.open_directory(place.folder);
  if (!opened.has_value()) return std::move(opened).assume_error().with_code(Errc::config);
  const auto folder = std::move(opened).assume_value();
  if (place.name.empty() || (!replaces && folder->status_of(place.name).has_value())) {
    return make_error(Errc::config, request.output_path + " exists already; it is not overwritten");
  }
  SealedBundle sealed;
  SK_TRY_ASSIGN(sealed.signature, seal(bundle.manifest_text(), bundle.signature()));

  TemporaryFile output(*folder, "." + place.name + ".tmp");
  SK_TRY(output.create());
  SK_TRY(append_member(output, before.members[0].name, bundle.manifest_text()));
  SK_TRY(append_member(output, before.members[kSignatureMember].name, sealed.signature));
  SK_TRY(
      append_rest(output, bundle.source(), before.members[kSignatureMember].padded_end(), before.size_bytes, progress));
  SK_TRY_ASSIGN(sealed.contents, check_written(storage, place.folder + "/" + output.name(), before, sealed.signature));
  SK_TRY(output.keep_as(place.name, replaces ? io::RenameKind::replace : io::RenameKind::no_replace));
  return sealed;
}

}  // namespace slotkeeper::bundle

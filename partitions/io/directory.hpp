// A directory held by descriptor. Every name below it is resolved beneath it: no symbolic links, no "..", no crossing
// of mounts (openat2 on Linux), so that nothing swapped in meanwhile leads elsewhere.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "partitions/io/file.hpp"
#include "partitions/io/result.hpp"
#include "partitions/io/types.hpp"

namespace slotkeeper::io {

enum class RenameKind : std::uint8_t { replace, no_replace, exchange };

/// Paths are relative, raw bytes, with '/' between components; "." is the directory itself.
/// Errors of every call: as File, plus io_error with ENOENT, EEXIST, ENOTEMPTY, EXDEV, ELOOP in `os_errno`.
///
/// On crash: creations, renames and removals are durable only after `sync` of the directory that holds the name (after
/// a rename across directories: of both). Before that each of them may have happened or not, in any order.
class Directory {
 public:
  Directory() = default;
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  virtual ~Directory() = default;

  [[nodiscard]] Result<std::unique_ptr<File>> open_file(const std::string& path, OpenMode mode,
                                                        Caller caller = Caller::current()) {
    return do_open_file(path, mode, caller);
  }
  [[nodiscard]] Result<std::unique_ptr<Directory>> open_directory(const std::string& path,
                                                                  Caller caller = Caller::current()) {
    return do_open_directory(path, caller);
  }
  /// Calls `visit` for every entry of this directory but "." and "..", in no order; an error of `visit` ends the walk.
  [[nodiscard]] Result<void> visit_entries(const std::function<Result<void>(const DirectoryEntry&)>& visit,
                                           Caller caller = Caller::current()) {
    return do_visit_entries(visit, caller);
  }
  /// Never follows a symbolic link.
  [[nodiscard]] Result<EntryStatus> status_of(const std::string& path, Caller caller = Caller::current()) {
    return do_status_of(path, caller);
  }
  [[nodiscard]] Result<std::string> read_symlink(const std::string& path, Caller caller = Caller::current()) {
    return do_read_symlink(path, caller);
  }
  [[nodiscard]] Result<void> create_directory(const std::string& path, std::uint32_t mode,
                                              Caller caller = Caller::current()) {
    return do_create_directory(path, mode, caller);
  }
  [[nodiscard]] Result<void> create_symlink(const std::string& target, const std::string& path,
                                            Caller caller = Caller::current()) {
    return do_create_symlink(target, path, caller);
  }
  [[nodiscard]] Result<void> create_hard_link(const std::string& existing, const std::string& path,
                                              Caller caller = Caller::current()) {
    return do_create_hard_link(existing, path, caller);
  }
  /// Fifos, sockets and device nodes, for a restore that brings them back.
  [[nodiscard]] Result<void> create_node(const std::string& path, EntryType type, std::uint32_t mode,
                                         std::uint64_t node_device, Caller caller = Caller::current()) {
    return do_create_node(path, type, mode, node_device, caller);
  }
  [[nodiscard]] Result<void> rename(const std::string& from, const std::string& to, RenameKind kind,
                                    Caller caller = Caller::current()) {
    return do_rename(from, to, kind, caller);
  }
  [[nodiscard]] Result<void> remove_file(const std::string& path, Caller caller = Caller::current()) {
    return do_remove_file(path, caller);
  }
  [[nodiscard]] Result<void> remove_directory(const std::string& path, Caller caller = Caller::current()) {
    return do_remove_directory(path, caller);
  }
  /// Of any entry, a symbolic link itself included (whose mode is left alone).
  [[nodiscard]] Result<void> set_attributes_of(const std::string& path, const Attributes& attributes,
                                               Caller caller = Caller::current()) {
    return do_set_attributes_of(path, attributes, caller);
  }
  [[nodiscard]] Result<std::vector<ExtendedAttribute>> extended_attributes_of(const std::string& path,
                                                                              Caller caller = Caller::current()) {
    return do_extended_attributes_of(path, caller);
  }
  [[nodiscard]] Result<void> set_extended_attribute_of(const std::string& path, const ExtendedAttribute& attribute,
                                                       Caller caller = Caller::current()) {
    return do_set_extended_attribute_of(path, attribute, caller);
  }
  [[nodiscard]] Result<void> remove_extended_attribute_of(const std::string& path, const std::string& name,
                                                          Caller caller = Caller::current()) {
    return do_remove_extended_attribute_of(path, name, caller);
  }
  /// Takes the flags `immutable` and `append only` (chattr +i, +a) off a regular file or a directory, which keep root,
  /// too, from changing, renaming and removing it. False when it had neither, is of another type, or the filesystem
  /// knows no such flags. Durable: after the next sync of the entry or the filesystem.
  [[nodiscard]] Result<bool> clear_write_protection_of(const std::string& path, Caller caller = Caller::current()) {
    return do_clear_write_protection_of(path, caller);
  }
  /// Durable: the names in this directory. Not those below its subdirectories.
  [[nodiscard]] Result<void> sync(Caller caller = Caller::current()) { return do_sync(caller); }
  /// Durable: everything on the filesystem of this directory (syncfs). `sync_failed` also where a commit of anybody's
  /// failed before, which a syncfs alone may not tell.
  [[nodiscard]] Result<void> sync_filesystem(Caller caller = Caller::current()) { return do_sync_filesystem(caller); }
  [[nodiscard]] Result<SpaceFacts> space(Caller caller = Caller::current()) { return do_space(caller); }
  [[nodiscard]] Result<void> close(Caller caller = Caller::current()) { return do_close(caller); }

  [[nodiscard]] virtual const std::string& name() const = 0;
  /// Whether several threads may call this object, and use what they opened through it, at the same time. A simulation
  /// says no, so that its calls have one order.
  [[nodiscard]] virtual bool is_concurrent() const { return false; }

 protected:
  virtual Result<std::unique_ptr<File>> do_open_file(const std::string& path, OpenMode mode, Caller caller) = 0;
  virtual Result<std::unique_ptr<Directory>> do_open_directory(const std::string& path, Caller caller) = 0;
  virtual Result<void> do_visit_entries(const std::function<Result<void>(const DirectoryEntry&)>& visit,
                                        Caller caller) = 0;
  virtual Result<EntryStatus> do_status_of(const std::string& path, Caller caller) = 0;
  virtual Result<std::string> do_read_symlink(const std::string& path, Caller caller) = 0;
  virtual Result<void> do_create_directory(const std::string& path, std::uint32_t mode, Caller caller) = 0;
  virtual Result<void> do_create_symlink(const std::string& target, const std::string& path, Caller caller) = 0;
  virtual Result<void> do_create_hard_link(const std::string& existing, const std::string& path, Caller caller) = 0;
  virtual Result<void> do_create_node(const std::string& path, EntryType type, std::uint32_t mode,
                                      std::uint64_t node_device, Caller caller) = 0;
  virtual Result<void> do_rename(const std::string& from, const std::string& to, RenameKind kind, Caller caller) = 0;
  virtual Result<void> do_remove_file(const std::string& path, Caller caller) = 0;
  virtual Result<void> do_remove_directory(const std::string& path, Caller caller) = 0;
  virtual Result<void> do_set_attributes_of(const std::string& path, const Attributes& attributes, Caller caller) = 0;
  virtual Result<std::vector<ExtendedAttribute>> do_extended_attributes_of(const std::string& path, Caller caller) = 0;
  virtual Result<void> do_set_extended_attribute_of(const std::string& path, const ExtendedAttribute& attribute,
                                                    Caller caller) = 0;
  virtual Result<void> do_remove_extended_attribute_of(const std::string& path, const std::string& name,
                                                       Caller caller) = 0;
  virtual Result<bool> do_clear_write_protection_of(const std::string& path, Caller caller) = 0;
  virtual Result<void> do_sync(Caller caller) = 0;
  virtual Result<void> do_sync_filesystem(Caller caller) = 0;
  virtual Result<SpaceFacts> do_space(Caller caller) = 0;
  virtual Result<void> do_close(Caller caller) = 0;
};

}  // namespace slotkeeper::io

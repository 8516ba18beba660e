#include "tests/support/fault_disk/log.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <stdexcept>
#include <sys/uio.h>
#include <unistd.h>

namespace slotkeeper::test {
namespace {

constexpr char kMagic[4] = {'S', 'K', 'F', 'L'};

struct Header {
  char magic[4];
  std::uint8_t kind;
  std::uint8_t disk;
  std::uint16_t zero;
  std::uint64_t sequence;
  std::uint64_t offset;
  std::uint64_t length;
};
static_assert(sizeof(Header) == 32);

bool has_data(LogKind kind) { return kind == LogKind::write || kind == LogKind::lost_write || kind == LogKind::mark; }

}  // namespace

DiskLogWriter::DiskLogWriter(const std::string& path)
    : file_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644)) {
  if (file_ < 0) throw std::runtime_error("cannot make the log " + path + ": " + std::strerror(errno));
}

DiskLogWriter::~DiskLogWriter() { ::close(file_); }

void DiskLogWriter::append(LogKind kind, std::uint8_t disk, std::uint64_t offset, std::uint64_t length,
                           std::string_view data) {
  Header header{{}, static_cast<std::uint8_t>(kind), disk, 0, next_, offset, length};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  const std::size_t size = has_data(kind) ? data.size() : 0;
  struct iovec parts[2] = {{&header, sizeof header}, {const_cast<char*>(data.data()), size}};
  if (::writev(file_, parts, 2) != static_cast<ssize_t>(sizeof header + size)) {
    throw std::runtime_error(std::string("cannot write the log: ") + std::strerror(errno));
  }
  ++next_;
}

std::vector<LogRecord> read_disk_log(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read the log " + path);
  std::vector<LogRecord> records;
  Header header{};
  while (in.read(reinterpret_cast<char*>(&header), sizeof header)) {
    if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0 || header.sequence != records.size()) {
      throw std::runtime_error(path + " is no log, or has a gap at record " + std::to_string(records.size()));
    }
    LogRecord record{static_cast<LogKind>(header.kind), header.disk, header.sequence, header.offset, header.length, {}};
    if (has_data(record.kind)) {
      record.data.resize(static_cast<std::size_t>(record.length));
      in.read(record.data.data(), static_cast<std::streamsize>(record.length));
      if (!in) throw std::runtime_error(path + " ends within record " + std::to_string(records.size()));
    }
    records.push_back(std::move(record));
  }
  if (in.gcount() != 0) throw std::runtime_error(path + " ends within a record's head");
  return records;
}

}  // namespace slotkeeper::test

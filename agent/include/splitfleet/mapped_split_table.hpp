// A split table in a file, mapped into memory. POSIX.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>

#include "split_table.hpp"

namespace splitfleet::runtime {

// The file stays mapped for as long as this lives. It must not be changed in place meanwhile: a table is
// replaced by renaming another file over it.
class MappedSplitTable {
 public:
  MappedSplitTable() = default;
  ~MappedSplitTable() { close(); }
  MappedSplitTable(const MappedSplitTable&) = delete;
  MappedSplitTable& operator=(const MappedSplitTable&) = delete;

  TableError open(const char* path) noexcept {
    close();
    const int file = ::open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return TableError::cannot_read;
    struct stat status{};
    if (fstat(file, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
      bytes_ = static_cast<std::size_t>(status.st_size);
      data_ = mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, file, 0);
      if (data_ == MAP_FAILED) data_ = nullptr;
    }
    ::close(file);
    if (data_ == nullptr) return TableError::cannot_read;
    const TableError error = SplitTable::open(data_, bytes_, table_);
    if (error != TableError::none) close();
    return error;
  }

  // Empty until a file has been opened.
  const SplitTable& table() const noexcept { return table_; }

 private:
  void close() noexcept {
    table_ = SplitTable();
    if (data_ != nullptr) munmap(data_, bytes_);
    data_ = nullptr;
  }

  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  SplitTable table_;
};

}  // namespace splitfleet::runtime

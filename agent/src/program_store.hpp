// Built programs, kept in a folder from one run to the next.
#pragma once

#include <optional>
#include <string>

namespace splitfleet {

// One file for each program. A file's first line is its key, word for word: all that decides what the driver
// makes of the source. Any trouble with the folder means that nothing is kept.
class ProgramStore {
 public:
  // No folder: keeps nothing.
  explicit ProgramStore(std::string folder);

  // False where nothing is to be kept.
  bool is_open() const { return !folder_.empty(); }
  // The binary that was saved under `key` (one line of text), unless there is none, or it is damaged.
  std::optional<std::string> load(const std::string& key) const;
  // Replaces what was saved under `key`; a reader sees the old file or the new one.
  void save(const std::string& key, const std::string& binary) const;

 private:
  std::string path_of(const std::string& key) const;

  std::string folder_;
};

// SPLITFLEET_CACHE_DIR (empty: nowhere), else `cache` beside this program.
std::string default_store_folder();

}  // namespace splitfleet

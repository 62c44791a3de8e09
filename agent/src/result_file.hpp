// The result file of a batch: appended line by line, readable after a kill at any time, and picked up again
// afterwards.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>

#include "json.hpp"

namespace splitfleet {

constexpr int kResultSchema = 2;  // of every line that this agent writes

class ResultFile {
 public:
  // Locks PATH.lock, cuts a torn last line off PATH and PATH.attempts and reads what is done. Throws
  // AgentError when another agent holds the lock, or the file cannot be used or is no result file.
  explicit ResultFile(const std::string& path);
  ~ResultFile();
  ResultFile(const ResultFile&) = delete;
  ResultFile& operator=(const ResultFile&) = delete;

  const std::unordered_set<std::string>& finished() const { return finished_; }
  bool has_end() const { return has_end_; }
  // How often the job was begun, by agents that are gone and by this one.
  int attempts(const std::string& id) const;

  // Appends one line and waits until it is on the disk. Throws AgentError, leaving the file without a torn
  // line where it can.
  void append(const Json& line);
  // Records that the job begins now; survives the death of this process.
  void begin(const std::string& id);
  // In a forked child: leaves the files, and the lock on them, to the parent.
  void close_files();

 private:
  void read_results();
  std::string read_result(const std::string& line);

  std::string path_;
  int lock_ = -1;
  int results_ = -1;
  int attempts_file_ = -1;
  std::unordered_set<std::string> finished_;
  std::unordered_map<std::string, int> attempts_;
  bool has_end_ = false;
};

}  // namespace splitfleet

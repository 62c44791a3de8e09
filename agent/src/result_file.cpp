#include "result_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "fields.hpp"
#include "status.hpp"

namespace splitfleet {
namespace {

constexpr int kNoFile = -1;
constexpr std::size_t kMaxType = 20;

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw AgentError(kExitFailure, path + ": " + what + ": " + std::strerror(errno));
}

int open_file(const std::string& path, int flags) {
  const int file = ::open(path.c_str(), flags | O_CREAT | O_CLOEXEC, 0644);
  if (file == kNoFile) fail(path, "cannot be opened");
  return file;
}

// The lines that end in a line feed; what follows the last one is cut off the file.
std::vector<std::string> complete_lines(const std::string& path, int file) {
  std::ifstream stream(path, std::ios::binary);
  std::vector<std::string> lines;
  off_t complete_bytes = 0;
  for (std::string line; std::getline(stream, line) && !stream.eof();) {
    complete_bytes += static_cast<off_t>(line.size()) + 1;
    lines.push_back(std::move(line));
  }
  if (ftruncate(file, complete_bytes) != 0) fail(path, "a torn last line cannot be cut off");
  return lines;
}

void append_line(const std::string& path, int file, const std::string& text) {
  struct stat before{};
  if (fstat(file, &before) != 0) fail(path, "cannot be read");
  const std::string line = text + "\n";
  std::size_t done = 0;
  while (done < line.size()) {
    const ssize_t written = ::write(file, line.data() + done, line.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const int reason = errno;
      if (ftruncate(file, before.st_size) != 0) errno = reason;  // then the next start cuts the torn line off
      errno = reason;
      fail(path, "cannot be written");
    }
    done += static_cast<std::size_t>(written);
  }
}

}  // namespace

ResultFile::ResultFile(const std::string& path) : path_(path) {
  lock_ = open_file(path + ".lock", O_RDWR);
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    close(lock_);
    throw AgentError(kExitLocked, path + ": another agent works on this file (it holds " + path + ".lock)");
  }
  results_ = open_file(path, O_RDWR | O_APPEND);
  attempts_file_ = open_file(path + ".attempts", O_RDWR | O_APPEND);
  read_results();
}

void ResultFile::read_results() {
  std::size_t number = 0;
  for (const std::string& line : complete_lines(path_, results_)) {
    ++number;
    const std::string type = read_result(line);
    if (type.empty() || (number == 1 && type != "agent")) {
      throw AgentError(kExitUsage, path_ + ": line " + std::to_string(number) +
                                       " belongs to no result file; name a new file or remove this one");
    }
  }
  const std::vector<std::string> begun = complete_lines(path_ + ".attempts", attempts_file_);
  if (number == 0) {
    // The attempts of a result file that was removed say nothing about a new one.
    if (ftruncate(attempts_file_, 0) != 0) fail(path_ + ".attempts", "cannot be written");
    return;
  }
  for (const std::string& id : begun) ++attempts_[id];
}

// Takes a line of an earlier run in; its type, or nothing when it is no line of a result file.
std::string ResultFile::read_result(const std::string& line) {
  try {
    const Json entry = parse_json(line);
    const Fields fields(entry, "");
    std::string type = fields.text("type", kMaxType);
    if (type == "result") finished_.insert(fields.text("id", line.size()));
    if (type == "end") has_end_ = true;
    return type;
  } catch (const std::exception&) {
    return "";
  }
}

ResultFile::~ResultFile() {
  close_files();
}

void ResultFile::close_files() {
  for (int* file : {&attempts_file_, &results_, &lock_}) {
    if (*file != kNoFile) close(*file);
    *file = kNoFile;
  }
}

int ResultFile::attempts(const std::string& id) const {
  const auto found = attempts_.find(id);
  return found == attempts_.end() ? 0 : found->second;
}

void ResultFile::append(const Json& line) {
  append_line(path_, results_, to_line(line));
  if (fsync(results_) != 0 && errno != EINVAL) fail(path_, "cannot be flushed");
}

void ResultFile::begin(const std::string& id) {
  append_line(path_ + ".attempts", attempts_file_, id);
  ++attempts_[id];
}

}  // namespace splitfleet

#include "job_file.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "fields.hpp"
#include "status.hpp"

namespace splitfleet {
namespace {

constexpr std::size_t kMaxId = 200;
constexpr std::size_t kMaxLine = 32 * 1024 * 1024;
constexpr std::size_t kMaxSource = 4 * 1024 * 1024;

// Ids become lines of the attempts file and parts of messages.
bool is_plain(const std::string& id) {
  const auto is_plain_character = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || std::strchr("-_.:", c) != nullptr;
  };
  return !id.empty() && id.size() <= kMaxId && id.find('\0') == std::string::npos &&
         std::all_of(id.begin(), id.end(), is_plain_character);
}

void read_line(const std::string& line, const std::string& fallback_id, JobFile& file) {
  JobLine job;
  job.id = fallback_id;
  try {
    job.body = parse_json(line);
    const Fields fields(job.body, "");
    const std::string type = fields.text("type", 40);
    if (type == "program") {
      file.programs[fields.text("id", kMaxId)] = {fields.text("source", kMaxSource),
                                                  fields.text("options", kMaxSource)};
      return;
    }
    if (type != "job") throw JobError(Status::invalid_job, "type: program or job is expected, not " + type);
    const std::string id = fields.text("id", kMaxId);
    if (!is_plain(id)) throw JobError(Status::invalid_job, "id: letters, digits and -_.: are expected");
    job.id = id;
  } catch (const std::exception& error) {
    job.error = one_line(error.what(), 300);
  }
  file.jobs.push_back(std::move(job));
}

// The next line, of which no more than `kMaxLine` bytes and one are kept. False at the end.
bool next_line(std::istream& stream, std::string& line) {
  line.clear();
  std::streambuf& bytes = *stream.rdbuf();
  constexpr int kEnd = std::istream::traits_type::eof();
  int byte = bytes.sbumpc();
  if (byte == kEnd) return false;
  for (; byte != kEnd && byte != '\n'; byte = bytes.sbumpc()) {
    if (line.size() <= kMaxLine) line += static_cast<char>(byte);
  }
  return true;
}

}  // namespace

JobFile read_jobs(std::istream& stream) {
  JobFile file;
  std::size_t number = 0;
  for (std::string line; next_line(stream, line);) {
    const std::string fallback_id = "line-" + std::to_string(++number);
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (line.size() > kMaxLine) {
      file.jobs.push_back(
          {fallback_id, "the line is longer than " + std::to_string(kMaxLine) + " bytes", {}});
    } else {
      read_line(line, fallback_id, file);
    }
  }
  return file;
}

JobFile read_job_file(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw AgentError(kExitFailure, path + ": cannot be opened: " + std::strerror(errno));
  try {
    return read_jobs(stream);
  } catch (const std::ios::failure&) {
    throw AgentError(kExitFailure, path + ": cannot be read");
  }
}

}  // namespace splitfleet

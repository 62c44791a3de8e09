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

}  // namespace

JobFile read_job_file(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw AgentError(kExitFailure, path + ": cannot be opened: " + std::strerror(errno));
  JobFile file;
  std::size_t number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    read_line(line, "line-" + std::to_string(number), file);
  }
  if (stream.bad()) throw AgentError(kExitFailure, path + ": cannot be read");
  return file;
}

}  // namespace splitfleet

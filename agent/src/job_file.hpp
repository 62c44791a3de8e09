// The job file: programs and jobs, one JSON object a line.
#pragma once

#include <istream>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "json.hpp"
#include "program_cache.hpp"

namespace splitfleet {

// A line that asks for a result: a job, or a line that cannot be understood.
struct JobLine {
  std::string id;     // the job's own, or "line-N" where it has none that can be used
  std::string error;  // why the line is no job; empty for a job
  Json body;
};

struct JobFile {
  Programs programs;
  std::vector<JobLine> jobs;
};

// Never fails because of what a line holds. A line of more than 32 MiB is answered, but not kept.
JobFile read_jobs(std::istream& stream);

// Throws AgentError when the file cannot be read.
JobFile read_job_file(const std::string& path);

}  // namespace splitfleet

// Reads arbitrary bytes as a job file, as the supervisor and the worker do.
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>

#include "job.hpp"
#include "job_file.hpp"
#include "status.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::istringstream stream(std::string(reinterpret_cast<const char*>(data), size));
  const splitfleet::JobFile file = splitfleet::read_jobs(stream);
  for (const splitfleet::JobLine& line : file.jobs) {
    if (!line.error.empty()) continue;
    try {
      splitfleet::parse_job(line.body);
    } catch (const splitfleet::JobError&) {
      continue;  // an answer like any other
    }
  }
  return 0;
}

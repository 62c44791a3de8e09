// Runs a job file.
#pragma once

#include <string>

namespace splitfleet {

// Executes the jobs that `results_path` does not hold yet and appends their results; docs/formats.md has both
// formats. Throws AgentError when the batch cannot go on; a job that fails is a result.
void run_batch(const std::string& jobs_path, const std::string& results_path);

}  // namespace splitfleet

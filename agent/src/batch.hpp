// Runs a job file.
#pragma once

#include <string>

namespace splitfleet {

// Executes the jobs that `results_path` does not hold yet and appends their results; docs/agent.md has both
// formats. The calling process supervises and never touches OpenCL: jobs run in a worker that it forks, so
// the caller must have no other thread. Throws AgentError when the batch cannot go on; a job that fails is a
// result.
//
// Without `use_cache` every program is compiled from its source, by PoCL too, which keeps a cache of its own.
void run_batch(const std::string& jobs_path, const std::string& results_path, bool use_cache);

}  // namespace splitfleet

// The worker's side: opens OpenCL and executes the jobs that the supervisor names.
#pragma once

#include "channel.hpp"
#include "job_file.hpp"

namespace splitfleet {

// Sends the `agent` line once the device is open. Then, for each index into `jobs.jobs` that comes, sends a
// line {"bound_us": N}, the time after which the job shall be taken for hung, and the job's result line.
// `settings` say where program binaries are kept. Returns when the channel closes; ends the process behind a
// result `timeout`, since the device may be at work still.
void serve_jobs(Channel& channel, const JobFile& jobs, const StoreSettings& settings);

}  // namespace splitfleet

// The worker's side: opens OpenCL and executes the jobs that the supervisor names.
#pragma once

#include "channel.hpp"
#include "job_file.hpp"

namespace splitfleet {

// Sends the `agent` line once the device is open. Then, for each index into `jobs.jobs` that comes, sends a
// line
// {"bound_us": N}, the time after which the job shall be taken for hung, and the job's result line. Ends the
// process when the channel closes, and behind a result `timeout`, since the device may be at work still.
[[noreturn]] void serve_jobs(Channel& channel, const JobFile& jobs);

}  // namespace splitfleet

// Executes one job.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "job.hpp"
#include "machine.hpp"
#include "timed.hpp"

namespace splitfleet {

// What a job executes. It refers to the job, and taking it down waits for what the device still executes.
using Workloads = std::vector<std::unique_ptr<Timed>>;

// The job's result line (without the times that the worker adds); `workloads`, empty before, are left to the
// caller. Throws JobError for every status but `ok`.
Json run_job(const Job& job, Machine& machine, const Programs& programs, Workloads& workloads);

}  // namespace splitfleet

// Executes one job.
#pragma once

#include <string>
#include <unordered_map>

#include "job.hpp"
#include "machine.hpp"

namespace splitfleet {

using Programs = std::unordered_map<std::string, ProgramSource>;

// The job's result line (without the times that the batch adds). Throws JobError for every status but `ok`.
Json run_job(const Job& job, Machine& machine, const Programs& programs);

}  // namespace splitfleet

// Result lines of jobs that ended with something other than `ok`.
#pragma once

#include <string>

#include "job_file.hpp"
#include "result_file.hpp"
#include "status.hpp"

namespace splitfleet {

// The result of a job that was not measured; `error` is cut to one line of some hundred characters.
Json failure(const JobLine& line, Status status, const std::string& error);

}  // namespace splitfleet

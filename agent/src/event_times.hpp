// Reads profiling times off OpenCL events.
#pragma once

#include "cl_api.hpp"
#include "timed.hpp"

namespace splitfleet {

// Queued, submit and start of `first`, end of `last`. Returns the OpenCL error code of the first query that
// fails.
cl_int read_event_times(const ClApi& api, cl_event first, cl_event last, EventTimes& times);

}  // namespace splitfleet

// Executions that are thrown away, until the times have settled.
#pragma once

#include <cstdint>

#include "timed.hpp"

namespace splitfleet {

// Executes at least `least` times, then until the medians of the last two windows of executions differ by no
// more than their spread, or until `longest_us` have passed. The number of executions.
//
// The rule is pyperf's, which calibrates its warm-up by comparing median and median absolute deviation of two
// halves.
std::int64_t warm_up(Timed& timed, std::int64_t least, std::int64_t longest_us);

}  // namespace splitfleet

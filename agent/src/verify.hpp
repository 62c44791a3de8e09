// Is what a workload computes right?
#pragma once

#include "workload.hpp"

namespace splitfleet {

// Executes the workload once on a poisoned output and compares: a GPU's or a joint output with the CPU
// backend's result for the whole operator, a CPU output at a sample of places with a plain loop in double
// precision. Returns max |output - reference| / max |reference|. Throws JobError(wrong_result) past 1e-4, or
// when an element was not written, or one outside the operator's columns was.
double verify(Workload& workload, Machine& machine, MemoryBudget budget);

}  // namespace splitfleet

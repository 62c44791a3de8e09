// Is what a workload computes right?
#pragma once

#include "workload.hpp"

namespace splitfleet {

// Executes the workload once on a poisoned output and compares: a sample of places with a plain loop in
// double precision and, unless the Eigen backend alone is under test, all elements with what that computes
// for the whole operator in fp32. Returns max |output - reference| / max |reference|. Throws
// JobError(wrong_result) past the plan's tolerance (1e-4 without a plan), or when an element was not written,
// or one outside the operator's columns was.
double verify(Workload& workload, Machine& machine, MemoryBudget budget);

}  // namespace splitfleet

// Repeated, checked measurement of workloads.
#pragma once

#include <cstdint>
#include <vector>

#include "json.hpp"
#include "workload.hpp"

namespace splitfleet {

// The repetitions that were kept, and how many were not.
struct Samples {
  std::vector<HostTimes> host;
  std::vector<EventTimes> events;  // empty without a GPU half
  std::int64_t rejected_context_switch = 0;
  std::int64_t rejected_event_order = 0;

  // The `rejected` and `samples` objects of the result format.
  Json rejected_json() const;
  Json samples_json(JobKind kind) const;
};

// Warms up and repeats as `repeat` says. Throws JobError(noisy) when too few repetitions survive.
Samples measure(Workload& workload, const Repeat& repeat);

// Executes every workload once a round, in an order that rotates, until `rounds` rounds are kept; a round is
// rejected as a whole. Returns one set of samples per workload. Throws JobError(noisy) when five times as
// many rounds do not suffice.
std::vector<Samples> measure_interleaved(const std::vector<Workload*>& workloads, std::int64_t rounds);

// Joins `count` times without timing; the number of joins after which the payload was not all there.
std::int64_t count_mismatches(Workload& workload, std::int64_t count);

// Half the width of the 95 % confidence interval of the median, relative to the median; infinite for fewer
// than 6 values. The interval is the one between order statistics (binomial distribution, normal
// approximation).
double median_uncertainty(std::vector<std::int64_t> values);

}  // namespace splitfleet

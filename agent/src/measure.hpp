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
  std::int64_t warmup = 0;  // executions before the first repetition

  std::int64_t rejected() const;

  // The `rejected` and `samples` objects of the result format.
  Json rejected_json() const;
  Json samples_json(JobKind kind) const;
};

// Warms up and repeats as `repeat` says. Throws JobError(noisy) when too few repetitions survive.
Samples measure(Timed& timed, const Repeat& repeat);

// Executes every one once a round, in an order that rotates, until `rounds` rounds are kept. Returns one set
// of samples each, as long as the others.
//
// A disturbed execution is repeated in its place, up to four times, each time behind one more untimed
// execution of what came before it, so that it finds caches and clocks as it would have in its turn. Only
// when that does not help is the round dropped: otherwise, with a share p of undisturbed executions, a round
// of n would survive with p^n, and long layers on a busy machine would never end. Throws JobError(noisy) when
// the rounds do not suffice, or after `longest_us`.
std::vector<Samples> measure_interleaved(const std::vector<Timed*>& timed, std::int64_t rounds,
                                         std::int64_t longest_us);

// Joins `count` times without timing; the number of joins after which the payload was not all there.
std::int64_t count_mismatches(Workload& workload, std::int64_t count);

// Half the width of the 95 % confidence interval of the median, relative to the median; infinite for fewer
// than 6 values. The interval is the one between order statistics (binomial distribution, normal
// approximation).
double median_uncertainty(std::vector<std::int64_t> values);

}  // namespace splitfleet

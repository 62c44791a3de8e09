// Notices that other programs took the CPU away from this process.
#pragma once

#include <cstdint>
#include <vector>

namespace splitfleet {

// How long the threads of this process have waited for a CPU while they could have run: the scheduler's own
// account (/proc/self/task/*/schedstat, second figure). It covers the threads of an OpenCL driver that
// computes on the CPU, and it tells a preemption of microseconds from one that spoils a time. Where the
// kernel keeps no such account, involuntary context switches are counted instead and each one spoils.
class Disturbance {
 public:
  // Watches the threads that exist now.
  Disturbance();
  ~Disturbance();
  Disturbance(const Disturbance&) = delete;
  Disturbance& operator=(const Disturbance&) = delete;

  // The account before an execution; to be handed to `spoils` behind it.
  std::int64_t reading() const;

  // Whether what was lost since `before` is more than 2 % of an execution of `wall_ns`, and more than the 20
  // us that waking threads may lose without any other program.
  bool spoils(std::int64_t before, std::int64_t wall_ns) const;

 private:
  std::vector<int> files_;
};

}  // namespace splitfleet

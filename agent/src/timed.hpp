// What can be executed again and again and timed.
#pragma once

#include <cstdint>
#include <optional>

namespace splitfleet {

// The host's times of one execution.
struct HostTimes {
  std::int64_t wall_ns = 0;  // from before the first enqueue until all results are visible
  std::int64_t cpu_ns = 0;   // the CPU half alone
};

// Profiling times of one execution, on the device's clock.
struct EventTimes {
  std::int64_t queued_ns = 0;
  std::int64_t submit_ns = 0;
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
  bool in_order() const { return queued_ns <= submit_ns && submit_ns <= start_ns && start_ns <= end_ns; }
};

class Timed {
 public:
  virtual ~Timed() = default;

  // Puts the calling thread where the host's part belongs. Outside the timed region.
  virtual void pin_caller() const = 0;
  // Executes once; afterwards the results are visible to the host. Call settle() before the next execution.
  virtual HostTimes execute() = 0;
  // Ends an execution outside the timed region; the device's times, where a device took part.
  virtual std::optional<EventTimes> settle() = 0;
};

}  // namespace splitfleet

// The CPUs that this system names.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace splitfleet {

struct Core {
  int id = 0;
  std::optional<std::int64_t> max_khz;
};

// From /sys/devices/system/cpu (below SPLITFLEET_SYSROOT, when that is set), in ascending order.
std::vector<Core> list_cores();

// Where the host's thread goes when only the GPU works and the job names no CPU: the last of the fastest
// CPUs. The first CPU is the one where drivers tend to work, and a thread there would be switched out by
// them.
std::vector<int> host_core();

}  // namespace splitfleet

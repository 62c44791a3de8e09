// Which CPU a thread runs on.
#pragma once

#include <cstdint>
#include <vector>

namespace splitfleet {

// The CPUs of a bit mask in ascending order.
std::vector<int> cores_of(std::uint64_t core_mask);

// How many CPUs the process was allowed to use when it started. Call first from main().
int available_cores();

// Pins the calling thread to one CPU and checks that it holds. Throws JobError(unsupported) when the kernel
// does not let it.
void pin_this_thread(int core);

// Whether the calling thread may run on that CPU alone. The system can move it at any time (Android's cpusets
// follow an app's state).
bool is_pinned_to(int core);

// Lets the calling thread run wherever the process was allowed to when it started.
void unpin_this_thread();

}  // namespace splitfleet

// Which CPU a thread runs on.
#pragma once

#include <cstdint>
#include <vector>

namespace splitfleet {

// The CPUs of a bit mask in ascending order.
std::vector<int> cores_of(std::uint64_t core_mask);

// Pins the calling thread to one CPU and checks that it holds. Throws JobError(unsupported) when the kernel
// does not let it.
void pin_this_thread(int core);

// Lets the calling thread run wherever the process was allowed to when it started. Call first from main().
void unpin_this_thread();

}  // namespace splitfleet

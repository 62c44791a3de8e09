// How long a driver may take for building: SPLITFLEET_GRACE_S, for phones whose driver compiles slowly.
#pragma once

#include <cstdint>

namespace splitfleet {

// What a job has beside its repetitions, for building and checking. 30 s unless the variable says otherwise.
std::int64_t grace_us();

}  // namespace splitfleet

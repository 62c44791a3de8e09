// What this agent is and what it runs on.
#pragma once

#include "json.hpp"
#include "machine.hpp"

namespace splitfleet {

// Identity of sources, flags and compiler.
const char* agent_build();

// The object that `splitfleet-agent info` prints.
Json capabilities(const Machine& machine);

// The first line of a result file.
Json agent_line(const Machine& machine);

}  // namespace splitfleet

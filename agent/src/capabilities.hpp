// What this agent is and what it runs on.
#pragma once

#include <string>

#include "json.hpp"
#include "machine.hpp"

namespace splitfleet {

// What `splitfleet-agent info` prints: a JSON object, as one line of text.
std::string capabilities_line(const Machine& machine);

// The first line of a result file.
Json agent_line(const Machine& machine);

}  // namespace splitfleet

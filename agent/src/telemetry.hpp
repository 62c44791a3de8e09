// What the system tells about heat, clocks, battery, load and memory.
#pragma once

#include <optional>
#include <string>

#include "json.hpp"

namespace splitfleet {

// The hottest thermal zone in degrees Celsius; nothing where no zone can be read.
std::optional<double> hottest_celsius();
// Android's thermal status: 0 none, above it clocks are held back, 6 shutdown; nothing where the system has
// none.
std::optional<int> thermal_status();

// A `telemetry` line of the result file; what cannot be read is absent.
Json telemetry(const std::string& when);

}  // namespace splitfleet

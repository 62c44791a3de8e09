#include "heat_guard.hpp"

#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>

#include "clock.hpp"
#include "status.hpp"
#include "telemetry.hpp"

namespace splitfleet {
namespace {

constexpr double kRelease =
    2.0;  // degrees below the bound, so that the next job does not heat past it at once
constexpr std::int64_t kLongestNs = 600'000'000'000;
constexpr std::int64_t kReportNs = 60'000'000'000;
constexpr std::int64_t kStatusNs = 10'000'000'000;
constexpr std::chrono::milliseconds kPause{500};

}  // namespace

HeatGuard::HeatGuard(ResultFile& results) : results_(results) {
  const char* chosen = std::getenv("SPLITFLEET_MAX_CELSIUS");
  if (chosen == nullptr || *chosen == '\0') return;
  char* end = nullptr;
  max_celsius_ = std::strtod(chosen, &end);
  if (*end != '\0' || !(*max_celsius_ > 0.0)) {
    throw AgentError(kExitUsage, "SPLITFLEET_MAX_CELSIUS: " + std::string(chosen) +
                                     " is no temperature; give degrees Celsius above 0, or unset it");
  }
}

bool HeatGuard::is_hot(double bound) {
  const std::optional<double> hottest = hottest_celsius();
  return (hottest && *hottest > bound) || is_held_back();
}

// Zones are files; Android's status costs a process, so it is asked for now and then only. It counts all the
// same: some phones let no shell read their zones.
bool HeatGuard::is_held_back() {
  if (now_ns() >= next_status_ns_) {
    is_held_back_ = thermal_status().value_or(0) > 0;
    next_status_ns_ = now_ns() + kStatusNs;
  }
  return is_held_back_;
}

void HeatGuard::wait_until_cool() {
  if (!max_celsius_ || !is_hot(*max_celsius_)) return;
  const std::int64_t start_ns = now_ns();
  std::int64_t report_ns = start_ns;
  while (is_hot(*max_celsius_ - kRelease) && now_ns() - start_ns < kLongestNs) {
    if (now_ns() >= report_ns) {
      results_.append(telemetry("hot"));
      report_ns += kReportNs;
    }
    std::this_thread::sleep_for(kPause);
  }
  const bool is_cool = !is_hot(*max_celsius_ - kRelease);
  Json line = telemetry(is_cool ? "cool" : "still_hot");
  line["waited_us"] = (now_ns() - start_ns) / 1000;
  results_.append(line);
  if (!is_cool) max_celsius_.reset();
}

}  // namespace splitfleet

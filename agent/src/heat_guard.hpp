// Keeps a batch from measuring on a hot phone while nobody watches it.
#pragma once

#include <cstdint>
#include <optional>

#include "result_file.hpp"

namespace splitfleet {

// With SPLITFLEET_MAX_CELSIUS set; without it nothing is ever waited for.
class HeatGuard {
 public:
  // Throws AgentError when SPLITFLEET_MAX_CELSIUS is no temperature.
  explicit HeatGuard(ResultFile& results);

  // Returns at once while every thermal zone is within the bound and Android holds no clocks back. Else waits
  // until the zones are 2 degrees below the bound and the status is none; telemetry lines tell of it: `hot`
  // at first and each minute, `cool` at the end. After 10 minutes in vain it says `still_hot` and guards no
  // more, for a phone that cannot get cool shall end its batch all the same.
  void wait_until_cool();

 private:
  bool is_hot(double bound);
  bool is_held_back();

  ResultFile& results_;
  std::optional<double> max_celsius_;
  std::int64_t next_status_ns_ = 0;
  bool is_held_back_ = false;
};

}  // namespace splitfleet

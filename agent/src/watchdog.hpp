// Ends the process when a job outruns its time bound: a hung kernel cannot be ended otherwise.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace splitfleet {

class Watchdog {
 public:
  Watchdog();
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // Unless disarm() comes within `bound`, calls `report` on the watchdog's thread and exits with
  // kExitWatchdog.
  void arm(std::chrono::microseconds bound, std::function<void()> report);
  // Does not return when the process is being ended.
  void disarm();

 private:
  void watch();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> report_;
  std::chrono::steady_clock::time_point deadline_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace splitfleet

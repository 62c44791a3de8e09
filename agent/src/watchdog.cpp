#include "watchdog.hpp"

#include <unistd.h>

#include <cstdio>
#include <exception>
#include <utility>

#include "status.hpp"

namespace splitfleet {

Watchdog::Watchdog() : thread_([this] { watch(); }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Watchdog::arm(std::chrono::microseconds bound, std::function<void()> report) {
  const std::lock_guard<std::mutex> lock(mutex_);
  report_ = std::move(report);
  deadline_ = std::chrono::steady_clock::now() + bound;
  changed_.notify_all();
}

void Watchdog::disarm() {
  const std::lock_guard<std::mutex> lock(mutex_);
  report_ = nullptr;
}

void Watchdog::watch() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopping_) {
    if (!report_) {
      changed_.wait(lock);
    } else if (std::chrono::steady_clock::now() < deadline_) {
      changed_.wait_until(lock, deadline_);
    } else {
      try {
        report_();
      } catch (const std::exception& error) {
        std::fprintf(stderr, "splitfleet-agent: %s\n", error.what());
      }
      // Destructors would wait for what hangs.
      _exit(kExitWatchdog);
    }
  }
}

}  // namespace splitfleet

// Persistent pinned threads that compute one operator together.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "futex.hpp"

namespace splitfleet {

// The calling thread is thread 0. Idle threads are parked, since a spinning one may take the core that a GPU
// driver works on. Where more cores are free than this pool and a driver need, a thread looks around for some
// microseconds before it parks.
class ThreadPool {
 public:
  // One thread per core; no cores: the caller alone, not pinned. Throws JobError(unsupported) when pinning
  // fails.
  explicit ThreadPool(std::vector<int> cores);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  const std::vector<int>& cores() const { return cores_; }
  int size() const { return cores_.empty() ? 1 : static_cast<int>(cores_.size()); }
  // Pins the calling thread to the first core, or lets it go.
  void pin_caller() const;
  // Runs body(i) on every thread i and returns when all are done. Rethrows the first exception.
  void run(const std::function<void(int)>& body);

 private:
  void serve(int index);
  void call(int index) noexcept;
  void await_round(std::uint32_t seen) const;
  void await_all();
  void finish_one();
  void stop();

  std::vector<int> cores_;
  bool may_spin_;
  std::vector<std::thread> threads_;
  const std::function<void(int)>* body_ = nullptr;
  FutexWord round_{0};  // raised to wake the threads
  FutexWord busy_{0};   // threads that have not finished the round
  std::atomic<bool> is_caller_parked_{false};
  std::atomic<bool> stopping_{false};
  std::mutex failure_mutex_;
  std::exception_ptr failure_;
};

}  // namespace splitfleet

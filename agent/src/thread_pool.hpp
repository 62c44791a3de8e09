// Persistent pinned threads that compute one operator together.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace splitfleet {

// The calling thread is thread 0. Idle threads are parked, since a spinning one may take the core that a GPU
// driver works on.
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
  // Pins the calling thread to the first core (or lets it go); cheap when it is there already.
  void pin_caller() const;
  // Runs body(i) for every thread i and returns when all are done.
  void run(const std::function<void(int)>& body);

 private:
  void serve(int index);
  void wait_until_started();
  void stop();

  std::vector<int> cores_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::uint64_t round_ = 0;
  bool stopping_ = false;
  const std::function<void(int)>* body_ = nullptr;
  std::atomic<int> busy_{0};
  std::exception_ptr failure_;
};

}  // namespace splitfleet

// Threads of XNNPACK's own pool, pinned to a job's cores.
#pragma once

#include <pthreadpool.h>

#include <functional>
#include <vector>

namespace splitfleet {

// The calling thread is thread 0. Workers park after each operation (PTHREADPOOL_FLAG_YIELD_WORKERS), since a
// spinning one may take the core that a GPU driver works on.
class XnnpackThreads {
 public:
  // One thread a core, each pinned but the caller's, which its owner pins; no cores: the caller alone. Throws
  // JobError when a thread cannot be made or pinned.
  explicit XnnpackThreads(const std::vector<int>& cores);
  ~XnnpackThreads();
  XnnpackThreads(const XnnpackThreads&) = delete;
  XnnpackThreads& operator=(const XnnpackThreads&) = delete;

  // Null for one thread, which XNNPACK takes for the caller.
  pthreadpool_t pool() const { return pool_; }
  int size() const { return size_; }
  // Calls body(i) for every i below `count`, dealt out to the threads.
  void run(const std::function<void(int)>& body, int count) const;
  // Calls body(i) once on every thread i.
  void on_each(const std::function<void(int)>& body) const;

 private:
  int size_;
  pthreadpool_t pool_ = nullptr;
};

}  // namespace splitfleet

#include "thread_pool.hpp"

#include <utility>

#include "affinity.hpp"
#include "pause.hpp"

namespace splitfleet {

ThreadPool::ThreadPool(std::vector<int> cores) : cores_(std::move(cores)) {
  busy_ = size() - 1;
  for (int index = 1; index < size(); ++index) {
    threads_.emplace_back([this, index] { serve(index); });
  }
  wait_until_started();
}

ThreadPool::~ThreadPool() {
  stop();
}

void ThreadPool::wait_until_started() {
  while (busy_.load(std::memory_order_acquire) > 0) std::this_thread::yield();
  if (failure_) {
    stop();
    std::rethrow_exception(failure_);
  }
}

void ThreadPool::pin_caller() const {
  if (cores_.empty()) {
    unpin_this_thread();
  } else {
    pin_this_thread(cores_.front());
  }
}

void ThreadPool::run(const std::function<void(int)>& body) {
  if (!threads_.empty()) {
    busy_.store(size() - 1, std::memory_order_relaxed);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      body_ = &body;
      ++round_;
    }
    wake_.notify_all();
  }
  std::exception_ptr own_failure;
  try {
    body(0);
  } catch (...) {
    own_failure = std::current_exception();
  }
  // The caller has its own core and nothing else to do: looking costs less than being woken.
  while (busy_.load(std::memory_order_acquire) > 0) pause_briefly();
  if (own_failure) std::rethrow_exception(own_failure);
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void ThreadPool::serve(int index) {
  std::uint64_t seen = 0;
  try {
    pin_this_thread(cores_[static_cast<std::size_t>(index)]);
  } catch (...) {
    const std::lock_guard<std::mutex> lock(mutex_);
    failure_ = std::current_exception();
  }
  busy_.fetch_sub(1, std::memory_order_release);
  for (;;) {
    const std::function<void(int)>* body = nullptr;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || round_ != seen; });
      if (stopping_) return;
      seen = round_;
      body = body_;
    }
    try {
      (*body)(index);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex_);
      failure_ = std::current_exception();
    }
    busy_.fetch_sub(1, std::memory_order_release);
  }
}

void ThreadPool::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace splitfleet

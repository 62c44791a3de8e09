#include "thread_pool.hpp"

#include <utility>

#include "affinity.hpp"
#include "pause.hpp"

namespace splitfleet {
namespace {

// A look costs some nanoseconds (x86: up to 140 cycles).
constexpr int kLooksBeforeParking = 200;
// The caller has a core to itself: looking costs nobody anything, and being woken would cost the result some
// microseconds. Still it parks in the end, should a thread be stopped or very late.
constexpr int kLooksForTheOthers = 1'000'000;

}  // namespace

ThreadPool::ThreadPool(std::vector<int> cores)
    : cores_(std::move(cores)), may_spin_(available_cores() > size() + 1) {
  const std::function<void(int)> pin = [this](int index) {
    pin_this_thread(cores_[static_cast<std::size_t>(index)]);
  };
  if (size() == 1) return;
  try {
    for (int index = 1; index < size(); ++index) threads_.emplace_back([this, index] { serve(index); });
    run([&pin](int index) {
      if (index > 0) pin(index);
    });
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  stop();
}

void ThreadPool::pin_caller() const {
  if (cores_.empty()) {
    unpin_this_thread();
  } else {
    pin_this_thread(cores_.front());
  }
}

void ThreadPool::run(const std::function<void(int)>& body) {
  body_ = &body;
  if (!threads_.empty()) {
    busy_.store(static_cast<std::uint32_t>(threads_.size()));
    round_.fetch_add(1);
    futex_wake_all(round_);
  }
  call(0);
  await_all();
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void ThreadPool::call(int index) noexcept {
  try {
    (*body_)(index);
  } catch (...) {
    const std::lock_guard<std::mutex> lock(failure_mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
}

void ThreadPool::serve(int index) {
  for (std::uint32_t seen = 0;; ++seen) {
    await_round(seen);
    if (stopping_.load()) return;
    call(index);
    finish_one();
  }
}

void ThreadPool::await_round(std::uint32_t seen) const {
  for (int look = 0; may_spin_ && look < kLooksBeforeParking; ++look) {
    if (round_.load() != seen) return;
    pause_briefly();
  }
  while (round_.load() == seen) futex_wait(round_, seen);
}

void ThreadPool::await_all() {
  for (int look = 0; look < kLooksForTheOthers; ++look) {
    if (busy_.load() == 0) return;
    pause_briefly();
  }
  is_caller_parked_.store(true);
  for (std::uint32_t busy = busy_.load(); busy != 0; busy = busy_.load()) futex_wait(busy_, busy);
  is_caller_parked_.store(false);
}

void ThreadPool::finish_one() {
  const bool is_last = busy_.fetch_sub(1) == 1;
  if (is_last && is_caller_parked_.load()) futex_wake_all(busy_);
}

void ThreadPool::stop() {
  stopping_.store(true);
  round_.fetch_add(1);
  futex_wake_all(round_);
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace splitfleet

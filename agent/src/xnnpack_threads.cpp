#ifdef SPLITFLEET_XNNPACK_VERSION
#include "xnnpack_threads.hpp"

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "affinity.hpp"
#include "status.hpp"

namespace splitfleet {
namespace {

// Carries a body and its first exception through a C interface.
class Call {
 public:
  explicit Call(const std::function<void(int)>& body) : body_(body) {}

  static void enter(void* call, std::size_t index) { static_cast<Call*>(call)->run(static_cast<int>(index)); }
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void run(int index) {
    try {
      body_(index);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex_);
      failure_ = std::current_exception();
    }
  }

  const std::function<void(int)>& body_;
  std::mutex mutex_;
  std::exception_ptr failure_;
};

}  // namespace

XnnpackThreads::XnnpackThreads(const std::vector<int>& cores)
    : size_(cores.empty() ? 1 : static_cast<int>(cores.size())) {
  if (size_ == 1) return;
  pool_ = pthreadpool_create(static_cast<std::size_t>(size_));
  if (pool_ == nullptr) throw JobError(Status::out_of_resources, "pthreadpool_create failed");
  try {
    on_each([&](int index) {
      if (index > 0) pin_this_thread(cores[static_cast<std::size_t>(index)]);
    });
  } catch (...) {
    pthreadpool_destroy(pool_);
    throw;
  }
}

XnnpackThreads::~XnnpackThreads() {
  pthreadpool_destroy(pool_);
}

void XnnpackThreads::run(const std::function<void(int)>& body, int count) const {
  Call call(body);
  pthreadpool_parallelize_1d(pool_, &Call::enter, &call, static_cast<std::size_t>(count),
                             PTHREADPOOL_FLAG_YIELD_WORKERS);
  call.rethrow();
}

void XnnpackThreads::on_each(const std::function<void(int)>& body) const {
  std::atomic<int> waiting(size_);
  run(
      [&](int index) {
        // A thread begins with the item of its own number and would go on with those of others.
        waiting.fetch_sub(1);
        while (waiting.load() > 0) std::this_thread::yield();
        body(index);
      },
      size_);
}

}  // namespace splitfleet
#endif

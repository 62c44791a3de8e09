// Has jobs executed in a worker process, and outlives what they do to it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "core_lock.hpp"
#include "job_file.hpp"
#include "result_file.hpp"
#include "status.hpp"
#include "worker_process.hpp"

namespace splitfleet {

class Supervisor {
 public:
  // `settings` say where program binaries are kept.
  Supervisor(const JobFile& jobs, ResultFile& results, CoreLock& lock, StoreSettings settings)
      : jobs_(jobs), results_(results), lock_(lock), settings_(std::move(settings)) {}

  // Starts the first worker; the `agent` line. Throws AgentError(kExitDevice) when the device cannot be
  // opened.
  Json open() { return open(settings_); }
  // Appends the result of job number `index`, whatever the job does: one that outruns its bound is `timeout`,
  // one that kills its worker is tried once more and then `crashed`. Throws AgentError(kExitDevice) when a
  // worker cannot be ended (the job's result is written then) or no new one can be opened.
  void answer(std::size_t index);
  // Lets the worker end in order, if there is one. Throws AgentError(kExitDevice) when it cannot be ended.
  void close();

 private:
  // What came of sending a job to the worker.
  struct Attempt {
    enum class End { result, late, death } end = End::death;
    Json result;       // with End::result
    std::string what;  // with the others: what happened
  };

  Json open(const StoreSettings& settings);
  Attempt execute(const JobLine& line, std::size_t index);
  void append(const JobLine& line, Status status, const std::string& error, std::int64_t started_unix_us);
  void end_worker();

  const JobFile& jobs_;
  ResultFile& results_;
  CoreLock& lock_;
  StoreSettings settings_;
  std::unique_ptr<WorkerProcess> worker_;
};

}  // namespace splitfleet

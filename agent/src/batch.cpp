#include "batch.hpp"

#include <algorithm>
#include <chrono>
#include <new>
#include <unordered_set>

#include "affinity.hpp"
#include "capabilities.hpp"
#include "clock.hpp"
#include "core_lock.hpp"
#include "job_file.hpp"
#include "job_runner.hpp"
#include "result_file.hpp"
#include "status.hpp"
#include "watchdog.hpp"

namespace splitfleet {
namespace {

constexpr int kMostAttempts = 2;

Json failure(const JobLine& line, Status status, const std::string& error) {
  const bool has_kind = line.body.is_object() && line.body.contains("kind") && line.body["kind"].is_string();
  return {{"type", "result"},
          {"schema", kResultSchema},
          {"id", line.id},
          {"kind", has_kind ? line.body["kind"] : Json()},
          {"status", status_name(status)},
          {"error", one_line(error, 700)}};
}

class Batch {
 public:
  Batch(const JobFile& jobs, ResultFile& results, Machine& machine)
      : jobs_(jobs), results_(results), machine_(machine) {}

  void answer(const JobLine& line) {
    if (!line.error.empty()) {
      results_.append(failure(line, Status::invalid_job, line.error));
    } else if (results_.attempts(line.id) >= kMostAttempts) {
      results_.append(failure(line, Status::crashed, "the agent died twice in this job"));
    } else {
      run(line);
    }
  }

 private:
  void run(const JobLine& line) {
    const std::int64_t started_unix_us = unix_us();
    const std::int64_t start_ns = now_ns();
    Json result;
    try {
      const Job job = parse_job(line.body);
      results_.begin(line.id);
      watchdog_.arm(std::chrono::microseconds(job.time_bound_us()), [this, &line,
                                                                     bound = job.time_bound_us()] {
        results_.append(failure(line, Status::timeout,
                                "the job did not end within " + std::to_string(bound / 1'000'000) + " s"));
      });
      result = run_job(job, machine_, jobs_.programs);
    } catch (const JobError& error) {
      result = failure(line, error.status(), error.what());
    } catch (const std::bad_alloc&) {
      result = failure(line, Status::out_of_resources, "out of memory");
    }
    watchdog_.disarm();
    result["started_unix_us"] = started_unix_us;
    result["elapsed_us"] = (now_ns() - start_ns) / 1000;
    results_.append(result);
  }

  const JobFile& jobs_;
  ResultFile& results_;
  Machine& machine_;
  Watchdog watchdog_;
};

// A result file goes on only with the jobs it was begun with (more may have been added).
void check_same_jobs(const JobFile& jobs, const ResultFile& results, const std::string& results_path) {
  std::unordered_set<std::string> known;
  for (const JobLine& line : jobs.jobs) known.insert(line.id);
  for (const std::string& id : results.finished()) {
    if (known.count(id) > 0) continue;
    throw AgentError(kExitUsage, results_path + ": holds the result of job " + one_line(id, 80) +
                                     ", which is not in the job file; name a new result file");
  }
}

}  // namespace

void run_batch(const std::string& jobs_path, const std::string& results_path) {
  const JobFile jobs = read_job_file(jobs_path);
  ResultFile results(results_path);
  check_same_jobs(jobs, results, results_path);
  std::unordered_set<std::string> answered = results.finished();
  const auto is_open = [&](const JobLine& line) { return answered.count(line.id) == 0; };
  if (results.has_end() && std::none_of(jobs.jobs.begin(), jobs.jobs.end(), is_open)) return;

  const CoreLock lock;
  // Opening OpenCL and ending it work on the cores too.
  const auto machine = [&lock] {
    const CoreLock::Hold hold(lock);
    return std::make_unique<Machine>();
  }();
  results.append(agent_line(*machine));
  {
    Batch batch(jobs, results, *machine);
    for (const JobLine& line : jobs.jobs) {
      if (!is_open(line)) continue;
      const CoreLock::Hold hold(lock);
      batch.answer(line);
      answered.insert(line.id);
    }
  }
  results.append({{"type", "end"}, {"schema", kResultSchema}, {"jobs", answered.size()}});
}

}  // namespace splitfleet

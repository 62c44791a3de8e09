#include "batch.hpp"

#include <sys/utsname.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "core_lock.hpp"
#include "failure.hpp"
#include "heat_guard.hpp"
#include "job_file.hpp"
#include "memory.hpp"
#include "result_file.hpp"
#include "supervisor.hpp"
#include "system_files.hpp"
#include "telemetry.hpp"

namespace splitfleet {
namespace {

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

// The build of Android, else of the kernel.
std::string os_build() {
  for (const std::string& line : command_output("/system/bin/getprop", "ro.build.fingerprint")) return line;
  utsname names{};
  uname(&names);
  return std::string(names.sysname) + " " + names.release + " " + names.version;
}

StoreSettings store_settings(bool use_cache) {
  if (use_cache) return {default_store_folder(), os_build()};
  setenv("POCL_KERNEL_CACHE", "0", 1);
  return {};
}

}  // namespace

void run_batch(const std::string& jobs_path, const std::string& results_path, bool use_cache) {
  const JobFile jobs = read_job_file(jobs_path);
  ResultFile results(results_path);
  check_same_jobs(jobs, results, results_path);
  std::unordered_set<std::string> answered = results.finished();
  const auto is_open = [&](const JobLine& line) { return answered.count(line.id) == 0; };
  if (results.has_end() && std::none_of(jobs.jobs.begin(), jobs.jobs.end(), is_open)) return;

  const MemoryBudget checked;  // a wrong bound is told here, once: no job would be at fault
  CoreLock lock;
  HeatGuard heat(results);
  Supervisor supervisor(jobs, results, lock, store_settings(use_cache));
  {
    // Opening OpenCL works on the cores too.
    const CoreLock::Hold hold(lock);
    results.append(supervisor.open());
  }
  results.append(telemetry("start"));
  for (std::size_t index = 0; index < jobs.jobs.size(); ++index) {
    const JobLine& line = jobs.jobs[index];
    if (!is_open(line)) continue;
    heat.wait_until_cool();
    const CoreLock::Hold hold(lock);
    supervisor.answer(index);
    answered.insert(line.id);
  }
  supervisor.close();
  results.append(telemetry("end"));
  results.append({{"type", "end"}, {"schema", kResultSchema}, {"jobs", answered.size()}});
}

}  // namespace splitfleet

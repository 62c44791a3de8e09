#include "worker.hpp"

#include <unistd.h>

#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>

#include "capabilities.hpp"
#include "clock.hpp"
#include "failure.hpp"
#include "job_runner.hpp"

namespace splitfleet {
namespace {

constexpr std::int64_t kForever = std::numeric_limits<std::int64_t>::max();

// Executes one job and sends its result.
void answer(Channel& channel, const JobFile& jobs, const JobLine& line, Machine& machine) {
  const std::int64_t started_unix_us = unix_us();
  const std::int64_t start_ns = now_ns();
  const auto send = [&](Json result) {
    result["started_unix_us"] = started_unix_us;
    result["elapsed_us"] = (now_ns() - start_ns) / 1000;
    channel.send(to_line(result));
  };
  Json result;
  // Out here, so that a result can be sent before the workloads are taken down.
  std::optional<Job> job;
  Workloads workloads;
  try {
    job = parse_job(line.body);
    channel.send(to_line({{"bound_us", job->time_bound_us()}}));
    result = run_job(*job, machine, jobs.programs, workloads);
  } catch (const JobError& error) {
    result = failure(line, error.status(), error.what());
    if (error.status() == Status::timeout) {
      send(result);
      _exit(0);  // a kernel may run on: taking the workloads down would wait for it
    }
  } catch (const std::bad_alloc&) {
    result = failure(line, Status::out_of_resources, "out of memory");
  } catch (const std::system_error& error) {
    result = failure(line, Status::out_of_resources, error.what());  // no thread could be started
  }
  workloads.clear();
  send(result);
}

// PoCL without its cache removes what it has compiled, but only when its device is taken down.
bool removes_programs() {
  const char* is_cached = std::getenv("POCL_KERNEL_CACHE");
  return is_cached != nullptr && is_cached == std::string("0");
}

}  // namespace

void serve_jobs(Channel& channel, const JobFile& jobs, const StoreSettings& settings) {
  auto owned = std::make_unique<Machine>(settings);
  Machine& machine = *owned;
  channel.send(to_line(agent_line(machine)));
  for (std::string request; channel.receive(request, kForever) == Channel::Receipt::line;) {
    answer(channel, jobs, jobs.jobs.at(std::stoul(request)), machine);
  }
  // Not taken down: a driver may take a tenth of a second for it, or hang, and the kernel frees everything.
  if (!removes_programs()) owned.release();
}

}  // namespace splitfleet

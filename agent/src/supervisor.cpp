#include "supervisor.hpp"

#include <unistd.h>

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <utility>

#include "clock.hpp"
#include "failure.hpp"
#include "fields.hpp"
#include "status.hpp"
#include "worker.hpp"

namespace splitfleet {
namespace {

constexpr int kMostAttempts = 2;
constexpr std::int64_t kOpenNs = 60'000'000'000;
constexpr std::int64_t kCheckJobUs = 10'000'000;  // for reading a job, before its own bound is known
constexpr std::int64_t kMaxBoundUs = std::int64_t{3600} * 4 * 1'000'000;  // above that of any job
constexpr std::size_t kMaxText = 200;
constexpr const char* kStuck =
    "the OpenCL driver holds a job's process in the kernel, where it cannot be ended: restart the phone, "
    "then start "
    "the agent again";

// After these the process may hold a device context that fails from now on, or memory that a kernel has
// overwritten.
bool is_spoiled_by(const std::string& status) {
  return status == status_name(Status::out_of_resources) || status == status_name(Status::wrong_result) ||
         status == status_name(Status::timeout);
}

// The worker may have been overwritten by a kernel: what it sends is checked like any input. Null when it is
// no JSON.
Json parsed(const std::string& line) {
  try {
    return parse_json(line);
  } catch (const std::exception&) {
    return {};
  }
}

bool is_result_of(const JobLine& job, const Json& line) {
  try {
    const Fields fields(line, "");
    return fields.text("type", kMaxText) == "result" && fields.text("id", kMaxText) == job.id;
  } catch (const JobError&) {
    return false;
  }
}

}  // namespace

Json Supervisor::open(const StoreSettings& settings) {
  std::string trouble;
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    worker_ = std::make_unique<WorkerProcess>([&](Channel& channel) {
      // Locks end with the supervisor, not with a worker that outlives it in the driver.
      results_.close_files();
      lock_.close_files();
      serve_jobs(channel, jobs_, settings);
    });
    std::string line;
    const Channel::Receipt receipt = worker_->channel().receive(line, now_ns() + kOpenNs);
    Json agent = receipt == Channel::Receipt::line ? parsed(line) : Json();
    if (agent.is_object()) {
      agent["pid"] = getpid();
      return agent;
    }
    end_worker();
    trouble =
        receipt == Channel::Receipt::late ? "does not open within 60 s" : "ends the process that opens it";
  }
  throw AgentError(kExitDevice, "OpenCL " + trouble + ": restart the phone, then start the agent again");
}

void Supervisor::answer(std::size_t index) {
  const JobLine& line = jobs_.jobs[index];
  const std::int64_t started_unix_us = unix_us();
  std::string death = "the agent ended twice in this job";
  if (!line.error.empty()) return append(line, Status::invalid_job, line.error, started_unix_us);
  while (results_.attempts(line.id) < kMostAttempts) {
    // A second time nothing is read from the cache: a binary that crashes the driver would do so again.
    const bool is_first = results_.attempts(line.id) == 0;
    if (!worker_ || worker_->has_ended()) open(is_first ? settings_ : StoreSettings{});
    results_.begin(line.id);
    const Attempt attempt = execute(line, index);
    if (attempt.end == Attempt::End::result) {
      results_.append(attempt.result);
      if (is_spoiled_by(attempt.result.value("status", ""))) end_worker();
      return;
    }
    const bool is_gone = worker_->end();
    if (attempt.end == Attempt::End::late || !is_gone) {
      append(line, Status::timeout, attempt.what, started_unix_us);
      if (!is_gone) throw AgentError(kExitDevice, kStuck);
      return worker_.reset();
    }
    death = "tried twice: " + attempt.what + ", " + worker_->last_words();
    worker_.reset();
  }
  append(line, Status::crashed, death, started_unix_us);
}

Supervisor::Attempt Supervisor::execute(const JobLine& line, std::size_t index) {
  Channel& channel = worker_->channel();
  const std::int64_t start_ns = now_ns();
  std::int64_t bound_us = kCheckJobUs;
  channel.send(std::to_string(index));  // a worker that is gone shows below
  for (;;) {
    std::string text;
    const Channel::Receipt receipt = channel.receive(text, start_ns + bound_us * 1000);
    if (receipt == Channel::Receipt::late) {
      return {Attempt::End::late,
              {},
              "the job did not end within " + std::to_string(bound_us / 1'000'000) + " s"};
    }
    if (receipt == Channel::Receipt::closed) return {Attempt::End::death, {}, "the job's process ended"};
    Json message = parsed(text);
    if (is_result_of(line, message)) return {Attempt::End::result, std::move(message), ""};
    if (!message.is_object() || !message.contains("bound_us") || !message["bound_us"].is_number_integer()) {
      return {Attempt::End::death, {}, "the job's process sent no result but " + one_line(text, kMaxText)};
    }
    bound_us = std::clamp(message["bound_us"].get<std::int64_t>(), std::int64_t{0}, kMaxBoundUs);
  }
}

void Supervisor::append(const JobLine& line, Status status, const std::string& error,
                        std::int64_t started_unix_us) {
  Json result = failure(line, status, error);
  result["started_unix_us"] = started_unix_us;
  result["elapsed_us"] = std::max(std::int64_t{0}, unix_us() - started_unix_us);
  results_.append(result);
}

void Supervisor::close() {
  if (worker_ && !worker_->close()) throw AgentError(kExitDevice, kStuck);
  worker_.reset();
}

void Supervisor::end_worker() {
  if (!worker_->end()) throw AgentError(kExitDevice, kStuck);
  worker_.reset();
}

}  // namespace splitfleet

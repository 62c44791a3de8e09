// A job as the job file carries it, checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gpu_plan.hpp"
#include "launch_plan.hpp"
#include "network.hpp"
#include "operator.hpp"

namespace splitfleet {

enum class JobKind { gpu, cpu, coexec, sync, compare, transfer, network };

const char* kind_name(JobKind kind);

// How often a workload is repeated; docs/agent.md says what each number means.
struct Repeat {
  std::int64_t warmup = 0;
  std::int64_t min_count = 1;
  std::int64_t max_count = 1;
  std::int64_t min_time_us = 0;
  std::int64_t max_time_us = 1;
  double ci = 0.0;
};

// What one repetition executes: a GPU half, a CPU half, or both.
struct Work {
  JobKind kind = JobKind::cpu;  // gpu, cpu, coexec or sync
  std::optional<Operator> op;   // the whole operator; none for sync
  std::int64_t cut = 0;         // the CPU computes channels [0, cut), the GPU the rest
  std::optional<LaunchPlan> plan;
  Join join = Join::finish;
  std::int64_t chain_length = 1;  // gpu: executions enqueued back to back, with one wait
  std::vector<int> cores;         // one per thread of the CPU half; the first is the host's
  std::string backend;            // computes the CPU half; empty without one
  bool verify = false;
};

// Moves `bytes` between host and device, or on the device.
struct Transfer {
  enum class Operation { map_read, map_write, copy, fill, read, write, image_write, image_read };
  Operation operation = Operation::copy;
  std::size_t bytes = 0;
  std::vector<int> cores;  // the host's
};

const char* operation_name(Transfer::Operation operation);

struct Variant {
  std::string name;
  Work work;
};

// A whole network, executed by the CPU alone, by the GPU with the CPU's glue, and split.
struct NetworkJob {
  Network network;
  Join join = Join::finish;
  std::vector<int> cores;
  std::string backend;
};

struct Job {
  std::string id;
  JobKind kind = JobKind::cpu;
  Work work;                       // gpu, cpu, coexec, sync
  Transfer transfer;               // transfer
  NetworkJob network;              // network
  Repeat repeat;                   // unless compare or network
  std::int64_t checked_joins = 0;  // sync
  std::int64_t rounds = 0;         // compare, network
  std::vector<Variant> variants;   // compare

  // How long the interleaved executions of `compare` and `network` may take.
  std::int64_t rounds_us() const;
  // The backend of all CPU halves; empty without any.
  std::string backend() const;
  // After this time a job that has not ended is taken for hung.
  std::int64_t time_bound_us() const;
};

// Throws JobError(invalid_job) that names the faulty field.
Job parse_job(const Json& line);

}  // namespace splitfleet

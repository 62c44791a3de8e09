#include "job.hpp"

#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "affinity.hpp"
#include "cpu_list.hpp"
#include "grace.hpp"
#include "plan_buffers.hpp"
#include "status.hpp"

namespace splitfleet {
namespace {

constexpr std::int64_t kSchema = 2;
constexpr std::size_t kMaxName = 200;
constexpr std::int64_t kMaxThreads = 64;
constexpr std::int64_t kMaxCount = 10'000;
constexpr std::int64_t kMaxTimeUs = 60'000'000;
constexpr std::int64_t kMaxWarmup = 1'000;
constexpr std::int64_t kMaxCheckedJoins = 3'000'000;
constexpr std::size_t kMaxVariants = 16;
constexpr std::int64_t kMaxChain = 64;
constexpr std::int64_t kTransferStep = 4096;
constexpr std::int64_t kMaxTransfer = 64 * 1024 * 1024;

// The time bound's allowances beside the grace: one checked join, one execution of a variant.
constexpr std::int64_t kTimeFactor = 10;
constexpr std::int64_t kCheckedJoinUs = 2'000;
constexpr std::int64_t kVariantUs = 500'000;
constexpr std::int64_t kInferenceUs = 5'000'000;
constexpr std::int64_t kNetworkVariants = 8;                           // the glue alone among them
constexpr std::int64_t kPrepareUs = 120'000'000;                       // a network's weights and plans
constexpr std::int64_t kMaxBoundUs = std::int64_t{7'200} * 1'000'000;  // and the grace

constexpr const char* kKindNames[] = {"gpu", "cpu", "coexec", "sync", "compare", "transfer", "network"};
constexpr const char* kModeNames[] = {"single", "chain"};
constexpr const char* kOperationNames[] = {"map_read", "map_write", "copy",        "fill",
                                           "read",     "write",     "image_write", "image_read"};
constexpr const char* kBackendNames[] = {"eigen", "xnnpack"};
constexpr const char* kJoinNames[] = {"svm_poll", "event_wait", "finish"};

Repeat parse_repeat(const Fields& fields) {
  Repeat repeat;
  repeat.warmup = fields.integer("warmup", 0, kMaxWarmup);
  repeat.min_count = fields.integer("min_count", 1, kMaxCount);
  repeat.max_count = fields.integer("max_count", repeat.min_count, kMaxCount);
  repeat.min_time_us = fields.integer("min_time_us", 0, kMaxTimeUs);
  repeat.max_time_us = fields.integer("max_time_us", 1, kMaxTimeUs);
  repeat.ci = fields.number("ci", 0.0, 1.0);
  return repeat;
}

std::vector<int> parse_mask(const Fields& fields) {
  const std::int64_t mask = fields.integer("core_mask", 1, std::numeric_limits<std::int64_t>::max());
  return cores_of(static_cast<std::uint64_t>(mask));
}

// The first CPUs of the mask, one per thread.
std::vector<int> parse_cores(const Fields& fields) {
  const auto threads = static_cast<std::size_t>(fields.integer("threads", 1, kMaxThreads));
  std::vector<int> cores = parse_mask(fields);
  if (cores.size() < threads) {
    throw JobError(Status::invalid_job, fields.path("core_mask") + ": names " + std::to_string(cores.size()) +
                                            " CPUs for " + std::to_string(threads) + " threads");
  }
  cores.resize(threads);
  return cores;
}

// Where the host's thread of a `gpu` job waits.
std::vector<int> parse_host_core(const Fields& fields) {
  if (!fields.has("core_mask")) return host_core();
  return {parse_mask(fields).front()};
}

// "eigen" where the job does not say.
std::string parse_backend(const Fields& fields) {
  return kBackendNames[fields.has("backend") ? fields.one_of("backend", kBackendNames) : 0];
}

// How many executions a `gpu` job enqueues back to back.
std::int64_t parse_chain(const Fields& fields) {
  const bool is_chain = fields.has("mode") && fields.one_of("mode", kModeNames) == 1;
  return is_chain ? fields.integer("chain_length", 2, kMaxChain) : 1;
}

Transfer parse_transfer(const Fields& fields) {
  Transfer transfer;
  transfer.operation = static_cast<Transfer::Operation>(fields.one_of("operation", kOperationNames));
  const std::int64_t bytes = fields.integer("bytes", kTransferStep, kMaxTransfer);
  if (bytes % kTransferStep != 0) {
    throw JobError(Status::invalid_job, fields.path("bytes") + ": a multiple of 4096 is expected");
  }
  transfer.bytes = static_cast<std::size_t>(bytes);
  transfer.cores = parse_host_core(fields);
  return transfer;
}

Work parse_work(const Fields& fields, JobKind kind) {
  Work work;
  work.kind = kind;
  work.verify = fields.flag_or("verify", false);
  if (kind != JobKind::sync) work.op = parse_operator(fields.object("operator"));
  if (kind != JobKind::cpu) {
    work.plan = parse_launch_plan(fields.object("plan"));
    work.join = static_cast<Join>(fields.one_of(kind == JobKind::gpu ? "wait" : "join", kJoinNames));
  }
  if (kind != JobKind::gpu) work.backend = parse_backend(fields);
  if (kind == JobKind::gpu) work.chain_length = parse_chain(fields);
  work.cores = kind == JobKind::gpu ? parse_host_core(fields) : parse_cores(fields);
  if (kind == JobKind::cpu) work.cut = work.op->out_channels;
  if (kind == JobKind::coexec) {
    if (work.op->out_channels < 2)
      throw JobError(Status::invalid_job, "operator: one channel cannot be split");
    work.cut = fields.integer("cut", 1, work.op->out_channels - 1);
  }
  if (kind == JobKind::sync) {
    work.plan->only(BufferRole::payload);
  } else if (work.plan) {
    check_plan_buffers(*work.plan, *work.op, work.cut, kind == JobKind::coexec);
  }
  return work;
}

NetworkJob parse_network_job(const Fields& fields) {
  NetworkJob job;
  job.cores = parse_cores(fields);
  job.backend = parse_backend(fields);
  job.join = static_cast<Join>(fields.one_of("join", kJoinNames));
  job.network = parse_network(fields.object("network"), static_cast<std::int64_t>(job.cores.size()));
  return job;
}

std::vector<Variant> parse_variants(const Fields& fields) {
  std::vector<Variant> variants;
  std::set<std::string> backends;
  for (const Json& item : fields.array("variants", kMaxVariants)) {
    const Fields variant(item, fields.path("variants[" + std::to_string(variants.size()) + "]"));
    const auto kind = static_cast<JobKind>(variant.one_of("kind", kKindNames));
    if (kind != JobKind::gpu && kind != JobKind::cpu && kind != JobKind::coexec) {
      throw JobError(Status::invalid_job, variant.path("kind") + ": a variant is gpu, cpu or coexec");
    }
    variants.push_back({variant.text("name", kMaxName), parse_work(variant, kind)});
    if (variants.back().work.chain_length > 1)
      throw JobError(Status::invalid_job, variant.path("mode") + ": a variant is executed singly");
    const std::string& backend = variants.back().work.backend;
    if (!backend.empty()) backends.insert(backend);
  }
  if (variants.empty()) throw JobError(Status::invalid_job, fields.path("variants") + ": empty");
  if (backends.size() > 1)
    throw JobError(Status::invalid_job, fields.path("variants") + ": all name the same backend");
  return variants;
}

}  // namespace

const char* kind_name(JobKind kind) {
  return kKindNames[static_cast<int>(kind)];
}

const char* operation_name(Transfer::Operation operation) {
  return kOperationNames[static_cast<int>(operation)];
}

std::string Job::backend() const {
  if (kind == JobKind::network) return network.backend;
  if (kind != JobKind::compare) return work.backend;
  for (const Variant& variant : variants) {
    if (!variant.work.backend.empty()) return variant.work.backend;
  }
  return "";
}

std::int64_t Job::rounds_us() const {
  if (kind == JobKind::network) return kInferenceUs * rounds * kNetworkVariants;
  return kVariantUs * rounds * static_cast<std::int64_t>(variants.size());
}

std::int64_t Job::time_bound_us() const {
  const std::int64_t prepare_us = kind == JobKind::network ? kPrepareUs : 0;
  return grace_us() + prepare_us + kTimeFactor * repeat.max_time_us + kCheckedJoinUs * checked_joins +
         rounds_us();
}

Job parse_job(const Json& line) {
  const Fields fields(line, "");
  Job job;
  fields.integer("schema", 1, kSchema);
  job.id = fields.text("id", kMaxName);
  job.kind = static_cast<JobKind>(fields.one_of("kind", kKindNames));
  if (job.kind == JobKind::compare) {
    job.rounds = fields.integer("rounds", 1, kMaxCount);
    job.variants = parse_variants(fields);
  } else if (job.kind == JobKind::network) {
    job.rounds = fields.integer("rounds", 1, kMaxCount);
    job.network = parse_network_job(fields);
  } else {
    if (job.kind == JobKind::transfer) {
      job.transfer = parse_transfer(fields);
    } else {
      job.work = parse_work(fields, job.kind);
    }
    job.repeat = parse_repeat(fields.object("repeat"));
  }
  if (job.kind == JobKind::sync) job.checked_joins = fields.integer("checked_joins", 0, kMaxCheckedJoins);
  if (job.time_bound_us() > kMaxBoundUs + grace_us()) {
    throw JobError(Status::invalid_job, "the job may take " +
                                            std::to_string(job.time_bound_us() / 1'000'000) +
                                            " s, and no more than 7200 s are allowed: split it");
  }
  return job;
}

}  // namespace splitfleet

#include "job_runner.hpp"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "failure.hpp"
#include "measure.hpp"
#include "network_work.hpp"
#include "result_file.hpp"
#include "transfer_work.hpp"
#include "verify.hpp"
#include "workload.hpp"

namespace splitfleet {
namespace {

const ProgramSource* find_program(const Programs& programs, const Work& work) {
  if (!work.plan) return nullptr;
  const auto found = programs.find(work.plan->program);
  return found == programs.end() ? nullptr : &found->second;
}

// Makes a workload ready that outlives what may go wrong in it: its kernels may hang.
Workload& add(const Work& work, Machine& machine, const Programs& programs, MemoryBudget& budget,
              Workloads& workloads) {
  auto owned = std::make_unique<Workload>(machine, work, find_program(programs, work), budget);
  Workload& workload = *owned;
  workloads.push_back(std::move(owned));
  workload.prime();
  return workload;
}

Json verify_if_asked(Workload& workload, Machine& machine, const MemoryBudget& budget) {
  return workload.work().verify && workload.work().op ? Json(verify(workload, machine, budget)) : Json();
}

void add_samples(const Samples& samples, JobKind kind, Json& result) {
  result["warmup"] = samples.warmup;
  result["rejected"] = samples.rejected_json();
  result["samples"] = samples.samples_json(kind);
}

// A thread that was moved explains noise better than a count of repetitions does.
Samples measure_in_place(Workload& workload, const Repeat& repeat) {
  try {
    Samples samples = measure(workload, repeat);
    workload.check_threads();
    return samples;
  } catch (const JobError&) {
    workload.check_threads();
    throw;
  }
}

void run_single(const Job& job, Machine& machine, const Programs& programs, Workloads& workloads,
                Json& result) {
  MemoryBudget budget;
  Workload& workload = add(job.work, machine, programs, budget, workloads);
  result["max_relative_error"] = verify_if_asked(workload, machine, budget);
  if (job.kind == JobKind::sync) {
    result["checked_joins"] = job.checked_joins;
    result["mismatches"] = count_mismatches(workload, job.checked_joins);
  }
  if (job.kind == JobKind::gpu) {
    result["mode"] = job.work.chain_length > 1 ? "chain" : "single";
    result["chain_length"] = job.work.chain_length;
  }
  add_samples(measure_in_place(workload, job.repeat), job.kind, result);
}

void run_transfer(const Job& job, Machine& machine, Workloads& workloads, Json& result) {
  MemoryBudget budget;
  auto owned = std::make_unique<TransferWork>(machine, job.transfer, budget);
  TransferWork& transfer = *owned;
  workloads.push_back(std::move(owned));
  transfer.check();
  result["operation"] = operation_name(job.transfer.operation);
  result["bytes"] = job.transfer.bytes;
  add_samples(measure(transfer, job.repeat), job.kind, result);
}

void run_compare(const Job& job, Machine& machine, const Programs& programs, Workloads& workloads,
                 Json& result) {
  MemoryBudget budget;
  std::vector<Workload*> executed;
  Json errors = Json::array();
  for (const Variant& variant : job.variants) {
    Workload& workload = add(variant.work, machine, programs, budget, workloads);
    errors.push_back(verify_if_asked(workload, machine, budget));
    executed.push_back(&workload);
  }
  const std::vector<Timed*> order(executed.begin(), executed.end());
  const std::vector<Samples> samples = measure_interleaved(order, job.rounds, job.rounds_us());
  for (Workload* workload : executed) {
    workload->pin_caller();
    workload->check_threads();
  }
  Samples rejected;
  Json variants = Json::array();
  for (std::size_t i = 0; i < samples.size(); ++i) {
    rejected.rejected_context_switch += samples[i].rejected_context_switch;
    rejected.rejected_event_order += samples[i].rejected_event_order;
    variants.push_back({{"name", job.variants[i].name},
                        {"max_relative_error", errors[i]},
                        {"warmup", samples[i].warmup},
                        {"samples", samples[i].samples_json(job.variants[i].work.kind)}});
  }
  result["rejected"] = rejected.rejected_json();
  result["variants"] = variants;
}

Json nodes_json(const NetworkVariant& variant) {
  const auto or_null = [](const std::optional<std::int64_t>& time_ns) {
    return time_ns ? Json(*time_ns) : Json();
  };
  Json cpu_ns = Json::array();
  Json gpu_ns = Json::array();
  for (const NodeMedians& node : variant.node_medians()) {
    cpu_ns.push_back(or_null(node.cpu_ns));
    gpu_ns.push_back(or_null(node.gpu_ns));
  }
  return {{"name", variant.name()}, {"cpu_ns", cpu_ns}, {"gpu_ns", gpu_ns}};
}

void run_network(const Job& job, Machine& machine, const Programs& programs, Workloads& workloads,
                 Json& result) {
  const auto work = std::make_shared<NetworkWork>(machine, job.network, programs);
  std::vector<NetworkVariant*> executed;
  const auto keep = [&](std::unique_ptr<NetworkVariant> variant) {
    executed.push_back(variant.get());
    workloads.push_back(std::move(variant));
  };
  for (const auto way : {NetworkVariant::Way::cpu, NetworkVariant::Way::gpu, NetworkVariant::Way::split})
    keep(std::make_unique<NetworkVariant>(work, way));
  std::vector<double> errors = compare_variants(*work, executed);
  for (const auto way : {NetworkVariant::Way::gpu, NetworkVariant::Way::split}) {
    for (const auto hand_over : {HandOver::event, HandOver::poll}) {
      // What this device cannot do, or does wrong, is no way for it: the others are timed.
      try {
        auto variant = std::make_unique<NetworkVariant>(work, way, hand_over);
        errors.push_back(compare_variants(*work, {executed.front(), variant.get()}).back());
        keep(std::move(variant));
      } catch (const JobError& error) {
        if (error.status() == Status::invalid_job) throw;
        std::fprintf(stderr, "splitfleet-agent: %s: a way to hand over is left out: %s\n", job.id.c_str(),
                     error.what());
      }
    }
  }
  keep(std::make_unique<NetworkVariant>(work, NetworkVariant::Way::glue));
  const std::vector<Timed*> order(executed.begin(), executed.end());
  const std::vector<Samples> samples = measure_interleaved(order, job.rounds, job.rounds_us());
  work->check_threads();
  Samples rejected;
  Json nodes = Json::array();
  Json variants = Json::array();
  for (std::size_t i = 0; i < samples.size(); ++i) {
    rejected.rejected_context_switch += samples[i].rejected_context_switch;
    nodes.push_back(nodes_json(*executed[i]));
    variants.push_back({{"name", executed[i]->name()},
                        {"max_relative_error", i < errors.size() ? Json(errors[i]) : Json()},
                        {"warmup", samples[i].warmup},
                        {"samples", samples[i].samples_json(JobKind::coexec)}});
  }
  result["rejected"] = rejected.rejected_json();
  result["variants"] = variants;
  result["nodes"] = nodes;
}

}  // namespace

Json run_job(const Job& job, Machine& machine, const Programs& programs, Workloads& workloads) {
  const std::int64_t built_before_ns = machine.built_ns();
  const std::int64_t compiled_before = machine.compiled();
  Json result = {{"type", "result"}, {"schema", kResultSchema}, {"id", job.id}, {"kind", kind_name(job.kind)},
                 {"status", "ok"},   {"error", nullptr}};
  if (job.kind == JobKind::compare) {
    run_compare(job, machine, programs, workloads, result);
  } else if (job.kind == JobKind::network) {
    run_network(job, machine, programs, workloads, result);
  } else if (job.kind == JobKind::transfer) {
    run_transfer(job, machine, workloads, result);
  } else {
    run_single(job, machine, programs, workloads, result);
  }
  if (!job.backend().empty()) result["backend"] = machine.backend(job.backend()).version();
  result["build_us"] = (machine.built_ns() - built_before_ns) / 1000;
  result["cached"] = machine.compiled() == compiled_before;
  return result;
}

}  // namespace splitfleet

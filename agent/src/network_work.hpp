// A network made ready: its tensors in memory that CPU and GPU share, its operators on each of them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gate.hpp"
#include "glue.hpp"
#include "job.hpp"
#include "machine.hpp"
#include "timed.hpp"

namespace splitfleet {

// One operator on the CPU: channels [0, cut), on `threads` threads.
struct NetworkCpuPart {
  std::unique_ptr<Buffer> weights;
  std::unique_ptr<CpuOperator> op;
};

// Medians of one node's parts over a variant's executions; none where a processor has no part in it.
struct NodeMedians {
  std::optional<std::int64_t> cpu_ns;
  std::optional<std::int64_t> gpu_ns;  // execution alone, from the first launch's start to the last one's end
};

// How the GPU gets what follows the CPU's part of an operator: once that is done, or before, behind a gate.
enum class HandOver { host, event, poll };

// Holds what the variants share: tensors, and the parts that several of them execute.
class NetworkWork {
 public:
  // Throws JobError(unsupported) on a device without fine-grained SVM: the host would have to map between the
  // operators.
  NetworkWork(Machine& machine, const NetworkJob& job, const Programs& programs);

  const NetworkJob& job() const { return job_; }
  ThreadPool& pool(std::int64_t threads) const;
  float* tensor(std::size_t index) const { return tensors_[index]->map_floats(0); }
  std::int64_t floats(std::size_t index) const { return job_.network.tensors[index].floats; }
  // Ready to run, made at the first call. Plans are executed once then, so that their driver has compiled.
  CpuOperator& cpu(std::size_t node, std::int64_t cut, std::int64_t threads);
  GpuPlan& gpu(std::size_t node, std::size_t plan, std::int64_t cut);
  // Throws JobError(unsupported) where the device cannot wait so; for HandOver::host there is none.
  std::unique_ptr<Gate> gate(HandOver hand_over);
  // Throws JobError(noisy) when a thread is no longer pinned where it belongs.
  void check_threads() const;
  // Fills all that nodes make with what no operator makes.
  void poison();

 private:
  Machine& machine_;
  const NetworkJob& job_;
  const Programs& programs_;
  MemoryBudget budget_;
  const ClDevice& device_;
  std::vector<std::unique_ptr<Buffer>> tensors_;
  std::map<std::pair<std::size_t, std::pair<std::int64_t, std::int64_t>>, NetworkCpuPart> cpu_parts_;
  std::map<std::pair<std::size_t, std::size_t>, std::unique_ptr<GpuPlan>> gpu_parts_;
};

// One inference in one of three ways and, of those with the GPU, with one of three ways of handing over; or
// its glue alone.
class NetworkVariant : public Timed {
 public:
  enum class Way { cpu, gpu, split, glue };

  NetworkVariant(std::shared_ptr<NetworkWork> work, Way way, HandOver hand_over = HandOver::host);
  std::string name() const;
  void pin_caller() const override;
  // The GPU gets its part of an operator as soon as what it reads is made or enqueued before it; with a gate,
  // while the CPU makes the rest of that. The host waits for the GPU where it reads itself what the GPU
  // makes, and at the end.
  HostTimes execute() override;
  std::optional<EventTimes> settle() override;
  // Of all nodes of the network, in its order, over the first executions.
  std::vector<NodeMedians> node_medians() const;

 private:
  struct Step {
    std::size_t index = 0;  // of the node
    const NetworkNode* node = nullptr;
    CpuOperator* cpu = nullptr;  // its channels from 0 on
    GpuPlan* gpu = nullptr;      // the rest
    ThreadPool* pool = nullptr;
    std::vector<std::int64_t> cpu_ns;
    std::vector<std::int64_t> gpu_ns;
  };

  bool enqueue_behind_gate(std::size_t next);
  std::int64_t run_on_cpu(Step& step);

  std::shared_ptr<NetworkWork> work_;
  Way way_;
  HandOver hand_over_;
  std::vector<Step> steps_;
  std::unique_ptr<Gate> gate_;  // goes before the plans that it holds up
};

// Executes the variants once and compares every tensor with what the first made. The largest relative error
// of each, in their order. Throws JobError(wrong_result) when it passes the job's tolerance.
std::vector<double> compare_variants(NetworkWork& work, const std::vector<NetworkVariant*>& variants);

}  // namespace splitfleet

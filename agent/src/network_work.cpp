#include "network_work.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>

#include "affinity.hpp"
#include "clock.hpp"
#include "status.hpp"
#include "values.hpp"

namespace splitfleet {
namespace {

constexpr const char* kWayNames[] = {"cpu", "gpu", "split", "glue"};
constexpr const char* kHandOverSuffixes[] = {"", "_event", "_poll"};
constexpr std::size_t kMostTimes = 99;  // of a node: more would only take memory

void add_time(std::vector<std::int64_t>& times_ns, std::int64_t time_ns) {
  if (times_ns.size() < kMostTimes) times_ns.push_back(time_ns);
}

std::optional<std::int64_t> median(std::vector<std::int64_t> times_ns) {
  if (times_ns.empty()) return std::nullopt;
  const auto middle = times_ns.begin() + static_cast<std::ptrdiff_t>(times_ns.size() / 2);
  std::nth_element(times_ns.begin(), middle, times_ns.end());
  return *middle;
}

// Sums of `depth` products then vary as much as what they are made of: uniform values in [-1, 1] have a
// variance of 1/3.
Values values_for(const Operator& op) {
  return Values(false, std::sqrt(3.0F / static_cast<float>(op.depth())));
}

// Of the largest expected value; infinite where a value is not finite.
double relative_error(const std::vector<float>& expected, const float* found) {
  float most = 0.0F;
  float apart = 0.0F;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (!std::isfinite(found[i])) return std::numeric_limits<double>::infinity();
    most = std::max(most, std::fabs(expected[i]));
    apart = std::max(apart, std::fabs(found[i] - expected[i]));
  }
  return apart == 0.0F ? 0.0 : static_cast<double>(apart / most);
}

}  // namespace

NetworkWork::NetworkWork(Machine& machine, const NetworkJob& job, const Programs& programs)
    : machine_(machine), job_(job), programs_(programs), device_(machine.require_device()) {
  if (!device_.svm().fine_buffer) {
    throw JobError(Status::unsupported, "a network needs fine-grained SVM buffers, which this device lacks");
  }
  const Values values;
  for (const NetworkTensor& tensor : job.network.tensors) {
    tensors_.push_back(std::make_unique<Buffer>(
        &device_, Buffer::Use::shared, static_cast<std::size_t>(tensor.floats) * sizeof(float), budget_));
    float* floats = tensors_.back()->map_floats(CL_MAP_WRITE);
    for (std::int64_t i = 0; tensor.is_given && i < tensor.floats; ++i) floats[i] = values.input(i);
  }
}

ThreadPool& NetworkWork::pool(std::int64_t threads) const {
  return machine_.threads({job_.cores.begin(), job_.cores.begin() + threads});
}

CpuOperator& NetworkWork::cpu(std::size_t node, std::int64_t cut, std::int64_t threads) {
  NetworkCpuPart& part = cpu_parts_[{node, {cut, threads}}];
  if (part.op) return *part.op;
  const Operator& whole = *job_.network.nodes[node].op;
  const Operator half = whole.first_channels(cut);
  part.weights = std::make_unique<Buffer>(
      nullptr, Buffer::Use::shared, static_cast<std::size_t>(half.weight_floats()) * sizeof(float), budget_);
  if (half.has_weights()) {
    values_for(whole).fill_weights(whole, 0, cut, cut, {part.weights->map(CL_MAP_WRITE), ElementType::f32});
  }
  part.op = machine_.backend(job_.backend)
                .prepare({half, part.weights->map_floats(CL_MAP_READ), whole.out_channels}, pool(threads));
  return *part.op;
}

GpuPlan& NetworkWork::gpu(std::size_t node, std::size_t plan_index, std::int64_t cut) {
  std::unique_ptr<GpuPlan>& part = gpu_parts_[{node, plan_index}];
  if (part) return *part;
  const NetworkNode& described = job_.network.nodes[node];
  const LaunchPlan& plan = job_.network.plans[plan_index];
  const auto source = programs_.find(plan.program);
  if (source == programs_.end())
    throw JobError(Status::invalid_job, "plan.program: the job file holds no program " + plan.program);
  std::map<BufferRole, Buffer*> given = {{BufferRole::input, tensors_[described.inputs[0]].get()},
                                         {BufferRole::output, tensors_[described.output].get()}};
  if (described.op->adds()) given[BufferRole::residual] = tensors_[described.inputs[1]].get();
  part = std::make_unique<GpuPlan>(device_, machine_.programs().get(plan.program, source->second), plan,
                                   job_.join, budget_, given);
  const Operator& op = *described.op;
  if (op.has_weights()) {
    const std::size_t index = plan.only(BufferRole::weights);
    Buffer& weights = part->buffer(index);
    values_for(op).fill_weights(op, cut, op.out_channels - cut, plan.buffers[index].panel,
                                {weights.map(CL_MAP_WRITE), plan.buffers[index].type});
    weights.unmap();
  }
  part->set_up();
  part->prime();
  return *part;
}

std::unique_ptr<Gate> NetworkWork::gate(HandOver hand_over) {
  if (hand_over == HandOver::host) return nullptr;
  if (hand_over == HandOver::event) return make_event_gate(device_);
  if (!job_.network.gate)
    throw JobError(Status::unsupported, "network.gate: the job names no kernel to poll");
  const auto& [program, kernel] = *job_.network.gate;
  const auto source = programs_.find(program);
  if (source == programs_.end())
    throw JobError(Status::invalid_job, "network.gate: the job file holds no program " + program);
  return make_polling_gate(device_, machine_.programs().get(program, source->second), kernel, budget_);
}

void NetworkWork::check_threads() const {
  ThreadPool& threads = pool(static_cast<std::int64_t>(job_.cores.size()));
  const std::function<void(int)> check = [&](int index) {
    const int core = job_.cores[static_cast<std::size_t>(index)];
    if (is_pinned_to(core)) return;
    throw JobError(Status::noisy, "the system moved thread " + std::to_string(index) +
                                      " of this job off CPU " + std::to_string(core) + " while it ran");
  };
  threads.pin_caller();
  machine_.backend(job_.backend).on_each_thread(threads, check);
}

void NetworkWork::poison() {
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    if (!job_.network.tensors[i].is_given)
      std::fill_n(tensor(i), floats(i), std::numeric_limits<float>::quiet_NaN());
  }
}

NetworkVariant::NetworkVariant(std::shared_ptr<NetworkWork> shared, Way way, HandOver hand_over)
    : work_(std::move(shared)), way_(way), hand_over_(hand_over) {
  NetworkWork& work = *work_;
  gate_ = work.gate(hand_over);
  const NetworkJob& job = work.job();
  const auto most_threads = static_cast<std::int64_t>(job.cores.size());
  for (std::size_t i = 0; i < job.network.nodes.size(); ++i) {
    const NetworkNode& node = job.network.nodes[i];
    if (node.op && way == Way::glue) continue;
    Step step;
    step.index = i;
    step.node = &node;
    step.pool = &work.pool(most_threads);
    if (node.op) {
      const std::int64_t channels = node.op->out_channels;
      const std::int64_t cut = way == Way::cpu ? channels : way == Way::gpu ? 0 : node.cut;
      const std::int64_t threads = way == Way::split ? node.threads : most_threads;
      if (cut > 0) step.cpu = &work.cpu(i, cut, threads);
      if (cut < channels) step.gpu = &work.gpu(i, cut > 0 ? node.split_plan : node.gpu_plan, cut);
    }
    steps_.push_back(std::move(step));
  }
}

std::string NetworkVariant::name() const {
  return std::string(kWayNames[static_cast<int>(way_)]) + kHandOverSuffixes[static_cast<int>(hand_over_)];
}

void NetworkVariant::pin_caller() const {
  work_->pool(static_cast<std::int64_t>(work_->job().cores.size())).pin_caller();
}

HostTimes NetworkVariant::execute() {
  HostTimes times;
  const std::int64_t start_ns = now_ns();
  // The queue is in order: who waits for its last plan has waited for all.
  GpuPlan* last = nullptr;
  std::vector<bool> is_on_gpu(work_->job().network.tensors.size());
  const auto await = [&] {
    if (last != nullptr) last->join();
    last = nullptr;
    std::fill(is_on_gpu.begin(), is_on_gpu.end(), false);
  };
  bool is_enqueued = false;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    Step& step = steps_[i];
    const NetworkNode& node = *step.node;
    GpuPlan* before = last;
    if (step.gpu != nullptr && !is_enqueued) step.gpu->enqueue();
    is_enqueued = false;
    if (step.gpu == nullptr || step.cpu != nullptr) {
      const auto waits = [&](std::size_t tensor) { return static_cast<bool>(is_on_gpu[tensor]); };
      last = before;
      if (std::any_of(node.inputs.begin(), node.inputs.end(), waits)) await();
      is_enqueued = enqueue_behind_gate(i + 1);
      times.cpu_ns += run_on_cpu(step);
      if (is_enqueued) gate_->open();
    }
    if (step.gpu == nullptr) continue;
    last = step.gpu;
    is_on_gpu[node.output] = true;
  }
  await();
  times.wall_ns = now_ns() - start_ns;
  if (gate_) gate_->check();
  return times;
}

bool NetworkVariant::enqueue_behind_gate(std::size_t next) {
  if (!gate_ || next == steps_.size() || steps_[next].gpu == nullptr) return false;
  gate_->close();
  steps_[next].gpu->enqueue();
  return true;
}

// Returns how long it took.
std::int64_t NetworkVariant::run_on_cpu(Step& step) {
  const std::int64_t start_ns = now_ns();
  const NetworkNode& node = *step.node;
  const float* second = node.inputs.size() > 1 ? work_->tensor(node.inputs[1]) : nullptr;
  const float* first = work_->tensor(node.inputs[0]);
  float* output = work_->tensor(node.output);
  if (step.cpu == nullptr) {
    run_glue(node.glue, first, second, output, *step.pool);
  } else {
    step.cpu->run({first, second, output});
  }
  const std::int64_t time_ns = now_ns() - start_ns;
  add_time(step.cpu_ns, time_ns);
  return time_ns;
}

std::optional<EventTimes> NetworkVariant::settle() {
  for (Step& step : steps_) {
    if (step.gpu == nullptr) continue;
    const EventTimes times = step.gpu->take_times();
    add_time(step.gpu_ns, times.end_ns - times.start_ns);
  }
  return std::nullopt;
}

std::vector<NodeMedians> NetworkVariant::node_medians() const {
  std::vector<NodeMedians> medians(work_->job().network.nodes.size());
  for (const Step& step : steps_) medians[step.index] = {median(step.cpu_ns), median(step.gpu_ns)};
  return medians;
}

std::vector<double> compare_variants(NetworkWork& work, const std::vector<NetworkVariant*>& variants) {
  const std::vector<NetworkTensor>& tensors = work.job().network.tensors;
  std::vector<std::vector<float>> expected(tensors.size());
  std::vector<double> errors;
  for (NetworkVariant* variant : variants) {
    work.poison();
    variant->pin_caller();
    variant->execute();
    variant->settle();
    double largest = 0.0;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      if (tensors[i].is_given) continue;
      const float* found = work.tensor(i);
      if (errors.empty()) expected[i].assign(found, found + tensors[i].floats);
      const double error = relative_error(expected[i], found);
      largest = std::max(largest, error);
      if (!(error <= work.job().network.tolerance)) {
        throw JobError(Status::wrong_result, variant->name() + ": tensor " + std::to_string(i) +
                                                 " differs from all-CPU's by " + std::to_string(error) +
                                                 " of its largest value, or holds what nobody wrote");
      }
    }
    errors.push_back(largest);
  }
  return errors;
}

}  // namespace splitfleet

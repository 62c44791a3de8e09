#include "workload.hpp"

#include <algorithm>

#include "clock.hpp"
#include "status.hpp"
#include "values.hpp"

namespace splitfleet {

Workload::Workload(Machine& machine, const Work& work, const ProgramSource* source, MemoryBudget& budget)
    : work_(work),
      pool_(machine.threads(work.cores)),
      values_(work.plan && work.plan->precision != Precision::fp32) {
  pin_caller();
  if (work.plan) {
    if (source == nullptr) {
      throw JobError(Status::invalid_job,
                     "plan.program: the job file holds no program " + work.plan->program);
    }
    prepare_gpu(machine, *source, budget);
  }
  if (work.op) {
    if (work.cut > 0) prepare_cpu(machine, budget);
    values_.fill_input({input_->map(CL_MAP_WRITE), input_type_}, work.op->input_floats());
    input_->unmap();
  }
}

void Workload::prepare_gpu(Machine& machine, const ProgramSource& source, MemoryBudget& budget) {
  const ClDevice& device = machine.require_device();
  const LaunchPlan& plan = *work_.plan;
  gpu_ = std::make_unique<GpuPlan>(device, machine.programs().get(plan.program, source), plan, work_.join,
                                   budget);
  if (!work_.op) return;
  const std::size_t weights_index = plan.only(BufferRole::weights);
  const std::size_t output_index = plan.only(BufferRole::output);
  const std::size_t input_index = plan.only(BufferRole::input);
  const PlanBuffer& planned_weights = plan.buffers[weights_index];
  Buffer& weights = gpu_->buffer(weights_index);
  values_.fill_weights(*work_.op, work_.cut, work_.op->out_channels - work_.cut, planned_weights.panel,
                       {weights.map(CL_MAP_WRITE), planned_weights.type});
  weights.unmap();
  gpu_->set_up();
  input_ = &gpu_->buffer(input_index);
  input_type_ = plan.buffers[input_index].type;
  output_type_ = plan.buffers[output_index].type;
  output_ = &gpu_->buffer(output_index);
  layout_.row_stride = plan.buffers[output_index].row_stride;
  // The view of a joint execution is the whole output, not the GPU's columns of it.
  layout_.column_offset = work_.kind == JobKind::coexec ? 0 : plan.buffers[output_index].column_offset;
}

void Workload::prepare_cpu(Machine& machine, MemoryBudget& budget) {
  const Operator& whole = *work_.op;
  Operator half = whole;
  half.out_channels = work_.cut;
  // Tensors that a GPU could share lie where it can: the CPU's time belongs to a runtime that splits.
  const ClDevice* device = machine.device();
  if (device != nullptr && !device->svm().fine_buffer) device = nullptr;
  const auto bytes = [](std::int64_t floats) { return static_cast<std::size_t>(floats) * sizeof(float); };
  if (!gpu_) {
    own_input_ = std::make_unique<Buffer>(device, Buffer::Use::shared, bytes(whole.input_floats()), budget);
    input_ = own_input_.get();
    layout_.row_stride = whole.out_channels;
  }
  if (!gpu_ || !output_->is_concurrent()) {
    own_output_ = std::make_unique<Buffer>(device, Buffer::Use::shared, bytes(whole.output_floats()), budget);
    if (!gpu_) output_ = own_output_.get();
  }
  cpu_output_ = own_output_ ? own_output_.get() : output_;
  cpu_weights_ = std::make_unique<Buffer>(nullptr, Buffer::Use::shared, bytes(half.weight_floats()), budget);
  values_.fill_weights(whole, 0, work_.cut, work_.cut, {cpu_weights_->map(CL_MAP_WRITE), ElementType::f32});
  cpu_ = machine.backend().prepare(half, cpu_weights_->map_floats(CL_MAP_READ), pool_);
}

HostTimes Workload::execute() {
  HostTimes times;
  const std::int64_t start_ns = now_ns();
  // Both halves may read a mapped input; without SVM mapping it has to come before the kernels it would wait
  // for.
  if (cpu_) input_->map(CL_MAP_READ);
  if (gpu_) gpu_->enqueue();
  if (work_.kind != JobKind::gpu) {
    const std::int64_t cpu_start_ns = now_ns();
    run_cpu_half();
    times.cpu_ns = now_ns() - cpu_start_ns;
  }
  if (gpu_) gpu_->join();
  gather();
  times.wall_ns = now_ns() - start_ns;
  return times;
}

void Workload::run_cpu_half() {
  if (cpu_) {
    cpu_->run(input_->map_floats(CL_MAP_READ), cpu_output_->map_floats(CL_MAP_WRITE), layout_.row_stride);
  } else {
    pool_.run([](int) {});  // sync: an empty half, but on the job's threads
  }
}

// Makes the whole result visible to the host. Without SVM the CPU half was computed beside it and is copied
// in.
void Workload::gather() {
  if (!output_ || output_->is_concurrent()) return;
  float* whole = output_->map_floats(CL_MAP_READ | CL_MAP_WRITE);
  if (!cpu_) return;
  const float* half = cpu_output_->map_floats(CL_MAP_READ);
  for (std::int64_t row = 0; row < work_.op->rows(); ++row) {
    std::copy_n(half + row * layout_.row_stride, work_.cut, whole + row * layout_.row_stride);
  }
}

std::optional<EventTimes> Workload::settle() {
  if (!gpu_) return std::nullopt;
  const EventTimes times = gpu_->take_times();
  if (input_ != nullptr) input_->unmap();
  if (output_ != nullptr) output_->unmap();
  return times;
}

void Workload::fill_output(float value) {
  for (Buffer* buffer : {output_, own_output_.get()}) {
    if (buffer == nullptr) continue;
    const Elements elements(buffer->map(CL_MAP_WRITE), output_type_);
    const auto count = static_cast<std::int64_t>(buffer->bytes() / bytes_of(output_type_));
    for (std::int64_t i = 0; i < count; ++i) elements.set(i, value);
    buffer->unmap();
  }
}

OutputView Workload::output() {
  OutputView view = layout_;
  view.elements = Elements(output_->map(CL_MAP_READ | CL_MAP_WRITE), output_type_);
  view.count = static_cast<std::int64_t>(output_->bytes() / bytes_of(output_type_));
  return view;
}

std::int64_t Workload::wrong_payload_words() {
  Buffer& payload = gpu_->buffer(work_.plan->only(BufferRole::payload));
  const auto* words = static_cast<const volatile std::int32_t*>(payload.map(CL_MAP_READ));
  std::int64_t wrong = 0;
  for (std::size_t i = 0; i < payload.bytes() / sizeof(std::int32_t); ++i)
    wrong += words[i] != gpu_->sequence();
  payload.unmap();
  return wrong;
}

}  // namespace splitfleet

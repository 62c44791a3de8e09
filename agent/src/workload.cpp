#include "workload.hpp"

#include <algorithm>
#include <functional>
#include <string>

#include "affinity.hpp"
#include "clock.hpp"
#include "plan_buffers.hpp"
#include "status.hpp"
#include "values.hpp"

namespace splitfleet {

Workload::Workload(Machine& machine, const Work& work, const ProgramSource* source, MemoryBudget& budget)
    : work_(work),
      pool_(machine.threads(work.cores)),
      values_(work.plan && work.plan->precision != Precision::fp32) {
  if (!work.backend.empty()) backend_ = &machine.backend(work.backend);
  pin_threads();
  if (work.plan) {
    if (source == nullptr) {
      throw JobError(Status::invalid_job,
                     "plan.program: the job file holds no program " + work.plan->program);
    }
    prepare_gpu(machine, *source, budget);
  }
  if (work.op && work.cut > 0) prepare_cpu(machine, budget);
  if (work.op) fill_operands();
  if (!work.op) cpu_ = backend_->prepare_empty(pool_);
}

// Anew for each job: the system may have moved a thread since the last one.
void Workload::pin_threads() {
  pin_caller();
  if (backend_ == nullptr) return;
  backend_->on_each_thread(pool_,
                           [&](int index) { pin_this_thread(work_.cores[static_cast<std::size_t>(index)]); });
}

void Workload::check_threads() {
  const std::function<void(int)> check = [&](int index) {
    const int core = work_.cores[static_cast<std::size_t>(index)];
    if (is_pinned_to(core)) return;
    throw JobError(Status::noisy, "the system moved thread " + std::to_string(index) +
                                      " of this job off CPU " + std::to_string(core) + " while it ran");
  };
  if (backend_ != nullptr) {
    backend_->on_each_thread(pool_, check);
  } else if (!work_.cores.empty()) {
    check(0);
  }
}

void Workload::prime() {
  if (gpu_) gpu_->prime();
}

void Workload::prepare_gpu(Machine& machine, const ProgramSource& source, MemoryBudget& budget) {
  const ClDevice& device = machine.require_device();
  const LaunchPlan& plan = *work_.plan;
  gpu_ = std::make_unique<GpuPlan>(device, machine.programs().get(plan.program, source), plan, work_.join,
                                   budget);
  if (!work_.op) return;
  const auto take = [&](BufferRole role, ElementType& type) {
    const std::size_t index = plan.only(role);
    type = plan.buffers[index].type;
    return &gpu_->buffer(index);
  };
  if (work_.op->has_weights()) {
    const PlanBuffer& planned = plan.buffers[plan.only(BufferRole::weights)];
    Buffer& weights = gpu_->buffer(plan.only(BufferRole::weights));
    values_.fill_weights(*work_.op, work_.cut, work_.op->out_channels - work_.cut, planned.panel,
                         {weights.map(CL_MAP_WRITE), planned.type});
    weights.unmap();
  }
  gpu_->set_up();
  input_ = take(BufferRole::input, input_type_);
  output_ = take(BufferRole::output, output_type_);
  if (work_.op->adds()) residual_ = take(BufferRole::residual, residual_type_);
  const bool is_joint = work_.kind == JobKind::coexec;
  input_layout_ = input_layout(plan, *work_.op, is_joint);
  output_layout_ = output_layout(plan, is_joint);
}

void Workload::prepare_cpu(Machine& machine, MemoryBudget& budget) {
  const Operator& whole = *work_.op;
  // Tensors that a GPU could share lie where it can: the CPU's time belongs to a runtime that splits.
  const ClDevice* device = machine.device();
  if (device != nullptr && !device->svm().fine_buffer) device = nullptr;
  const auto floats = [&](const ClDevice* where, std::int64_t count) {
    return std::make_unique<Buffer>(where, Buffer::Use::shared,
                                    static_cast<std::size_t>(count) * sizeof(float), budget);
  };
  if (!gpu_) {
    own_input_ = floats(device, whole.input_floats());
    input_ = own_input_.get();
    if (whole.adds()) own_residual_ = floats(device, whole.output_floats());
    residual_ = own_residual_.get();
    input_layout_ = whole.tight_input();
    output_layout_ = whole.tight_output();
  }
  if (!gpu_ || !output_->is_concurrent()) {
    own_output_ = floats(device, whole.output_floats());
    if (!gpu_) output_ = own_output_.get();
  }
  cpu_output_ = own_output_ ? own_output_.get() : output_;
  const Operator half = whole.first_channels(work_.cut);
  cpu_weights_ = floats(nullptr, half.weight_floats());
  if (half.has_weights()) {
    values_.fill_weights(whole, 0, work_.cut, work_.cut, {cpu_weights_->map(CL_MAP_WRITE), ElementType::f32});
  }
  cpu_ = backend_->prepare({half, cpu_weights_->map_floats(CL_MAP_READ), output_layout_.row_stride}, pool_);
}

void Workload::fill_operands() {
  values_.fill_input(*work_.op, input_layout_, {input_->map(CL_MAP_WRITE), input_type_});
  input_->unmap();
  if (residual_ == nullptr) return;
  values_.fill_residual(*work_.op, output_layout_, {residual_->map(CL_MAP_WRITE), residual_type_});
  residual_->unmap();
}

HostTimes Workload::execute() {
  HostTimes times;
  const std::int64_t start_ns = now_ns();
  // Both halves may read mapped operands; without SVM mapping them has to come before the kernels it would
  // wait for.
  if (cpu_ && input_ != nullptr) input_->map(CL_MAP_READ);
  if (cpu_ && residual_ != nullptr) residual_->map(CL_MAP_READ);
  if (gpu_) gpu_->enqueue(work_.chain_length);
  if (cpu_) {
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
  CpuTensors tensors;
  if (input_ != nullptr) tensors.input = input_->map_floats(CL_MAP_READ);
  if (residual_ != nullptr) tensors.residual = residual_->map_floats(CL_MAP_READ);
  if (cpu_output_ != nullptr) tensors.output = cpu_output_->map_floats(CL_MAP_WRITE);
  cpu_->run(tensors);
}

// Makes the whole result visible to the host. Without SVM the CPU half was computed beside it and is copied
// in.
void Workload::gather() {
  if (!output_ || output_->is_concurrent()) return;
  float* whole = output_->map_floats(CL_MAP_READ | CL_MAP_WRITE);
  if (!cpu_) return;
  const float* half = cpu_output_->map_floats(CL_MAP_READ);
  const std::int64_t stride = output_layout_.row_stride;
  for (std::int64_t row = 0; row < work_.op->rows(); ++row) {
    std::copy_n(half + row * stride, work_.cut, whole + row * stride);
  }
}

std::optional<EventTimes> Workload::settle() {
  if (!gpu_) return std::nullopt;
  const EventTimes times = gpu_->take_times();
  unmap();
  return times;
}

void Workload::settle_untimed() {
  if (gpu_) gpu_->release_events();
  unmap();
}

void Workload::unmap() {
  for (Buffer* buffer : {input_, residual_, output_}) {
    if (buffer != nullptr) buffer->unmap();
  }
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
  OutputView view;
  view.layout = output_layout_;
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

#ifdef SPLITFLEET_XNNPACK_VERSION
#include "xnnpack_backend.hpp"

#include <xnnpack.h>

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "cpu_parts.hpp"
#include "status.hpp"
#include "xnnpack_threads.hpp"

namespace splitfleet {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t kLeastFloatsPerThread = 4096;  // of an epilogue: less is not worth waking a thread

void check(xnn_status status, const char* what) {
  if (status == xnn_status_success) return;
  const auto code = std::to_string(static_cast<int>(status));
  throw JobError(status == xnn_status_out_of_memory ? Status::out_of_resources : Status::unsupported,
                 std::string("XNNPACK's ") + what + " refuses this operator (status " + code + ")");
}

// The range that XNNPACK clamps the output to. A residual is added afterwards, and so is what follows it.
struct Clamp {
  float least = -kInfinity;
  float most = kInfinity;
};

Clamp fused_clamp(Epilogue epilogue) {
  if (epilogue == Epilogue::relu) return {0.0F, kInfinity};
  if (epilogue == Epilogue::relu6) return {0.0F, 6.0F};
  return {};
}

// A window's sides as XNNPACK takes them.
struct Window {
  explicit Window(const Operator& op)
      : pad_h(static_cast<std::uint32_t>(op.pad_h)),
        pad_w(static_cast<std::uint32_t>(op.pad_w)),
        kernel_h(static_cast<std::uint32_t>(op.kernel_h)),
        kernel_w(static_cast<std::uint32_t>(op.kernel_w)),
        stride(static_cast<std::uint32_t>(op.stride)) {}
  std::uint32_t pad_h, pad_w, kernel_h, kernel_w, stride;
};

// XNNPACK wants [out_channels, depth]; the agent has [depth, out_channels].
std::vector<float> transposed(const CpuTask& task) {
  const std::int64_t depth = task.op.depth();
  const std::int64_t channels = task.op.out_channels;
  std::vector<float> result(static_cast<std::size_t>(depth * channels));
  for (std::int64_t k = 0; k < depth; ++k) {
    for (std::int64_t o = 0; o < channels; ++o) {
      result[static_cast<std::size_t>(o * depth + k)] = task.weights[k * channels + o];
    }
  }
  return result;
}

class XnnpackOperator : public CpuOperator {
 public:
  XnnpackOperator(const CpuTask& task, const XnnpackThreads& threads) : task_(task), threads_(threads) {
    create();
  }
  ~XnnpackOperator() override { xnn_delete_operator(operator_); }
  XnnpackOperator(const XnnpackOperator&) = delete;
  XnnpackOperator& operator=(const XnnpackOperator&) = delete;

  void run(const CpuTensors& tensors) override {
    // Setting up costs as much as a small operator: only when the memory is another one.
    if (tensors.input != input_ || tensors.output != output_) set_up(tensors);
    check(xnn_run_operator(operator_, threads_.pool()), "run");
    if (task_.op.adds()) add_residual(tensors);
  }

 private:
  void create() {
    switch (task_.op.kind) {
      case OperatorKind::dense:
        return task_.op.is_product() ? create_product() : create_convolution();
      case OperatorKind::depthwise:
        return create_depthwise();
      case OperatorKind::max_pool:
        return create_max_pool();
      case OperatorKind::avg_pool:
        return create_avg_pool();
    }
  }

  void create_product() {
    check(xnn_create_fully_connected_nc_f32(in_channels(), out_channels(), in_channels(), stride(),
                                            task_.weights, nullptr, clamp_.least, clamp_.most,
                                            kFlags | XNN_FLAG_TRANSPOSE_WEIGHTS, &operator_),
          "fully connected");
  }

  void create_convolution() {
    const std::vector<float> weights = transposed(task_);
    create_window(1, in_channels(), out_channels(), in_channels(), weights.data(), kFlags);
  }

  void create_depthwise() {
    create_window(static_cast<std::uint32_t>(task_.op.out_channels), 1, 1, stride(), task_.weights,
                  kFlags | XNN_FLAG_DEPTHWISE_CONVOLUTION);
  }

  void create_window(std::uint32_t groups, std::size_t group_in, std::size_t group_out,
                     std::size_t input_stride, const float* weights, std::uint32_t flags) {
    check(xnn_create_convolution2d_nhwc_f32(
              window_.pad_h, window_.pad_w, window_.pad_h, window_.pad_w, window_.kernel_h, window_.kernel_w,
              window_.stride, window_.stride, 1, 1, groups, group_in, group_out, input_stride, stride(),
              weights, nullptr, clamp_.least, clamp_.most, flags, &operator_),
          "convolution");
  }

  void create_max_pool() {
    check(xnn_create_max_pooling2d_nhwc_f32(window_.pad_h, window_.pad_w, window_.pad_h, window_.pad_w,
                                            window_.kernel_h, window_.kernel_w, window_.stride,
                                            window_.stride, 1, 1, out_channels(), stride(), stride(),
                                            clamp_.least, clamp_.most, kFlags, &operator_),
          "max pooling");
  }

  void create_avg_pool() {
    check(xnn_create_average_pooling2d_nhwc_f32(window_.pad_h, window_.pad_w, window_.pad_h, window_.pad_w,
                                                window_.kernel_h, window_.kernel_w, window_.stride,
                                                window_.stride, out_channels(), stride(), stride(),
                                                clamp_.least, clamp_.most, kFlags, &operator_),
          "average pooling");
  }

  void set_up(const CpuTensors& tensors) {
    const auto height = static_cast<std::size_t>(task_.op.height);
    const auto width = static_cast<std::size_t>(task_.op.width);
    const float* input = tensors.input;
    float* output = tensors.output;
    const pthreadpool_t pool = threads_.pool();
    xnn_status status = xnn_status_success;
    if (task_.op.kind == OperatorKind::max_pool) {
      status = xnn_setup_max_pooling2d_nhwc_f32(operator_, 1, height, width, input, output, pool);
    } else if (task_.op.kind == OperatorKind::avg_pool) {
      status = xnn_setup_average_pooling2d_nhwc_f32(operator_, 1, height, width, input, output, pool);
    } else if (task_.op.is_product()) {
      const auto rows = static_cast<std::size_t>(task_.op.rows());
      status = xnn_setup_fully_connected_nc_f32(operator_, rows, input, output, pool);
    } else {
      status = xnn_setup_convolution2d_nhwc_f32(operator_, 1, height, width, input, output, pool);
    }
    check(status, "set-up");
    input_ = input;
    output_ = output;
  }

  void add_residual(const CpuTensors& tensors) {
    const std::int64_t parts =
        std::clamp<std::int64_t>(task_.op.output_floats() / kLeastFloatsPerThread, 1, threads_.size());
    threads_.run(
        [&](int index) {
          const Range rows = share(task_.op.rows(), 1, index, static_cast<int>(parts));
          apply_epilogue(task_, tensors, rows, {0, task_.op.out_channels});
        },
        static_cast<int>(parts));
  }

  std::size_t in_channels() const { return static_cast<std::size_t>(task_.op.in_channels); }
  std::size_t out_channels() const { return static_cast<std::size_t>(task_.op.out_channels); }
  std::size_t stride() const { return static_cast<std::size_t>(task_.row_stride); }

  static constexpr std::uint32_t kFlags = XNN_FLAG_YIELD_WORKERS;

  CpuTask task_;
  const XnnpackThreads& threads_;
  const Clamp clamp_ = fused_clamp(task_.op.epilogue);
  const Window window_ = Window(task_.op);
  xnn_operator_t operator_ = nullptr;
  const float* input_ = nullptr;
  float* output_ = nullptr;
};

class EmptyOperator : public CpuOperator {
 public:
  explicit EmptyOperator(const XnnpackThreads& threads) : threads_(threads) {}

  void run(const CpuTensors&) override {
    threads_.run([](int) {}, threads_.size());
  }

 private:
  const XnnpackThreads& threads_;
};

class XnnpackBackend : public CpuBackend {
 public:
  ~XnnpackBackend() override {
    if (is_initialized_) xnn_deinitialize();
  }
  std::string name() const override { return "xnnpack"; }
  std::string version() const override { return std::string("xnnpack-") + SPLITFLEET_XNNPACK_VERSION; }
  std::unique_ptr<CpuOperator> prepare(const CpuTask& task, ThreadPool& pool) override {
    initialize();
    return std::make_unique<XnnpackOperator>(task, threads(pool));
  }
  std::unique_ptr<CpuOperator> prepare_empty(ThreadPool& pool) override {
    return std::make_unique<EmptyOperator>(threads(pool));
  }
  void on_each_thread(ThreadPool& pool, const std::function<void(int)>& body) override {
    threads(pool).on_each(body);
  }

 private:
  // Not when the agent starts: it asks the processor for its abilities, and not every job needs it.
  void initialize() {
    if (is_initialized_) return;
    check(xnn_initialize(nullptr), "xnn_initialize");
    is_initialized_ = true;
  }
  const XnnpackThreads& threads(const ThreadPool& pool) {
    std::unique_ptr<XnnpackThreads>& threads = threads_[pool.cores()];
    if (!threads) threads = std::make_unique<XnnpackThreads>(pool.cores());
    return *threads;
  }

  bool is_initialized_ = false;
  std::map<std::vector<int>, std::unique_ptr<XnnpackThreads>> threads_;
};

}  // namespace

std::unique_ptr<CpuBackend> make_xnnpack_backend() {
  return std::make_unique<XnnpackBackend>();
}

}  // namespace splitfleet
#endif

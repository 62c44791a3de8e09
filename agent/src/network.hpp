// A network as the job file carries it: tensors, and nodes in an order in which they can be computed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fields.hpp"
#include "launch_plan.hpp"
#include "operator.hpp"

namespace splitfleet {

struct NetworkTensor {
  std::int64_t floats = 0;
  bool is_given = false;  // an input or a constant: filled with values, and written by no node
};

enum class GlueKind { copy, add, mul, softmax, layer_norm, gelu, matmul };

// What joins operators: computed by the agent on the CPU, in every variant.
struct Glue {
  GlueKind kind = GlueKind::copy;
  // copy: an n-dimensional box. matmul: batch, m, k, n. softmax, layer_norm: rows, columns. Else the count.
  std::vector<std::int64_t> sizes;
  std::vector<std::int64_t> from_strides;  // copy
  std::vector<std::int64_t> to_strides;    // copy
  std::int64_t from_offset = 0;            // copy
  std::int64_t to_offset = 0;              // copy
  std::int64_t period = 1;                 // add, mul: floats of the second input, which repeats
  double epsilon = 0.0;                    // layer_norm
  bool transpose_b = false;                // matmul
};

struct NetworkNode {
  std::optional<Operator> op;  // else `glue`
  Glue glue;
  std::vector<std::size_t> inputs;  // of an operator: the input, and the residual where it adds
  std::size_t output = 0;
  std::size_t gpu_plan = 0;    // an operator's whole on the GPU
  std::size_t split_plan = 0;  // its channels from `cut` on, where it is split
  std::int64_t cut = 0;        // in the variant `split`: the CPU computes channels [0, cut)
  std::int64_t threads = 1;    // of that half
};

// The program and the kernel by which a queue can wait for the host (kernels/sources/await_host.cl).
struct GateKernel {
  std::string program;
  std::string kernel;
};

struct Network {
  std::vector<NetworkTensor> tensors;
  std::vector<LaunchPlan> plans;
  std::vector<NetworkNode> nodes;
  std::optional<GateKernel> gate;
  double tolerance = 0.0;  // of max |tensor - all-CPU's| / max |all-CPU's|
};

// `threads`: of the job, the most that a half may use. Throws JobError(invalid_job) that names the faulty
// field.
Network parse_network(const Fields& fields, std::int64_t threads);

}  // namespace splitfleet

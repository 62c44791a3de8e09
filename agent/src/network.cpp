#include "network.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "plan_buffers.hpp"
#include "split_decisions.hpp"
#include "status.hpp"

namespace splitfleet {
namespace {

constexpr std::size_t kMaxTensors = 8192;
constexpr std::size_t kMaxNodes = 4096;
constexpr std::size_t kMaxPlans = 2048;
constexpr std::size_t kMaxRank = 6;
constexpr std::size_t kMaxGateName = 200;
constexpr std::int64_t kMaxFloats = std::int64_t{1} << 31;
constexpr double kMaxTolerance = 0.1;
constexpr const char* kGlueNames[] = {"copy", "add", "mul", "softmax", "layer_norm", "gelu", "matmul"};

[[noreturn]] void refuse(const Fields& fields, const char* name, const std::string& what) {
  throw JobError(Status::invalid_job, fields.path(name) + ": " + what);
}

std::vector<std::int64_t> parse_numbers(const Fields& fields, const char* name, std::int64_t least,
                                        std::size_t most_items) {
  std::vector<std::int64_t> numbers;
  for (const Json& item : fields.array(name, most_items))
    numbers.push_back(checked_integer(item, fields.path(name), least, kMaxFloats));
  return numbers;
}

std::int64_t product(const Fields& fields, const std::vector<std::int64_t>& sizes) {
  std::int64_t floats = 1;
  for (const std::int64_t size : sizes) {
    if (floats > kMaxFloats / size) refuse(fields, "sizes", "more than 2^31 numbers");
    floats *= size;
  }
  return floats;
}

// Reads nodes, each of which may use what the ones before it have made.
class NetworkReader {
 public:
  NetworkReader(Network& network, std::int64_t threads, const std::optional<SplitDecisions>& decisions)
      : network_(network), threads_(threads), decisions_(decisions), is_made_(network.tensors.size()) {
    for (std::size_t i = 0; i < is_made_.size(); ++i) is_made_[i] = network.tensors[i].is_given;
  }

  void read(const Fields& fields) {
    NetworkNode node;
    const bool is_operator = fields.has("operator");
    for (const std::int64_t input : parse_numbers(fields, "inputs", 0, 2)) {
      node.inputs.push_back(tensor(fields, "inputs", input));
      if (!is_made_[node.inputs.back()]) refuse(fields, "inputs", "a tensor that nothing has made yet");
    }
    node.output = tensor(fields, "output", fields.integer("output", 0, kMaxFloats));
    if (network_.tensors[node.output].is_given) refuse(fields, "output", "an input or a constant");
    if (node.inputs.empty()) refuse(fields, "inputs", "empty");
    for (const std::size_t input : node.inputs) {
      if (input == node.output) refuse(fields, "output", "an input of the same node");
    }
    if (is_operator) {
      read_operator(fields, node);
    } else {
      read_glue(fields, node);
    }
    is_made_[node.output] = true;
    network_.nodes.push_back(std::move(node));
  }

 private:
  std::size_t tensor(const Fields& fields, const char* name, std::int64_t index) const {
    if (static_cast<std::size_t>(index) >= network_.tensors.size()) refuse(fields, name, "no such tensor");
    return static_cast<std::size_t>(index);
  }

  void demand(const Fields& fields, const char* name, std::size_t index, std::int64_t floats) const {
    if (network_.tensors[index].floats < floats)
      refuse(fields, name, "a tensor of fewer than " + std::to_string(floats) + " numbers");
  }

  void read_operator(const Fields& fields, NetworkNode& node) {
    node.op = parse_operator(fields.object("operator"));
    const Operator& op = *node.op;
    if (node.inputs.size() != (op.adds() ? 2U : 1U))
      refuse(fields, "inputs", "as many as the operator takes");
    demand(fields, "inputs", node.inputs[0], op.input_floats());
    if (op.adds()) demand(fields, "inputs", node.inputs[1], op.output_floats());
    demand(fields, "output", node.output, op.output_floats());
    node.gpu_plan = plan(fields, "gpu", node, 0);
    if (fields.has("cut")) {
      node.cut = fields.integer("cut", 0, op.out_channels);
      node.threads = node.cut > 0 ? fields.integer("threads", 1, threads_) : 1;
    } else {
      decide(fields, node);
    }
    if (0 < node.cut && node.cut < op.out_channels) node.split_plan = plan(fields, "split", node, node.cut);
  }

  void decide(const Fields& fields, NetworkNode& node) const {
    if (!decisions_) refuse(fields, "cut", "missing, and the job has no split_table");
    const SplitDecisions::Way way = decisions_->find(*node.op, fields.object("operator"));
    node.cut = way.cut;
    node.threads = std::clamp(way.threads, std::int64_t{1}, threads_);
  }

  std::size_t plan(const Fields& fields, const char* name, const NetworkNode& node, std::int64_t cut) const {
    const std::int64_t index = fields.integer(name, 0, static_cast<std::int64_t>(kMaxPlans));
    if (static_cast<std::size_t>(index) >= network_.plans.size()) refuse(fields, name, "no such plan");
    const LaunchPlan& plan = network_.plans[static_cast<std::size_t>(index)];
    check_plan_buffers(plan, *node.op, cut, true);
    const auto fits = [&](BufferRole role, std::size_t tensor) {
      demand(fields, name, tensor, plan.buffers[plan.only(role)].elements());
    };
    fits(BufferRole::input, node.inputs[0]);
    fits(BufferRole::output, node.output);
    if (node.op->adds()) fits(BufferRole::residual, node.inputs[1]);
    return static_cast<std::size_t>(index);
  }

  void read_glue(const Fields& fields, NetworkNode& node) {
    Glue& glue = node.glue;
    glue.kind = static_cast<GlueKind>(fields.one_of("glue", kGlueNames));
    glue.sizes = parse_numbers(fields, "sizes", 1, kMaxRank);
    const std::int64_t count = product(fields, glue.sizes);
    const bool is_binary =
        glue.kind == GlueKind::add || glue.kind == GlueKind::mul || glue.kind == GlueKind::matmul;
    if (node.inputs.size() != (is_binary ? 2U : 1U)) refuse(fields, "inputs", "as many as this glue takes");
    if (glue.kind == GlueKind::copy) return read_copy(fields, node);
    if (glue.kind == GlueKind::matmul) return read_matmul(fields, node);
    const bool has_rows = glue.kind == GlueKind::softmax || glue.kind == GlueKind::layer_norm;
    if (glue.sizes.size() != (has_rows ? 2U : 1U)) refuse(fields, "sizes", "rows and columns, or one count");
    demand(fields, "inputs", node.inputs[0], count);
    demand(fields, "output", node.output, count);
    if (glue.kind == GlueKind::layer_norm) glue.epsilon = fields.number("epsilon", 0.0, 1.0);
    if (!is_binary) return;
    glue.period = fields.integer("period", 1, count);
    demand(fields, "inputs", node.inputs[1], glue.period);
  }

  void read_matmul(const Fields& fields, NetworkNode& node) const {
    const std::vector<std::int64_t>& sizes = node.glue.sizes;
    if (sizes.size() != 4) refuse(fields, "sizes", "batch, m, k and n");
    node.glue.transpose_b = fields.flag_or("transpose_b", false);
    demand(fields, "inputs", node.inputs[0], sizes[0] * sizes[1] * sizes[2]);
    demand(fields, "inputs", node.inputs[1], sizes[0] * sizes[2] * sizes[3]);
    demand(fields, "output", node.output, sizes[0] * sizes[1] * sizes[3]);
  }

  void read_copy(const Fields& fields, NetworkNode& node) const {
    Glue& glue = node.glue;
    glue.from_strides = parse_numbers(fields, "from_strides", 0, kMaxRank);
    glue.to_strides = parse_numbers(fields, "to_strides", 0, kMaxRank);
    glue.from_offset = fields.integer("from_offset", 0, kMaxFloats);
    glue.to_offset = fields.integer("to_offset", 0, kMaxFloats);
    if (glue.sizes.empty() || glue.from_strides.size() != glue.sizes.size() ||
        glue.to_strides.size() != glue.sizes.size()) {
      refuse(fields, "sizes", "as many as strides are expected");
    }
    // Sizes and strides are at most 2^31: no product of two can overflow, nor the sum of six of them.
    std::int64_t from = glue.from_offset + 1;
    std::int64_t to = glue.to_offset + 1;
    for (std::size_t i = 0; i < glue.sizes.size(); ++i) {
      from =
          std::min(from + (glue.sizes[i] - 1) * std::min(glue.from_strides[i], kMaxFloats), 2 * kMaxFloats);
      to = std::min(to + (glue.sizes[i] - 1) * std::min(glue.to_strides[i], kMaxFloats), 2 * kMaxFloats);
    }
    demand(fields, "inputs", node.inputs[0], from);
    demand(fields, "output", node.output, to);
  }

  Network& network_;
  std::int64_t threads_;
  const std::optional<SplitDecisions>& decisions_;
  std::vector<bool> is_made_;
};

}  // namespace

Network parse_network(const Fields& fields, std::int64_t threads) {
  Network network;
  network.tolerance = fields.number("tolerance", 0.0, kMaxTolerance);
  for (const Json& item : fields.array("tensors", kMaxTensors)) {
    const Fields tensor(item, fields.path("tensors[" + std::to_string(network.tensors.size()) + "]"));
    network.tensors.push_back({tensor.integer("floats", 1, kMaxFloats), tensor.flag_or("given", false)});
  }
  for (const Json& item : fields.array("plans", kMaxPlans)) {
    network.plans.push_back(
        parse_launch_plan(Fields(item, fields.path("plans[" + std::to_string(network.plans.size()) + "]"))));
  }
  if (fields.has("gate")) {
    const Fields gate = fields.object("gate");
    network.gate = GateKernel{gate.text("program", kMaxGateName), gate.text("kernel", kMaxGateName)};
  }
  std::optional<SplitDecisions> decisions;
  if (fields.has("split_table")) decisions.emplace(fields);
  NetworkReader reader(network, threads, decisions);
  for (const Json& item : fields.array("nodes", kMaxNodes))
    reader.read(Fields(item, fields.path("nodes[" + std::to_string(network.nodes.size()) + "]")));
  if (network.nodes.empty()) throw JobError(Status::invalid_job, fields.path("nodes") + ": empty");
  return network;
}

}  // namespace splitfleet

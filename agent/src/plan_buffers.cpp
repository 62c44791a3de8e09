#include "plan_buffers.hpp"

#include <string>

#include "status.hpp"

namespace splitfleet {
namespace {

void demand(bool holds, const std::string& what) {
  if (!holds) throw JobError(Status::invalid_job, "plan.buffers: " + what);
}

bool holds(const PlanBuffer& buffer, const Layout& layout, std::int64_t rows, std::int64_t columns) {
  const std::int64_t spare = buffer.elements() - layout.column_offset - columns;
  return spare >= 0 && rows - 1 <= spare / layout.row_stride;
}

void check_shared(const PlanBuffer& buffer) {
  demand(buffer.type == ElementType::f32,
         buffer.name + " is shared with the CPU in a joint execution, so it must be f32");
}

void check_weights(const PlanBuffer& weights, std::int64_t depth, std::int64_t channels) {
  // In this order no product can overflow: a panel that passes the first check is no larger than the buffer.
  demand(weights.panel <= weights.elements() &&
             (channels + weights.panel - 1) / weights.panel <= weights.elements() / weights.panel / depth,
         "the weights buffer is smaller than the operator's packed weights");
}

}  // namespace

Layout output_layout(const LaunchPlan& plan, bool is_joint) {
  const PlanBuffer& output = plan.buffers[plan.only(BufferRole::output)];
  return {output.row_stride, is_joint ? 0 : output.column_offset};
}

Layout input_layout(const LaunchPlan& plan, const Operator& op, bool is_joint) {
  return op.is_channelwise() ? output_layout(plan, is_joint) : op.tight_input();
}

void check_plan_buffers(const LaunchPlan& plan, const Operator& op, std::int64_t cut, bool is_joint) {
  const std::int64_t channels = op.out_channels - cut;
  const PlanBuffer& input = plan.buffers[plan.only(BufferRole::input)];
  const PlanBuffer& output = plan.buffers[plan.only(BufferRole::output)];
  demand(output.column_offset + channels <= output.row_stride,
         "the output's columns do not fit into its row_stride");
  demand(!is_joint || (output.column_offset == cut && output.row_stride == op.out_channels),
         "the output of a joint execution needs row_stride = the whole operator's channels and column_offset "
         "= cut");
  const Layout layout = output_layout(plan, is_joint);
  const std::int64_t visible = is_joint ? op.out_channels : channels;
  demand(holds(input, input_layout(plan, op, is_joint), op.pixels(), op.in_channels),
         "the input buffer is smaller than the operator's input");
  demand(holds(output, layout, op.rows(), visible),
         "the output buffer is smaller than the operator's output");
  if (op.has_weights()) check_weights(plan.buffers[plan.only(BufferRole::weights)], op.depth(), channels);
  if (is_joint) check_shared(input);
  if (is_joint) check_shared(output);
  if (!op.adds()) return;
  const PlanBuffer& residual = plan.buffers[plan.only(BufferRole::residual)];
  demand(holds(residual, layout, op.rows(), visible),
         "the residual buffer is smaller than the operator's output");
  if (is_joint) check_shared(residual);
}

}  // namespace splitfleet

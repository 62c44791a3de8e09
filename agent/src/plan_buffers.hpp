// What a plan's buffers must hold for an operator.
#pragma once

#include "launch_plan.hpp"
#include "operator.hpp"

namespace splitfleet {

// The plan computes channels [cut, out_channels) of `op`; in a joint execution the CPU writes the others into
// the same output. Throws JobError(invalid_job) when a buffer is missing, too small or of the wrong type.
void check_plan_buffers(const LaunchPlan& plan, const Operator& op, std::int64_t cut, bool is_joint);

// Where the operands and the output lie that the host fills and reads. A joint execution has the whole
// tensors, another one the operator's columns within the plan's row stride.
Layout output_layout(const LaunchPlan& plan, bool is_joint);
Layout input_layout(const LaunchPlan& plan, const Operator& op, bool is_joint);

}  // namespace splitfleet

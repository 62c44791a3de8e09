// A launch plan as the job file carries it: what to launch, on which buffers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "elements.hpp"
#include "fields.hpp"
#include "memory.hpp"

namespace splitfleet {

enum class BufferRole { input, weights, zeros, output, scratch, payload, residual };
enum class Precision { fp32, fp16, fp16_fp32 };

struct PlanBuffer {
  std::string name;
  BufferRole role = BufferRole::scratch;
  ElementType type = ElementType::f32;
  std::size_t bytes = 0;
  std::int64_t panel = 0;           // weights only
  std::int64_t row_stride = 0;      // output only, in elements
  std::int64_t column_offset = 0;   // output only, in elements
  std::optional<ImageShape> image;  // scratch only; `bytes` is what its texels take

  std::int64_t elements() const { return static_cast<std::int64_t>(bytes / bytes_of(type)); }
};

struct PlanArgument {
  enum class Kind { buffer, integer, signal, sequence };
  Kind kind = Kind::integer;
  std::size_t buffer = 0;  // index into LaunchPlan::buffers
  std::int32_t value = 0;
};

struct PlanLaunch {
  std::string kernel;
  std::vector<std::size_t> global;
  std::vector<std::size_t> local;
  std::vector<PlanArgument> arguments;
};

struct LaunchPlan {
  std::string program;
  Precision precision = Precision::fp32;
  double tolerance = 0.0;  // the largest acceptable max |output - reference| / max |reference|
  std::vector<PlanBuffer> buffers;
  std::vector<PlanLaunch> setup;  // once, before the first execution
  std::vector<PlanLaunch> launches;
  std::uint32_t signals = 0;

  // Index of the only buffer of that role; throws JobError(invalid_job) when there is none or more than one.
  std::size_t only(BufferRole role) const;
};

// Throws JobError(invalid_job) that names the faulty field.
LaunchPlan parse_launch_plan(const Fields& fields);

}  // namespace splitfleet

#include "launch_plan.hpp"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "status.hpp"

namespace splitfleet {
namespace {

constexpr std::size_t kMaxName = 256;
constexpr std::int64_t kPlanSchema = 2;
constexpr std::int64_t kMaxBytes = std::int64_t{1} << 42;
constexpr std::int64_t kMaxStride = std::int64_t{1} << 32;
constexpr double kDefaultTolerance = 1e-4;
constexpr double kMaxTolerance = 0.1;
constexpr std::int64_t kMaxImageSide = 1 << 20;
constexpr std::size_t kMaxLaunches = 64;
constexpr const char* kRoleNames[] = {"input",   "weights", "zeros",   "output",
                                      "scratch", "payload", "residual"};
constexpr const char* kTypeNames[] = {"f32", "f16"};
constexpr const char* kPrecisionNames[] = {"fp32", "fp16", "fp16_fp32"};

ImageShape parse_image(const Fields& fields, const PlanBuffer& buffer) {
  if (buffer.role != BufferRole::scratch) {
    throw JobError(Status::invalid_job, fields.path("image") + ": only a scratch buffer may be an image");
  }
  std::vector<std::size_t> sides;
  for (const Json& side : fields.array("image", 2)) {
    sides.push_back(static_cast<std::size_t>(checked_integer(side, fields.path("image"), 1, kMaxImageSide)));
  }
  if (sides.size() != 2) throw JobError(Status::invalid_job, fields.path("image") + ": [width, height]");
  return {sides[0], sides[1]};
}

PlanBuffer parse_buffer(const Fields& fields) {
  PlanBuffer buffer;
  buffer.name = fields.text("name", kMaxName);
  buffer.role = static_cast<BufferRole>(fields.one_of("role", kRoleNames));
  if (fields.has("type")) buffer.type = static_cast<ElementType>(fields.one_of("type", kTypeNames));
  if (fields.has("image")) {
    buffer.image = parse_image(fields, buffer);
    buffer.bytes = buffer.image->bytes(buffer.type);
    return buffer;
  }
  buffer.bytes = static_cast<std::size_t>(fields.integer("bytes", 2, kMaxBytes));
  if (buffer.role == BufferRole::weights) buffer.panel = fields.integer("panel", 1, kMaxStride);
  if (buffer.role == BufferRole::output) {
    buffer.row_stride = fields.integer("row_stride", 1, kMaxStride);
    buffer.column_offset = fields.integer("column_offset", 0, kMaxStride);
  }
  return buffer;
}

PlanArgument parse_argument(const Fields& fields, const std::vector<PlanBuffer>& buffers) {
  PlanArgument argument;
  if (fields.has("buffer")) {
    const std::string name = fields.text("buffer", kMaxName);
    const auto found = std::find_if(buffers.begin(), buffers.end(),
                                    [&](const PlanBuffer& buffer) { return buffer.name == name; });
    if (found == buffers.end()) {
      throw JobError(Status::invalid_job,
                     fields.path("buffer") + ": no buffer is named " + one_line(name, 40));
    }
    argument.kind = PlanArgument::Kind::buffer;
    argument.buffer = static_cast<std::size_t>(found - buffers.begin());
  } else if (fields.has("i32")) {
    argument.value = static_cast<std::int32_t>(fields.integer("i32", std::numeric_limits<std::int32_t>::min(),
                                                              std::numeric_limits<std::int32_t>::max()));
  } else if (fields.flag_or("signal", false)) {
    argument.kind = PlanArgument::Kind::signal;
  } else if (fields.flag_or("sequence", false)) {
    argument.kind = PlanArgument::Kind::sequence;
  } else {
    throw JobError(Status::invalid_job, fields.path("") + " is no buffer, i32, signal or sequence");
  }
  return argument;
}

std::vector<std::size_t> parse_sizes(const Fields& fields, const char* name) {
  std::vector<std::size_t> sizes;
  for (const Json& item : fields.array(name, 3)) {
    sizes.push_back(static_cast<std::size_t>(
        checked_integer(item, fields.path(name), 1, std::numeric_limits<std::int32_t>::max())));
  }
  return sizes;
}

PlanLaunch parse_launch(const Fields& fields, const std::vector<PlanBuffer>& buffers) {
  PlanLaunch launch;
  launch.kernel = fields.text("kernel", kMaxName);
  launch.global = parse_sizes(fields, "global");
  launch.local = parse_sizes(fields, "local");
  if (launch.global.empty() || launch.global.size() != launch.local.size()) {
    throw JobError(Status::invalid_job,
                   fields.path("local") + ": as many sizes as in global are expected, 1 to 3");
  }
  for (std::size_t i = 0; i < launch.global.size(); ++i) {
    if (launch.global[i] % launch.local[i] != 0) {
      throw JobError(Status::invalid_job, fields.path("global") + ": no multiple of local");
    }
  }
  std::size_t index = 0;
  for (const Json& item : fields.array("args", 64)) {
    const Fields argument(item, fields.path("args[" + std::to_string(index++) + "]"));
    launch.arguments.push_back(parse_argument(argument, buffers));
  }
  return launch;
}

std::vector<PlanLaunch> parse_launches(const Fields& fields, const char* name,
                                       const std::vector<PlanBuffer>& buffers) {
  std::vector<PlanLaunch> launches;
  for (const Json& item : fields.array(name, kMaxLaunches)) {
    const Fields launch(item, fields.path(name + ("[" + std::to_string(launches.size()) + "]")));
    launches.push_back(parse_launch(launch, buffers));
  }
  return launches;
}

}  // namespace

std::size_t LaunchPlan::only(BufferRole role) const {
  const auto has_role = [&](const PlanBuffer& buffer) { return buffer.role == role; };
  if (std::count_if(buffers.begin(), buffers.end(), has_role) != 1) {
    throw JobError(Status::invalid_job, std::string("plan.buffers: exactly one buffer of role ") +
                                            kRoleNames[static_cast<int>(role)] + " is expected");
  }
  return static_cast<std::size_t>(std::find_if(buffers.begin(), buffers.end(), has_role) - buffers.begin());
}

LaunchPlan parse_launch_plan(const Fields& fields) {
  LaunchPlan plan;
  fields.integer("schema", 1, kPlanSchema);
  plan.program = fields.text("program", kMaxName);
  if (fields.has("precision"))
    plan.precision = static_cast<Precision>(fields.one_of("precision", kPrecisionNames));
  plan.tolerance =
      fields.has("tolerance") ? fields.number("tolerance", 0.0, kMaxTolerance) : kDefaultTolerance;
  std::size_t index = 0;
  for (const Json& item : fields.array("buffers", 64)) {
    plan.buffers.push_back(
        parse_buffer(Fields(item, fields.path("buffers[" + std::to_string(index++) + "]"))));
  }
  if (fields.has("setup")) plan.setup = parse_launches(fields, "setup", plan.buffers);
  plan.launches = parse_launches(fields, "launches", plan.buffers);
  if (plan.launches.empty()) throw JobError(Status::invalid_job, fields.path("launches") + ": empty");
  plan.signals =
      static_cast<std::uint32_t>(fields.integer("signals", 0, std::numeric_limits<std::int32_t>::max()));
  return plan;
}

}  // namespace splitfleet

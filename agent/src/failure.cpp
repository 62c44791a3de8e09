#include "failure.hpp"

#include <nlohmann/json.hpp>

namespace splitfleet {
namespace {

constexpr std::size_t kMaxError = 700;

}  // namespace

Json failure(const JobLine& line, Status status, const std::string& error) {
  const bool has_kind = line.body.is_object() && line.body.contains("kind") && line.body["kind"].is_string();
  return {{"type", "result"},
          {"schema", kResultSchema},
          {"id", line.id},
          {"kind", has_kind ? line.body["kind"] : Json()},
          {"status", status_name(status)},
          {"error", one_line(error, kMaxError)}};
}

}  // namespace splitfleet

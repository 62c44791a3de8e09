#include "json.hpp"

#include <nlohmann/json.hpp>

#include "status.hpp"

namespace splitfleet {
namespace {

constexpr int kMaxDepth = 32;

}  // namespace

Json parse_json(const std::string& text) {
  // Values that nest as deep as somebody likes would exhaust the stack where they are copied or printed.
  return Json::parse(text, [](int depth, Json::parse_event_t, const Json&) {
    if (depth > kMaxDepth) throw JobError(Status::invalid_job, "values nest deeper than 32 levels");
    return true;
  });
}

std::string to_line(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string one_line(const std::string& text, std::size_t limit) {
  std::string line;
  for (const char c : text) {
    if (line.size() >= limit) return line + " ...";
    if (c == '\n') {
      if (!line.empty() && line.back() != ' ') line += " | ";
    } else if (static_cast<unsigned char>(c) >= ' ') {
      line += c;
    }
  }
  while (!line.empty() && (line.back() == ' ' || line.back() == '|')) line.pop_back();
  return line;
}

}  // namespace splitfleet

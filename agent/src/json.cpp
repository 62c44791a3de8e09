#include "json.hpp"

#include <nlohmann/json.hpp>

namespace splitfleet {

Json parse_json(const std::string& text) {
  return Json::parse(text);
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

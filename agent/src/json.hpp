// JSON with keys in the order in which they were written, so that lines read as the format documents them.
// Only declared here: the library's full header doubles the time a file takes to compile.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace splitfleet {

using Json = nlohmann::ordered_json;

// The value that a text holds. Throws Json::parse_error, which says where the text goes wrong, or JobError
// for one that nests deeper than 32 levels.
Json parse_json(const std::string& text);

// One line of text; bytes that are not UTF-8 (a driver's build log may hold some) are replaced.
std::string to_line(const Json& value);

// The first `limit` bytes of a text of several lines, as one line.
std::string one_line(const std::string& text, std::size_t limit);

}  // namespace splitfleet

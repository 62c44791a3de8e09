#include "fields.hpp"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "status.hpp"

namespace splitfleet {
namespace {

constexpr std::size_t kMaxChoice = 256;

[[noreturn]] void refuse_at(const std::string& where, const std::string& what) {
  throw JobError(Status::invalid_job, where + ": " + what);
}

std::string shown(const Json& value) {
  return one_line(to_line(value), 40);
}

}  // namespace

Fields::Fields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
  if (!object.is_object()) refuse_at(where_.empty() ? "line" : where_, "an object is expected");
}

bool Fields::has(const char* name) const {
  return object_.contains(name);
}

std::int64_t Fields::integer(const char* name, std::int64_t least, std::int64_t most) const {
  return checked_integer(field(name), path(name), least, most);
}

double Fields::number(const char* name, double least, double most) const {
  const Json& value = field(name);
  if (!value.is_number()) refuse(name, "a number is expected, not " + shown(value));
  const double number = value.get<double>();
  if (!(number >= least && number <= most)) {
    refuse(name, shown(value) + " is outside " + std::to_string(least) + " to " + std::to_string(most));
  }
  return number;
}

bool Fields::flag_or(const char* name, bool absent) const {
  if (!has(name)) return absent;
  const Json& value = field(name);
  if (!value.is_boolean()) refuse(name, "true or false is expected, not " + shown(value));
  return value.get<bool>();
}

std::string Fields::text(const char* name, std::size_t most_bytes) const {
  const Json& value = field(name);
  if (!value.is_string()) refuse(name, "a text is expected, not " + shown(value));
  std::string text = value.get<std::string>();
  if (text.size() > most_bytes)
    refuse(name, "the text is longer than " + std::to_string(most_bytes) + " bytes");
  return text;
}

std::size_t Fields::one_of(const char* name, const char* const* choices, std::size_t count) const {
  const std::string text = this->text(name, kMaxChoice);
  const auto* found = std::find(choices, choices + count, text);
  if (found != choices + count) return static_cast<std::size_t>(found - choices);
  std::string expected;
  for (std::size_t i = 0; i < count; ++i) expected += (i == 0 ? "" : ", ") + std::string(choices[i]);
  refuse(name, one_line(text, 40) + " is none of " + expected);
}

Fields Fields::object(const char* name) const {
  return Fields(field(name), path(name));
}

const Json& Fields::array(const char* name, std::size_t most_items) const {
  const Json& value = field(name);
  if (!value.is_array()) refuse(name, "a list is expected, not " + shown(value));
  if (value.size() > most_items) refuse(name, "more than " + std::to_string(most_items) + " items");
  return value;
}

const Json& Fields::field(const char* name) const {
  const auto found = object_.find(name);
  if (found == object_.end()) refuse(name, "missing");
  return *found;
}

void Fields::refuse(const char* name, const std::string& what) const {
  refuse_at(path(name), what);
}

std::int64_t checked_integer(const Json& value, const std::string& where, std::int64_t least,
                             std::int64_t most) {
  if (!value.is_number_integer()) refuse_at(where, "an integer is expected, not " + shown(value));
  // An unsigned number past the signed range would wrap around when read as signed.
  const bool too_large =
      value.is_number_unsigned() &&
      value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (too_large || value.get<std::int64_t>() < least || value.get<std::int64_t>() > most) {
    refuse_at(where, shown(value) + " is outside " + std::to_string(least) + " to " + std::to_string(most));
  }
  return value.get<std::int64_t>();
}

}  // namespace splitfleet

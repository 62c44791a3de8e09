// Checked access to the fields of a JSON object that somebody else wrote.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "json.hpp"

namespace splitfleet {

// Every reader throws JobError(invalid_job) that names the field, what it holds and what it should hold.
class Fields {
 public:
  // `where` names the object in messages, such as "plan.buffers[2]"; `object` must outlive this view.
  Fields(const Json& object, std::string where);

  bool has(const char* name) const;
  std::int64_t integer(const char* name, std::int64_t least, std::int64_t most) const;
  double number(const char* name, double least, double most) const;
  bool flag_or(const char* name, bool absent) const;
  std::string text(const char* name, std::size_t most_bytes) const;
  // Index of the text among `choices`.
  template <std::size_t N>
  std::size_t one_of(const char* name, const char* const (&choices)[N]) const {
    return one_of(name, choices, N);
  }
  Fields object(const char* name) const;
  const Json& array(const char* name, std::size_t most_items) const;
  std::string path(const std::string& name) const { return where_.empty() ? name : where_ + "." + name; }

 private:
  std::size_t one_of(const char* name, const char* const* choices, std::size_t count) const;
  const Json& field(const char* name) const;
  [[noreturn]] void refuse(const char* name, const std::string& what) const;

  const Json& object_;
  std::string where_;
};

// The integer in `value`, or JobError naming `where`.
std::int64_t checked_integer(const Json& value, const std::string& where, std::int64_t least,
                             std::int64_t most);

}  // namespace splitfleet

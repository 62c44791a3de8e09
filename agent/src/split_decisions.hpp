// What a job's binary split table says about operators.
#pragma once

#include <cstdint>
#include <string>

#include "fields.hpp"
#include "operator.hpp"
#include "splitfleet/split_table.hpp"

namespace splitfleet {

class SplitDecisions {
 public:
  // The field `split_table`: the table's bytes as hexadecimal digits. Throws JobError(invalid_job).
  explicit SplitDecisions(const Fields& fields);

  struct Way {
    std::int64_t cut = 0;
    std::int64_t threads = 0;
  };
  // By exact shape, range, nearest shape or default. `fields`: the operator as the job describes it.
  Way find(const Operator& op, const Fields& fields) const;

 private:
  std::string bytes_;
  runtime::SplitTable table_;
};

}  // namespace splitfleet

// What a network computes beside its operators, on the CPU: simple, vectorised by the compiler and Eigen.
#pragma once

#include "network.hpp"
#include "thread_pool.hpp"

namespace splitfleet {

// `second` is null where the glue has one input. Runs on the pool's threads where it is worth it.
void run_glue(const Glue& glue, const float* first, const float* second, float* output, ThreadPool& pool);

}  // namespace splitfleet

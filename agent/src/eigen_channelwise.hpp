// Depthwise convolutions and pooling on Eigen.
#pragma once

#include <memory>

#include "cpu_backend.hpp"

namespace splitfleet {

std::unique_ptr<CpuOperator> make_eigen_channelwise(const CpuTask& task, ThreadPool& pool);

}  // namespace splitfleet

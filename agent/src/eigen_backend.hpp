// The CPU backend on Eigen's header-only library and the agent's own threads.
#pragma once

#include <memory>

#include "cpu_backend.hpp"

namespace splitfleet {

std::unique_ptr<CpuBackend> make_eigen_backend();

}  // namespace splitfleet

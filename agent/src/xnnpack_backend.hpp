// The CPU backend on XNNPACK; compiled only where CMake finds the library.
#pragma once

#include <memory>

#include "cpu_backend.hpp"

namespace splitfleet {

std::unique_ptr<CpuBackend> make_xnnpack_backend();

}  // namespace splitfleet

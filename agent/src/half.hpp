// IEEE 754 half precision without compiler support for it (bionic's oldest compilers lack _Float16).
#pragma once

#include <cstdint>

namespace splitfleet {

// Rounds to nearest, ties to even, as vstore_half does by default; overflow gives infinity.
std::uint16_t half_from_float(float value);

float float_from_half(std::uint16_t half);

// The nearest value that half precision can hold.
float rounded_to_half(float value);

}  // namespace splitfleet

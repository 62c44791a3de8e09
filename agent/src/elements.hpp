// Tensor elements in memory, of the types that plans name.
#pragma once

#include <cstdint>

#include "half.hpp"

namespace splitfleet {

enum class ElementType { f32, f16 };

constexpr std::size_t bytes_of(ElementType type) {
  return type == ElementType::f16 ? 2 : 4;
}

// A view; the memory belongs to somebody else.
class Elements {
 public:
  Elements() = default;
  Elements(void* data, ElementType type) : data_(data), type_(type) {}

  float get(std::int64_t index) const {
    if (type_ == ElementType::f16) return float_from_half(static_cast<const std::uint16_t*>(data_)[index]);
    return static_cast<const float*>(data_)[index];
  }
  void set(std::int64_t index, float value) const {
    if (type_ == ElementType::f16) {
      static_cast<std::uint16_t*>(data_)[index] = half_from_float(value);
    } else {
      static_cast<float*>(data_)[index] = value;
    }
  }

 private:
  void* data_ = nullptr;
  ElementType type_ = ElementType::f32;
};

}  // namespace splitfleet

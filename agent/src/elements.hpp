// Tensor elements in memory, of the types that plans name.
#pragma once

#include <cstddef>
#include <cstdint>

#include "half.hpp"

namespace splitfleet {

enum class ElementType { f32, f16 };

constexpr std::size_t bytes_of(ElementType type) {
  return type == ElementType::f16 ? 2 : 4;
}

// Where the columns of a matrix lie in memory, in elements: element (row, o) at row * row_stride +
// column_offset + o.
struct Layout {
  std::int64_t row_stride = 0;
  std::int64_t column_offset = 0;

  std::int64_t at(std::int64_t row, std::int64_t column) const {
    return row * row_stride + column_offset + column;
  }
};

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

// What CPU operators share: dealing rows out to threads, and the epilogue where a library does not fuse it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu_backend.hpp"

namespace splitfleet {

struct Range {
  std::int64_t first;
  std::int64_t count;
};

// The share of thread `index` when `total` items are dealt out in blocks of `block`.
inline Range share(std::int64_t total, std::int64_t block, int index, int threads) {
  const std::int64_t blocks = (total + block - 1) / block;
  const std::int64_t first = std::min(total, blocks * index / threads * block);
  const std::int64_t last = std::min(total, blocks * (index + 1) / threads * block);
  return {first, last - first};
}

// Finishes output[rows, columns] in place.
void apply_epilogue(const CpuTask& task, const CpuTensors& tensors, Range rows, Range columns);

}  // namespace splitfleet

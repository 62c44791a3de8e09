#include "glue.hpp"

#include <Eigen/Core>
#include <cmath>

#include "cpu_parts.hpp"

namespace splitfleet {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using TightMap = Eigen::Map<Matrix>;
using ConstTightMap = Eigen::Map<const Matrix>;
using ArrayMap = Eigen::Map<Eigen::ArrayXf>;
using ConstArrayMap = Eigen::Map<const Eigen::ArrayXf>;

void copy_box(const Glue& glue, std::size_t axis, const float* from, float* to) {
  const std::int64_t count = glue.sizes[axis];
  const std::int64_t from_stride = glue.from_strides[axis];
  const std::int64_t to_stride = glue.to_strides[axis];
  if (axis + 1 == glue.sizes.size()) {
    if (from_stride == 1 && to_stride == 1) {
      std::copy_n(from, count, to);
    } else {
      for (std::int64_t i = 0; i < count; ++i) to[i * to_stride] = from[i * from_stride];
    }
    return;
  }
  for (std::int64_t i = 0; i < count; ++i)
    copy_box(glue, axis + 1, from + i * from_stride, to + i * to_stride);
}

void softmax_row(ConstArrayMap in, ArrayMap out) {
  out = (in - in.maxCoeff()).exp();
  out *= 1.0F / out.sum();
}

void normalise_row(ConstArrayMap in, ArrayMap out, float epsilon) {
  const float mean = in.mean();
  const float variance = (in - mean).square().mean();
  out = (in - mean) * (1.0F / std::sqrt(variance + epsilon));
}

// x * (1 + erf(x / sqrt 2)) / 2, with erf by Abramowitz and Stegun 7.1.26 (error below 1.5e-7).
void gelu(ConstArrayMap in, ArrayMap out) {
  constexpr std::int64_t kBlock = 256;
  for (std::int64_t first = 0; first < in.size(); first += kBlock) {
    const std::int64_t count = std::min(kBlock, in.size() - first);
    const Eigen::Array<float, Eigen::Dynamic, 1, 0, kBlock, 1> x = in.segment(first, count);
    const Eigen::Array<float, Eigen::Dynamic, 1, 0, kBlock, 1> z = x.abs() * 0.70710678F;
    const Eigen::Array<float, Eigen::Dynamic, 1, 0, kBlock, 1> t = (1.0F + 0.3275911F * z).inverse();
    const Eigen::Array<float, Eigen::Dynamic, 1, 0, kBlock, 1> tail =
        ((((1.061405429F * t - 1.453152027F) * t + 1.421413741F) * t - 0.284496736F) * t + 0.254829592F) * t *
        (-z * z).exp();
    out.segment(first, count) = x.cwiseMax(0.0F) - 0.5F * x.abs() * tail;
  }
}

void multiply(const Glue& glue, std::int64_t batch, const float* a, const float* b, float* c) {
  const std::int64_t m = glue.sizes[1];
  const std::int64_t k = glue.sizes[2];
  const std::int64_t n = glue.sizes[3];
  const ConstTightMap left(a + batch * m * k, m, k);
  TightMap out(c + batch * m * n, m, n);
  if (glue.transpose_b) {
    out.noalias() = left * ConstTightMap(b + batch * k * n, n, k).transpose();
  } else {
    out.noalias() = left * ConstTightMap(b + batch * k * n, k, n);
  }
}

void combine(const Glue& glue, std::int64_t first, std::int64_t count, const float* a, const float* b,
             float* out) {
  for (std::int64_t i = first; i < first + count;) {
    const std::int64_t at = i % glue.period;
    const std::int64_t run = std::min(glue.period - at, first + count - i);
    const ConstArrayMap x(a + i, run);
    const ConstArrayMap y(b + at, run);
    ArrayMap z(out + i, run);
    if (glue.kind == GlueKind::add) {
      z = x + y;
    } else {
      z = x * y;
    }
    i += run;
  }
}

// A second input of one number would make runs of one.
void scale(const Glue& glue, std::int64_t first, std::int64_t count, const float* a, float b, float* out) {
  const ConstArrayMap x(a + first, count);
  ArrayMap z(out + first, count);
  if (glue.kind == GlueKind::add) {
    z = x + b;
  } else {
    z = x * b;
  }
}

void run_rows(const Glue& glue, Range part, const float* in, float* out) {
  const std::int64_t columns = glue.sizes[1];
  for (std::int64_t row = part.first; row < part.first + part.count; ++row) {
    const ConstArrayMap from(in + row * columns, columns);
    const ArrayMap to(out + row * columns, columns);
    if (glue.kind == GlueKind::softmax) {
      softmax_row(from, to);
    } else {
      normalise_row(from, to, static_cast<float>(glue.epsilon));
    }
  }
}

// Items [part.first, part.first + part.count) of the first size.
void run_part(const Glue& glue, Range part, const float* first, const float* second, float* output) {
  switch (glue.kind) {
    case GlueKind::copy:
      return;
    case GlueKind::softmax:
    case GlueKind::layer_norm:
      return run_rows(glue, part, first, output);
    case GlueKind::gelu:
      return gelu(ConstArrayMap(first + part.first, part.count), ArrayMap(output + part.first, part.count));
    case GlueKind::matmul:
      for (std::int64_t i = part.first; i < part.first + part.count; ++i)
        multiply(glue, i, first, second, output);
      return;
    case GlueKind::add:
    case GlueKind::mul:
      if (glue.period == 1) return scale(glue, part.first, part.count, first, *second, output);
      return combine(glue, part.first, part.count, first, second, output);
  }
}

}  // namespace

void run_glue(const Glue& glue, const float* first, const float* second, float* output, ThreadPool& pool) {
  if (glue.kind == GlueKind::copy) {
    copy_box(glue, 0, first + glue.from_offset, output + glue.to_offset);
    return;
  }
  pool.run([&](int index) {
    const Range part = share(glue.sizes[0], 1, index, pool.size());
    if (part.count > 0) run_part(glue, part, first, second, output);
  });
}

}  // namespace splitfleet

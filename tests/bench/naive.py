"""The naive kernel: one work-item for each output, straight from the definition, weights read as they come."""

from __future__ import annotations

from typing import Any

from splitfleet.kernels import Conv2d, Operator, Program

SOURCE = """
__kernel void naive(__global const float* input, __global const float* weights, __global float* output, int height,
                    int width, int in_channels, int out_height, int out_width, int columns, int kernel_h, int kernel_w,
                    int stride, int pad_h, int pad_w) {
  const int o = get_global_id(0), x = get_global_id(1), y = get_global_id(2);
  if (o >= columns || x >= out_width || y >= out_height) return;
  float sum = 0.0f;
  for (int ky = 0; ky < kernel_h; ++ky)
    for (int kx = 0; kx < kernel_w; ++kx) {
      const int in_y = y * stride + ky - pad_h, in_x = x * stride + kx - pad_w;
      if (in_y < 0 || in_y >= height || in_x < 0 || in_x >= width) continue;
      for (int c = 0; c < in_channels; ++c)
        sum += input[(in_y * width + in_x) * in_channels + c] *
               weights[(o * kernel_h * kernel_w + ky * kernel_w + kx) * in_channels + c];
    }
  output[(y * out_width + x) * columns + o] = sum;
}
"""
PROGRAM = Program(SOURCE, "-cl-std=CL1.2")
LOCAL = 8


def naive_plan(operator: Operator) -> dict[str, Any]:
    """Its launch plan (docs/formats.md). A linear layer is a 1x1 convolution of an image one pixel wide."""
    m, n, k = operator.matmul
    if isinstance(operator, Conv2d):
        height, width, channels, *out = *operator.input_shape, operator.output_height, operator.output_width
        window = [operator.kernel_h, operator.kernel_w, operator.stride, operator.pad_h, operator.pad_w]
    else:
        height, width, channels, out, window = m, 1, k, [m, 1], [1, 1, 1, 0, 0]
    buffers = [
        {"name": "input", "role": "input", "bytes": operator.input_bytes},
        {"name": "weights", "role": "weights", "bytes": n * k * 4, "panel": 1},
        {"name": "output", "role": "output", "bytes": m * n * 4, "row_stride": n, "column_offset": 0},
    ]
    numbers = [height, width, channels, *out, n, *window]
    args = [*({"buffer": buffer["name"]} for buffer in buffers), *({"i32": number} for number in numbers)]
    launch = {
        "kernel": "naive",
        "global": [-(-n // LOCAL) * LOCAL, out[1], out[0]],
        "local": [LOCAL, 1, 1],
        "args": args,
    }
    head = {"schema": 1, "kernel": "naive", "program": PROGRAM.id, "signals": 0, "quantities": {}}
    return {**head, "buffers": buffers, "launches": [launch]}

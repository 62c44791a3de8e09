// Small convolutions, weights in constant memory: one work-item computes one pixel's every output channel
// (BLOCK_N panels), so an input value is read once, and all work-items read the same weight at the same time,
// which is what constant memory is fast at.
#define ZERO(n) VEC sum##n = (VEC)(0.0f);
#define ACCUMULATE(n) sum##n += value * LOAD_CONSTANT(weights, at + n * depth);
#define STORE(n) STORE_PANEL(sum##n, out + n * BLOCK_PANEL, columns - n * BLOCK_PANEL);
#if HALF_STORAGE && !HALF_ARITHMETIC
#define LOAD_CONSTANT(p, i) WIDE(vloada_half, BLOCK_PANEL)(i, p)
#else
#define LOAD_CONSTANT(p, i) ((__constant const VEC*)(p))[i]
#endif

__kernel void KERNEL(__global const STORED* restrict input, __constant STORED* restrict weights,
                     OUTPUT_PARAMETERS, int height, int width, int in_channels, int out_width, int pixels,
                     int columns, int kernel_h, int kernel_w, int stride, int pad_h, int pad_w,
                     int row_stride, int column_offset, __global volatile int* signal) {
  const int pixel = get_global_id(0);
  if (pixel < pixels) {
    FOR_N(ZERO)
    const int depth = kernel_h * kernel_w * in_channels;
    const int top = (pixel / out_width) * stride - pad_h;
    const int left = (pixel % out_width) * stride - pad_w;
    // Taps [first, last) of a line lie inside the image, one behind the other in memory.
    const int first = max(-left, 0);
    const int last = min(width - left, kernel_w);
    for (int ky = max(-top, 0); ky < min(height - top, kernel_h); ++ky) {
      __global const STORED* line = input + ((size_t)(top + ky) * width + left + first) * in_channels;
      int at = (ky * kernel_w + first) * in_channels;
      for (int c = 0; c < (last - first) * in_channels; ++c, ++at) {
        const NUMBER value = LOAD(line, c);
        FOR_N(ACCUMULATE)
      }
    }
    const size_t out = (size_t)pixel * row_stride + column_offset;
    FOR_N(STORE)
  }
  SIGNAL(signal)
}

// Direct convolution: one work-item computes BLOCK_ROWS consecutive output pixels x BLOCK_PANEL output
// channels. Where all their taps of one line of the kernel lie inside the image, these are one run of memory
// and one loop; else a tap that lies in the padding reads from a buffer of zeros, so the innermost loop never
// has a branch.
#define LOAD_PIXEL(i)                                          \
  VEC sum##i = (VEC)(0.0f);                                    \
  const int pixel##i = min(pixel + i, pixels - 1);             \
  const int top##i = (pixel##i / out_width) * stride - pad_h;  \
  const int left##i = (pixel##i % out_width) * stride - pad_w; \
  within_width = within_width && left##i >= 0 && left##i + kernel_w <= width;
#define CHECK_LINE(i) within = within && top##i + ky >= 0 && top##i + ky < height;
#define LOAD_LINE(i) \
  __global const STORED* in##i = input + ((size_t)(top##i + ky) * width + left##i) * in_channels;
#define LOAD_TAP(i)                                                                        \
  const int y##i = top##i + ky;                                                            \
  const int x##i = left##i + kx;                                                           \
  __global const STORED* in##i = (y##i >= 0 && y##i < height && x##i >= 0 && x##i < width) \
                                     ? input + ((size_t)y##i * width + x##i) * in_channels \
                                     : zeros;
#define ACCUMULATE(i) sum##i += LOAD(in##i, c) * w;
#define STORE_PIXEL(i) \
  if (pixel + i < pixels) STORE_PANEL(sum##i, out + (size_t)i * row_stride, columns - panel * BLOCK_PANEL);

__kernel void KERNEL(__global const STORED* restrict input, __global const STORED* restrict weights,
                     __global const STORED* restrict zeros, OUTPUT_PARAMETERS, int height, int width,
                     int in_channels, int out_width, int pixels, int columns, int kernel_h, int kernel_w,
                     int stride, int pad_h, int pad_w, int row_stride, int column_offset,
                     __global volatile int* signal) {
  const int panel = get_global_id(0);
  const int pixel = get_global_id(1) * BLOCK_ROWS;
  if (panel * BLOCK_PANEL < columns && pixel < pixels) {
    bool within_width = true;
    FOR_ROWS(LOAD_PIXEL)
    const int line = kernel_w * in_channels;
    __global const STORED* line_weights = weights + (size_t)panel * kernel_h * line * BLOCK_PANEL;
    for (int ky = 0; ky < kernel_h; ++ky) {
      bool within = within_width;
      FOR_ROWS(CHECK_LINE)
      if (within) {
        FOR_ROWS(LOAD_LINE)
        for (int c = 0; c < line; ++c) {
          const VEC w = LOAD_VEC(line_weights, c);
          FOR_ROWS(ACCUMULATE)
        }
      } else {
        for (int kx = 0; kx < kernel_w; ++kx) {
          FOR_ROWS(LOAD_TAP)
          for (int c = 0; c < in_channels; ++c) {
            const VEC w = LOAD_VEC(line_weights, kx * in_channels + c);
            FOR_ROWS(ACCUMULATE)
          }
        }
      }
      line_weights += (size_t)line * BLOCK_PANEL;
    }
    const size_t out = (size_t)pixel * row_stride + column_offset + panel * BLOCK_PANEL;
    FOR_ROWS(STORE_PIXEL)
  }
  SIGNAL(signal)
}

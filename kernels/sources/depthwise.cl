// Depthwise convolution: one work-item computes BLOCK_ROWS consecutive output pixels x BLOCK_PANEL channels.
// The input lies as the output does, so a half reads its own channels of the whole image. A tap that lies in
// the padding reads from a buffer of zeros, so the inner loop has no branch.
#define LOAD_PIXEL(i)                                         \
  VEC sum##i = (VEC)(0);                                      \
  const int pixel##i = min(pixel + i, pixels - 1);            \
  const int top##i = (pixel##i / out_width) * stride - pad_h; \
  const int left##i = (pixel##i % out_width) * stride - pad_w;
#define IS_INSIDE(i) (top##i + ky >= 0 && top##i + ky < height && left##i + kx >= 0 && left##i + kx < width)
#define ACCUMULATE(i)                                                                                   \
  {                                                                                                     \
    const size_t at = ((size_t)(top##i + ky) * width + left##i + kx) * row_stride + channel;            \
    sum##i += load_columns(IS_INSIDE(i) ? input + at : zeros, left_columns) * LOAD_VEC(tap_weights, 0); \
  }
#define STORE_PIXEL(i) \
  if (pixel + i < pixels) STORE_PANEL(sum##i, out + (size_t)i * row_stride, left_columns);

__kernel void KERNEL(__global const STORED* restrict input, __global const STORED* restrict weights,
                     __global const STORED* restrict zeros, OUTPUT_PARAMETERS, int height, int width,
                     int out_width, int pixels, int columns, int kernel_h, int kernel_w, int stride,
                     int pad_h, int pad_w, int row_stride, int column_offset, __global volatile int* signal) {
  const int panel = get_global_id(0);
  const int pixel = get_global_id(1) * BLOCK_ROWS;
  if (panel * BLOCK_PANEL < columns && pixel < pixels) {
    const int left_columns = columns - panel * BLOCK_PANEL;
    const int channel = column_offset + panel * BLOCK_PANEL;
    FOR_ROWS(LOAD_PIXEL)
    __global const STORED* tap_weights = weights + (size_t)panel * kernel_h * kernel_w * BLOCK_PANEL;
    for (int ky = 0; ky < kernel_h; ++ky) {
      for (int kx = 0; kx < kernel_w; ++kx) {
        FOR_ROWS(ACCUMULATE)
        tap_weights += BLOCK_PANEL;
      }
    }
    const size_t out = (size_t)pixel * row_stride + channel;
    FOR_ROWS(STORE_PIXEL)
  }
  SIGNAL(signal)
}

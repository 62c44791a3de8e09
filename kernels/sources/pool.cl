// Pooling: one work-item computes BLOCK_ROWS consecutive output pixels x BLOCK_PANEL channels. The input lies
// as the output does. Taps outside the image do not count, so the window is cut to the image first.
#if FAMILY_MAXPOOL
#define START (-INFINITY)
#define TAKE(result, value) max(result, value)
#define FINISH(result, taps) (result)
#else
#define START (0)
#define TAKE(result, value) ((result) + (value))
#define FINISH(result, taps) ((result) / (NUMBER)(taps))
#endif

#define POOL_PIXEL(i)                                                      \
  if (pixel + i < pixels) {                                                \
    const int top = ((pixel + i) / out_width) * stride - pad_h;            \
    const int left = ((pixel + i) % out_width) * stride - pad_w;           \
    const int first_y = max(top, 0), end_y = min(top + kernel_h, height);  \
    const int first_x = max(left, 0), end_x = min(left + kernel_w, width); \
    VEC result = (VEC)(START);                                             \
    for (int y = first_y; y < end_y; ++y) {                                \
      for (int x = first_x; x < end_x; ++x) {                              \
        const size_t at = ((size_t)y * width + x) * row_stride + channel;  \
        result = TAKE(result, load_columns(input + at, left_columns));     \
      }                                                                    \
    }                                                                      \
    STORE_PANEL(FINISH(result, (end_y - first_y) * (end_x - first_x)),     \
                (size_t)(pixel + i) * row_stride + channel, left_columns); \
  }

__kernel void KERNEL(__global const STORED* restrict input, OUTPUT_PARAMETERS, int height, int width,
                     int out_width, int pixels, int columns, int kernel_h, int kernel_w, int stride,
                     int pad_h, int pad_w, int row_stride, int column_offset, __global volatile int* signal) {
  const int panel = get_global_id(0);
  const int pixel = get_global_id(1) * BLOCK_ROWS;
  if (panel * BLOCK_PANEL < columns && pixel < pixels) {
    const int left_columns = columns - panel * BLOCK_PANEL;
    const int channel = column_offset + panel * BLOCK_PANEL;
    FOR_ROWS(POOL_PIXEL)
  }
  SIGNAL(signal)
}

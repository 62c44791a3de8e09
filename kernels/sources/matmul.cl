// One work-item computes BLOCK_ROWS rows x PANEL columns. Weights come in panels of PANEL columns, so that
// the inner loop reads them as one aligned vector: PoCL's vloadN is five times slower than dereferencing a
// vector pointer.
#define LOAD_ROW(i)         \
  VEC sum##i = (VEC)(0.0f); \
  __global const float* in##i = input + (size_t)min(row + i, rows - 1) * depth;
#define ACCUMULATE(i) sum##i += in##i[k] * w;
#define STORE_ROW(i) \
  if (row + i < rows) store_panel(sum##i, out + (size_t)i * row_stride, columns - panel * PANEL);

__kernel void KERNEL(__global const float* restrict input, __global const VEC* restrict weights,
                     __global float* restrict output, int rows, int columns, int depth, int row_stride,
                     int column_offset, __global volatile int* signal) {
  const int panel = get_global_id(0);
  const int row = get_global_id(1) * BLOCK_ROWS;
  if (panel * PANEL < columns && row < rows) {
    FOR_ROWS(LOAD_ROW)
    __global const VEC* panel_weights = weights + (size_t)panel * depth;
    for (int k = 0; k < depth; ++k) {
      const VEC w = panel_weights[k];
      FOR_ROWS(ACCUMULATE)
    }
    __global float* out = output + (size_t)row * row_stride + column_offset + panel * PANEL;
    FOR_ROWS(STORE_ROW)
  }
  SIGNAL(signal)
}

// One work-item computes BLOCK_ROWS rows x BLOCK_PANEL columns. Weights come in panels of columns, so that
// the inner loop reads them as one aligned vector.
#define LOAD_ROW(i)         \
  VEC sum##i = (VEC)(0.0f); \
  __global const STORED* in##i = input + (size_t)min(row + i, rows - 1) * depth;
#define ACCUMULATE(i) sum##i += LOAD(in##i, k) * w;
#define STORE_ROW(i) \
  if (row + i < rows) STORE_PANEL(sum##i, out + (size_t)i * row_stride, columns - panel * BLOCK_PANEL);

__kernel void KERNEL(__global const STORED* restrict input, __global const STORED* restrict weights,
                     OUTPUT_PARAMETERS, int rows, int columns, int depth, int row_stride, int column_offset,
                     __global volatile int* signal) {
  const int panel = get_global_id(0);
  const int row = get_global_id(1) * BLOCK_ROWS;
  if (panel * BLOCK_PANEL < columns && row < rows) {
    FOR_ROWS(LOAD_ROW)
    __global const STORED* panel_weights = weights + (size_t)panel * depth * BLOCK_PANEL;
    for (int k = 0; k < depth; ++k) {
      const VEC w = LOAD_VEC(panel_weights, k);
      FOR_ROWS(ACCUMULATE)
    }
    const size_t out = (size_t)row * row_stride + column_offset + panel * BLOCK_PANEL;
    FOR_ROWS(STORE_ROW)
  }
  SIGNAL(signal)
}

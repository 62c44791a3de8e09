// A matrix product by tiles in local memory, for GPUs that read it much faster than their caches: a
// work-group of LANES x LANES work-items computes (LANES * BLOCK_ROWS) rows x (LANES * BLOCK_PANEL) columns.
// For DEPTH steps of k at a time it loads both operands' tiles together, each value once, and reads them from
// there.
#define LANES 16
#define DEPTH 16
#define TILE_ROWS (LANES * BLOCK_ROWS)

#define ZERO(i) VEC sum##i = (VEC)(0.0f);
#define ACCUMULATE(i) sum##i += input_tile[k * TILE_ROWS + get_local_id(1) * BLOCK_ROWS + i] * w;
#define STORE_ROW(i) \
  if (row + i < rows) STORE_PANEL(sum##i, out + (size_t)i * row_stride, columns - column);

__kernel void KERNEL(__global const STORED* restrict input, __global const STORED* restrict weights,
                     OUTPUT_PARAMETERS, int rows, int columns, int depth, int row_stride, int column_offset,
                     __global volatile int* signal) {
  __local NUMBER input_tile[DEPTH * TILE_ROWS];  // [k][row]
  __local VEC weights_tile[DEPTH * LANES];       // [k][lane]
  const int item = get_local_id(1) * LANES + get_local_id(0);
  const int first_row = get_group_id(1) * TILE_ROWS;
  FOR_ROWS(ZERO)
  for (int start = 0; start < depth; start += DEPTH) {
    for (int place = item; place < DEPTH * TILE_ROWS; place += LANES * LANES) {
      const int k = place % DEPTH;
      const int row = first_row + place / DEPTH;
      const bool inside = row < rows && start + k < depth;
      input_tile[k * TILE_ROWS + place / DEPTH] =
          inside ? LOAD(input, (size_t)row * depth + start + k) : (NUMBER)0;
    }
    const int k_of_item = start + item / LANES;
    const size_t line = (size_t)get_group_id(0) * depth + k_of_item;
    weights_tile[item] = k_of_item < depth ? LOAD_VEC(weights, line * LANES + item % LANES) : (VEC)(0.0f);
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int k = 0; k < DEPTH; ++k) {
      const VEC w = weights_tile[k * LANES + get_local_id(0)];
      FOR_ROWS(ACCUMULATE)
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  const int column = get_global_id(0) * BLOCK_PANEL;
  const int row = get_global_id(1) * BLOCK_ROWS;
  if (column < columns && row < rows) {
    const size_t out = (size_t)row * row_stride + column_offset + column;
    FOR_ROWS(STORE_ROW)
  }
  SIGNAL(signal)
}

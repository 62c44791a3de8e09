// A matrix product of few rows (decoding token by token): its time is that of reading the weights, so they
// are read once for all rows. BLOCK_L neighbours along x share the line of a panel and read it as one run of
// memory; BLOCK_S work-items along y share one dot product and add their parts in local memory, which gives a
// GPU enough to do where columns are few. One work-item computes BLOCK_ROWS rows x BLOCK_PANEL columns; local
// size (any, BLOCK_S, 1) of at most MAX_ITEMS.
#define MAX_ITEMS 128

// A few rows have two sums each: an addition need not wait for the one before it. More rows are enough by
// themselves.
#define LOAD_ROW(i)         \
  VEC sum##i = (VEC)(0.0f); \
  __global const STORED* in##i = input + (size_t)min(row + i, rows - 1) * depth;
#define ACCUMULATE(i) sum##i += LOAD(in##i, k) * w0;
#if BLOCK_ROWS < 4
#define LOAD_ODD(i) VEC odd##i = (VEC)(0.0f);
#define ACCUMULATE_ODD(i) odd##i += LOAD(in##i, k + 1) * w1;
#define FINISH(i) sum##i += odd##i;
#else
#define LOAD_ODD(i)
#define ACCUMULATE_ODD(i) sum##i += LOAD(in##i, k + 1) * w1;
#define FINISH(i)
#endif
#define SHARE(i) parts[i * MAX_ITEMS + item] = sum##i;
#define COLLECT(i) \
  for (int j = 1; j < BLOCK_S; ++j) sum##i += parts[i * MAX_ITEMS + item + j * get_local_size(0)];
#define STORE_ROW(i) \
  if (row + i < rows) STORE_PANEL(sum##i, out + (size_t)i * row_stride, columns - column);

__kernel void KERNEL(__global const STORED* restrict input, __global const STORED* restrict weights,
                     OUTPUT_PARAMETERS, int rows, int columns, int depth, int row_stride, int column_offset,
                     __global volatile int* signal) {
  const int vector = get_global_id(0);
  const int column = vector * BLOCK_PANEL;
  const int row = get_global_id(2) * BLOCK_ROWS;
  const int part = get_local_id(1);
  FOR_ROWS(LOAD_ROW)
  FOR_ROWS(LOAD_ODD)
  if (column < columns) {
    __global const STORED* line =
        weights + ((size_t)(vector / BLOCK_L) * depth * BLOCK_L + vector % BLOCK_L) * BLOCK_PANEL;
    int k = 2 * part;
    for (; k + 1 < depth; k += 2 * BLOCK_S) {
      const VEC w0 = LOAD_VEC(line, (size_t)k * BLOCK_L);
      const VEC w1 = LOAD_VEC(line, (size_t)(k + 1) * BLOCK_L);
      FOR_ROWS(ACCUMULATE)
      FOR_ROWS(ACCUMULATE_ODD)
    }
    if (k < depth) {
      const VEC w0 = LOAD_VEC(line, (size_t)k * BLOCK_L);
      FOR_ROWS(ACCUMULATE)
    }
  }
  FOR_ROWS(FINISH)
#if BLOCK_S > 1
  __local VEC parts[BLOCK_ROWS * MAX_ITEMS];
  const int item = part * get_local_size(0) + get_local_id(0);
  FOR_ROWS(SHARE)
  barrier(CLK_LOCAL_MEM_FENCE);
  if (part == 0) {
    FOR_ROWS(COLLECT)
  }
#endif
  if (column < columns && part == 0) {
    const size_t out = (size_t)row * row_stride + column_offset + column;
    FOR_ROWS(STORE_ROW)
  }
  SIGNAL(signal)
}

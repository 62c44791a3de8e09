// What every kernel family shares: the signal, the types of a precision, loads, and the store with its
// epilogue. A kernel is written once, against these names:
//   STORED  how input and weights lie in memory     LOAD(p, i), LOAD_VEC(p, i), LOAD_VEC_AT(p, i)
//   NUMBER  what is computed with                   VEC, a vector of BLOCK_PANEL of them
//   OUT     how output and residual lie in memory   OUTPUT_PARAMETERS, STORE_PANEL(sum, index, columns)

#if HALF_ARITHMETIC
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#endif

// Raises the host's signal counter once this kernel's results are visible. NULL when nobody polls.
// Work-group form: every work-group's leader counts, behind a barrier. Launch form: `raise_signal` is a
// kernel of its own, queued behind the half, for devices where a plain atomic does not order the stores
// before it.
#if SIGNAL_IN_KERNEL
#define SIGNAL(counter)                                                                            \
  if (counter) {                                                                                   \
    barrier(CLK_GLOBAL_MEM_FENCE);                                                                 \
    if (get_local_id(0) == 0 && get_local_id(1) == 0 && get_local_id(2) == 0) atomic_inc(counter); \
  }
#else
#define SIGNAL(counter)
#endif

__kernel void raise_signal(__global volatile int* signal) {
  if (signal) atomic_inc(signal);
}

#define JOIN_TOKENS(a, b) a##b
#define WIDE(type, width) JOIN_TOKENS(type, width)

#if HALF_STORAGE
#define STORED half
#else
#define STORED float
#endif
#if HALF_ARITHMETIC
#define NUMBER half
#else
#define NUMBER float
#endif
#if HALF_STORAGE && !FLOAT_OUTPUT
#define OUT half
#else
#define OUT float
#endif

// The i-th number. A half can be read as a float on any device.
#if HALF_STORAGE && !HALF_ARITHMETIC
#define LOAD(p, i) vload_half(i, p)
#else
#define LOAD(p, i) (p)[i]
#endif

// EPILOGUE: 0 none, 1 relu, 2 relu6, 3 add, 4 add_relu (operators.EPILOGUES).
#define HAS_RESIDUAL (EPILOGUE == 3 || EPILOGUE == 4)
#if EPILOGUE == 1 || EPILOGUE == 4
#define ACTIVATE(x) max(x, (RESULT_VEC)(0))
#elif EPILOGUE == 2
#define ACTIVATE(x) min(max(x, (RESULT_VEC)(0)), (RESULT_VEC)(6))
#else
#define ACTIVATE(x) (x)
#endif
#if HAS_RESIDUAL
#define OUTPUT_PARAMETERS __global OUT* restrict output, __global const OUT* restrict residual
#define STORE_PANEL(sum, index, columns) store_panel(sum, output + (index), residual + (index), columns)
#else
#define OUTPUT_PARAMETERS __global OUT* restrict output
#define STORE_PANEL(sum, index, columns) store_panel(sum, output + (index), columns)
#endif

#ifdef BLOCK_PANEL
#define VEC WIDE(NUMBER, BLOCK_PANEL)

// LOAD_VEC: the i-th vector of an array of aligned vectors. PoCL's vloadN is five times slower than
// dereferencing a vector pointer. LOAD_VEC_AT: the vector that starts at number i, aligned or not.
#if HALF_STORAGE && !HALF_ARITHMETIC
#define LOAD_VEC(p, i) WIDE(vloada_half, BLOCK_PANEL)(i, p)
#define LOAD_VEC_AT(p, i) WIDE(vload_half, BLOCK_PANEL)(0, (p) + (i))
#else
#define LOAD_VEC(p, i) ((__global const VEC*)(p))[i]
#define LOAD_VEC_AT(p, i) WIDE(vload, BLOCK_PANEL)(0, (p) + (i))
#endif

// A panel of a pixel's channels, of which the last panel may have fewer: reading on would leave the buffer.
static VEC load_columns(__global const STORED* p, int columns) {
  if (columns >= BLOCK_PANEL) return LOAD_VEC_AT(p, 0);
  NUMBER part[BLOCK_PANEL];
  for (int j = 0; j < BLOCK_PANEL; ++j) part[j] = j < columns ? LOAD(p, j) : 0;
  return WIDE(vload, BLOCK_PANEL)(0, part);
}

// The epilogue is computed in the type that the output has, but in float where halves are storage only.
#if HALF_ARITHMETIC && FLOAT_OUTPUT
#define RESULT float
#define TO_RESULT(sum) WIDE(convert_float, BLOCK_PANEL)(sum)
#else
#define RESULT NUMBER
#define TO_RESULT(sum) (sum)
#endif
#define RESULT_VEC WIDE(RESULT, BLOCK_PANEL)
#if HALF_STORAGE && !HALF_ARITHMETIC && !FLOAT_OUTPUT
#define LOAD_OUT(p, i) vload_half(i, p)
#define LOAD_OUT_VEC(p) WIDE(vload_half, BLOCK_PANEL)(0, p)
#define STORE_OUT(x, p, i) vstore_half(x, i, p)
#define STORE_OUT_VEC(x, p) WIDE(vstore_half, BLOCK_PANEL)(x, 0, p)
#else
#define LOAD_OUT(p, i) (p)[i]
#define LOAD_OUT_VEC(p) WIDE(vload, BLOCK_PANEL)(0, p)
#define STORE_OUT(x, p, i) (p)[i] = (x)
#define STORE_OUT_VEC(x, p) WIDE(vstore, BLOCK_PANEL)(x, 0, p)
#endif

// Stores a panel of sums behind the epilogue. The last panel of a layer may hang over its last column.
static void store_panel(VEC sum, __global OUT* out,
#if HAS_RESIDUAL
                        __global const OUT* residual,
#endif
                        int columns) {
  RESULT_VEC result = TO_RESULT(sum);
  if (columns >= BLOCK_PANEL) {
#if HAS_RESIDUAL
    result += LOAD_OUT_VEC(residual);
#endif
    STORE_OUT_VEC(ACTIVATE(result), out);
  } else {
    RESULT part[BLOCK_PANEL];
#if HAS_RESIDUAL
    for (int j = 0; j < BLOCK_PANEL; ++j) part[j] = j < columns ? LOAD_OUT(residual, j) : 0;
    result += WIDE(vload, BLOCK_PANEL)(0, part);
#endif
    WIDE(vstore, BLOCK_PANEL)(ACTIVATE(result), 0, part);
    for (int j = 0; j < columns; ++j) STORE_OUT(part[j], out, j);
  }
}
#endif

// The part of a half's fp32 input that it reads, as halves: `columns` from `offset` on of each row, in place.
#if HALF_STORAGE
__kernel void convert_input(__global const float* restrict input, __global half* restrict converted, int rows,
                            int columns, int row_stride, int offset) {
  const int column = get_global_id(0) * 4;
  const int row = get_global_id(1);
  if (row < rows && column < columns) {
    const size_t start = (size_t)row * row_stride + offset + column;
    for (int j = 0; j < min(4, columns - column); ++j) vstore_half(input[start + j], start + j, converted);
  }
}
#endif

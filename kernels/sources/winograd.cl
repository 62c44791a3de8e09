// Winograd F(4x4, 3x3): 4x4 outputs from a 6x6 patch of the input, with 36 products a channel instead of 144.
// Three launches: patches are transformed (B'dB), 36 matrix products run over the channels, and their results
// are transformed back (A'mA). Weights are transformed once, by the set-up launch (GgG'). The interpolation
// points are 0, +-1/sqrt(2), +-sqrt(2) and infinity; families/winograd.py says why.
#define P1 ((NUMBER)0.70710678118654752f)  // 1/sqrt(2), and its cube
#define P1_CUBED ((NUMBER)0.35355339059327376f)
#define P2 ((NUMBER)1.41421356237309505f)  // sqrt(2), and its cube
#define P2_CUBED ((NUMBER)2.82842712474619010f)
#define RATIO(a, b) ((NUMBER)((float)(a) / (float)(b)))

#define FOR_THREE(M) M(0) M(1) M(2)
#define FOR_FOUR(M) FOR_THREE(M) M(3)
#define FOR_SIX(M) FOR_FOUR(M) M(4) M(5)
// Every place of a 6x6 patch; places are numbered line by line.
#define FOR_LINE(M, i) M(6 * i) M(6 * i + 1) M(6 * i + 2) M(6 * i + 3) M(6 * i + 4) M(6 * i + 5)
#define FOR_PATCH(M) FOR_LINE(M, 0) FOR_LINE(M, 1) FOR_LINE(M, 2) FOR_LINE(M, 3) FOR_LINE(M, 4) FOR_LINE(M, 5)

// Vectors of BLOCK_V channels: the input's transform. BLOCK_V divides the channels.
#define CHANNELS WIDE(NUMBER, BLOCK_V)
#if HALF_STORAGE && !HALF_ARITHMETIC
#define LOAD_CHANNELS(p, i) WIDE(vloada_half, BLOCK_V)(i, p)
#define STORE_CHANNELS(x, p, i) WIDE(vstorea_half, BLOCK_V)(x, i, p)
#define STORE_VEC(x, p, i) WIDE(vstorea_half, BLOCK_PANEL)(x, i, p)
#else
#define LOAD_CHANNELS(p, i) ((__global const CHANNELS*)(p))[i]
#define STORE_CHANNELS(x, p, i) ((__global CHANNELS*)(p))[i] = (x)
#define STORE_VEC(x, p, i) ((__global VEC*)(p))[i] = (x)
#endif

// Six inputs of a line or column, `step` apart, become six.
static inline void transform_input(const CHANNELS* d, CHANNELS* t, int step) {
  const CHANNELS even1 = d[4 * step] - (NUMBER)2 * d[2 * step];
  const CHANNELS odd1 = P1 * d[3 * step] - P2 * d[step];
  const CHANNELS even2 = d[4 * step] - RATIO(1, 2) * d[2 * step];
  const CHANNELS odd2 = P2 * d[3 * step] - P1 * d[step];
  t[0] = d[0] - RATIO(5, 2) * d[2 * step] + d[4 * step];
  t[step] = even1 + odd1;
  t[2 * step] = even1 - odd1;
  t[3 * step] = even2 + odd2;
  t[4 * step] = even2 - odd2;
  t[5 * step] = d[step] - RATIO(5, 2) * d[3 * step] + d[5 * step];
}

// Three weights become six.
static inline void transform_weights(const VEC* g, VEC* t, int step) {
  const VEC even1 = RATIO(-2, 3) * g[0] - RATIO(1, 3) * g[2 * step];
  const VEC odd1 = P2 * RATIO(1, 3) * g[step];
  const VEC even2 = RATIO(1, 6) * g[0] + RATIO(1, 3) * g[2 * step];
  const VEC odd2 = P2 * RATIO(1, 6) * g[step];
  t[0] = g[0];
  t[step] = even1 - odd1;
  t[2 * step] = even1 + odd1;
  t[3 * step] = even2 + odd2;
  t[4 * step] = even2 - odd2;
  t[5 * step] = g[2 * step];
}

// Six products, `from` apart, become four outputs, `to` apart.
static inline void transform_output(const VEC* m, VEC* y, int from, int to) {
  const VEC sum1 = m[from] + m[2 * from];
  const VEC difference1 = m[from] - m[2 * from];
  const VEC sum2 = m[3 * from] + m[4 * from];
  const VEC difference2 = m[3 * from] - m[4 * from];
  y[0] = m[0] + sum1 + sum2;
  y[to] = P1 * difference1 + P2 * difference2;
  y[2 * to] = RATIO(1, 2) * sum1 + (NUMBER)2 * sum2;
  y[3 * to] = P1_CUBED * difference1 + P2_CUBED * difference2 + m[5 * from];
}

// Set-up. Packed weights [panel][9 taps][in_channels] -> [36][panel][in_channels], vectors each.
__kernel void winograd_weights(__global const STORED* restrict weights, __global STORED* restrict transformed,
                               int in_channels, int panels) {
  const int panel = get_global_id(0);
  const int c = get_global_id(1);
  if (panel >= panels || c >= in_channels) return;
  VEC g[9], t[18], u[36];
#define LOAD_TAP(i) g[i] = LOAD_VEC(weights, ((size_t)panel * 9 + (i)) * in_channels + c);
#define LOAD_TAPS(i) LOAD_TAP(3 * i) LOAD_TAP(3 * i + 1) LOAD_TAP(3 * i + 2)
#define DOWN(j) transform_weights(g + j, t + j, 3);
#define ACROSS(i) transform_weights(t + 3 * i, u + 6 * i, 1);
#define STORE(i) STORE_VEC(u[i], transformed, ((size_t)(i) * panels + panel) * in_channels + c);
  FOR_THREE(LOAD_TAPS)
  FOR_THREE(DOWN)
  FOR_SIX(ACROSS)
  FOR_PATCH(STORE)
#undef DOWN
#undef ACROSS
#undef STORE
}

// Input [height][width][in_channels] -> [36][tiles][in_channels]. One work-item transforms BLOCK_V channels
// of one tile.
__kernel void winograd_input(__global const STORED* restrict input, __global STORED* restrict transformed,
                             int height, int width, int in_channels, int tiles_x, int tiles, int pad_h,
                             int pad_w) {
  const int vectors = in_channels / BLOCK_V;
  const int vector = get_global_id(0);
  const int tile = get_global_id(1);
  if (vector >= vectors || tile >= tiles) return;
  const int top = tile / tiles_x * 4 - pad_h;
  const int left = tile % tiles_x * 4 - pad_w;
  CHANNELS d[36], t[36];
#define LOAD_PLACE(i)                                                             \
  {                                                                               \
    const int y = top + (i) / 6;                                                  \
    const int x = left + (i) % 6;                                                 \
    d[i] = y >= 0 && y < height && x >= 0 && x < width                            \
               ? LOAD_CHANNELS(input, ((size_t)y * width + x) * vectors + vector) \
               : (CHANNELS)(0.0f);                                                \
  }
#define DOWN(j) transform_input(d + j, t + j, 6);
#define ACROSS(i) transform_input(t + 6 * i, d + 6 * i, 1);
#define STORE(i) STORE_CHANNELS(d[i], transformed, ((size_t)(i) * tiles + tile) * vectors + vector);
  FOR_PATCH(LOAD_PLACE)
  FOR_SIX(DOWN)
  FOR_SIX(ACROSS)
  FOR_PATCH(STORE)
#undef DOWN
#undef ACROSS
#undef STORE
}

// 36 products of [tiles][in_channels] x [in_channels][panels] -> [36][tiles][panels], vectors each;
// BLOCK_ROWS tiles a work-item.
#define LOAD_ROW(i)         \
  VEC sum##i = (VEC)(0.0f); \
  __global const STORED* in##i = input + (size_t)min(tile + i, tiles - 1) * in_channels;
#define ACCUMULATE(i) sum##i += LOAD(in##i, k) * w;
#define STORE_ROW(i) \
  if (tile + i < tiles) STORE_VEC(sum##i, products, ((size_t)place * tiles + tile + i) * panels + panel);

__kernel void winograd_product(__global const STORED* restrict transformed,
                               __global const STORED* restrict weights, __global STORED* restrict products,
                               int tiles, int panels, int in_channels) {
  const int panel = get_global_id(0);
  const int tile = get_global_id(1) * BLOCK_ROWS;
  const int place = get_global_id(2);
  if (panel >= panels || tile >= tiles) return;
  __global const STORED* input = transformed + (size_t)place * tiles * in_channels;
  __global const STORED* panel_weights =
      weights + ((size_t)place * panels + panel) * in_channels * BLOCK_PANEL;
  FOR_ROWS(LOAD_ROW)
  for (int k = 0; k < in_channels; ++k) {
    const VEC w = LOAD_VEC(panel_weights, k);
    FOR_ROWS(ACCUMULATE)
  }
  FOR_ROWS(STORE_ROW)
}

// [36][tiles][panels] -> output. One work-item writes 4x4 pixels of a panel of columns.
__kernel void KERNEL(__global const STORED* restrict products, OUTPUT_PARAMETERS, int tiles_x, int tiles,
                     int panels, int columns, int out_height, int out_width, int row_stride,
                     int column_offset, __global volatile int* signal) {
  const int panel = get_global_id(0);
  const int tile = get_global_id(1);
  if (panel < panels && tile < tiles) {
    VEC m[36], t[24], y[16];
#define LOAD_PRODUCT(i) m[i] = LOAD_VEC(products, ((size_t)(i) * tiles + tile) * panels + panel);
#define DOWN(j) transform_output(m + j, t + j, 6, 6);
#define ACROSS(i) transform_output(t + 6 * i, y + 4 * i, 1, 1);
    FOR_PATCH(LOAD_PRODUCT)
    FOR_SIX(DOWN)
    FOR_FOUR(ACROSS)
    const int top = tile / tiles_x * 4;
    const int left = tile % tiles_x * 4;
    const size_t out = ((size_t)top * out_width + left) * row_stride + column_offset + panel * BLOCK_PANEL;
#define STORE_PIXEL(i, j)                           \
  if (top + i < out_height && left + j < out_width) \
    STORE_PANEL(y[4 * i + j], out + (size_t)(i * out_width + j) * row_stride, columns - panel * BLOCK_PANEL);
#define STORE_LINE(i) STORE_PIXEL(i, 0) STORE_PIXEL(i, 1) STORE_PIXEL(i, 2) STORE_PIXEL(i, 3)
    FOR_FOUR(STORE_LINE)
  }
  SIGNAL(signal)
}

// Convolution and matrix product with input and weights read through images, which a GPU like Adreno caches
// where it does not cache buffers. A texel holds four channels.
//   input image:   x = column of the pixel * slices + slice of four input channels, y = line of the pixel
//   weights image: x = 4 * slice of four output channels + place within the input slice, y = tap * slices +
//   input slice
// A linear layer is a 1x1 convolution of an image one pixel wide. One work-item computes BLOCK_ROWS pixels x
// BLOCK_PANEL (4 or 8) output channels. Reads beyond an image give zeros: the padding costs no branch.
__constant sampler_t zeros_outside = CLK_NORMALIZED_COORDS_FALSE | CLK_ADDRESS_CLAMP | CLK_FILTER_NEAREST;

#define NUMBER4 WIDE(NUMBER, 4)
#if HALF_ARITHMETIC
#define READ(image, x, y) read_imageh(image, zeros_outside, (int2)(x, y))
#define WRITE(image, x, y, texel) write_imageh(image, (int2)(x, y), texel)
#else
#define READ(image, x, y) read_imagef(image, zeros_outside, (int2)(x, y))
#define WRITE(image, x, y, texel) write_imagef(image, (int2)(x, y), texel)
#endif
#if BLOCK_PANEL == 8
#define READ_WEIGHTS(x, y) (VEC)(READ(weights, x, y), READ(weights, (x) + 4, y))
#else
#define READ_WEIGHTS(x, y) READ(weights, x, y)
#endif

// Set-up: packed weights into their image; `slices` of input channels, `width` texels.
__kernel void weights_to_image(__global const STORED* restrict weights, __write_only image2d_t image,
                               int in_channels, int slices, int taps, int width) {
  const int x = get_global_id(0);
  const int y = get_global_id(1);
  if (x >= width || y >= taps * slices) return;
  const int column = x / 4 * 4;
  const int c = y % slices * 4 + x % 4;
  NUMBER4 texel = (NUMBER4)(0.0f);
  if (c < in_channels) {
    const size_t line = (size_t)(column / BLOCK_PANEL) * taps * in_channels + y / slices * in_channels + c;
    __global const STORED* from = weights + line * BLOCK_PANEL + column % BLOCK_PANEL;
    texel = (NUMBER4)(LOAD(from, 0), LOAD(from, 1), LOAD(from, 2), LOAD(from, 3));
  }
  WRITE(image, x, y, texel);
}

// A launch of every execution: the input into its image.
__kernel void input_to_image(__global const STORED* restrict input, __write_only image2d_t image, int height,
                             int width, int in_channels, int slices) {
  const int x = get_global_id(0);
  const int y = get_global_id(1);
  if (x >= width * slices || y >= height) return;
  const int c = x % slices * 4;
  __global const STORED* from = input + ((size_t)y * width + x / slices) * in_channels + c;
  const int count = in_channels - c;
  WRITE(image, x, y,
        (NUMBER4)(LOAD(from, 0), count > 1 ? LOAD(from, 1) : (NUMBER)0, count > 2 ? LOAD(from, 2) : (NUMBER)0,
                  count > 3 ? LOAD(from, 3) : (NUMBER)0));
}

#define LOAD_PIXEL(i)                                         \
  VEC sum##i = (VEC)(0.0f);                                   \
  const int pixel##i = min(pixel + i, pixels - 1);            \
  const int top##i = (pixel##i / out_width) * stride - pad_h; \
  const int left##i = (pixel##i % out_width) * stride - pad_w;
// Left of the image and right of it lie other pixels' texels or none: both are read at a negative x.
#define LOAD_TAP(i)             \
  const int y##i = top##i + ky; \
  const int x##i = left##i + kx >= 0 && left##i + kx < width ? (left##i + kx) * slices : -slices;
#define ACCUMULATE(i)                                        \
  {                                                          \
    const NUMBER4 in = READ(input, x##i + slice, y##i);      \
    sum##i += in.x * w0 + in.y * w1 + in.z * w2 + in.w * w3; \
  }
#define STORE_PIXEL(i) \
  if (pixel + i < pixels) STORE_PANEL(sum##i, out + (size_t)i * row_stride, columns - panel * BLOCK_PANEL);

__kernel void KERNEL(__read_only image2d_t input, __read_only image2d_t weights, OUTPUT_PARAMETERS, int width,
                     int slices, int out_width, int pixels, int columns, int kernel_h, int kernel_w,
                     int stride, int pad_h, int pad_w, int row_stride, int column_offset,
                     __global volatile int* signal) {
  const int panel = get_global_id(0);
  const int pixel = get_global_id(1) * BLOCK_ROWS;
  if (panel * BLOCK_PANEL < columns && pixel < pixels) {
    FOR_ROWS(LOAD_PIXEL)
    int line = 0;
    for (int ky = 0; ky < kernel_h; ++ky) {
      for (int kx = 0; kx < kernel_w; ++kx) {
        FOR_ROWS(LOAD_TAP)
        for (int slice = 0; slice < slices; ++slice, ++line) {
          const VEC w0 = READ_WEIGHTS(panel * BLOCK_PANEL, line);
          const VEC w1 = READ_WEIGHTS(panel * BLOCK_PANEL + 1, line);
          const VEC w2 = READ_WEIGHTS(panel * BLOCK_PANEL + 2, line);
          const VEC w3 = READ_WEIGHTS(panel * BLOCK_PANEL + 3, line);
          FOR_ROWS(ACCUMULATE)
        }
      }
    }
    const size_t out = (size_t)pixel * row_stride + column_offset + panel * BLOCK_PANEL;
    FOR_ROWS(STORE_PIXEL)
  }
  SIGNAL(signal)
}

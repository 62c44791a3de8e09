// Raises the host's signal counter once this kernel's results are visible. NULL when nobody polls.
// Work-group form: every work-group's leader counts, behind a barrier. Launch form: `raise_signal` is a
// kernel of its own, queued behind the half, for devices where a plain atomic does not order the stores
// before it.
#if SIGNAL_IN_KERNEL
#define SIGNAL(counter)                                                    \
  if (counter) {                                                           \
    barrier(CLK_GLOBAL_MEM_FENCE);                                         \
    if (get_local_id(0) == 0 && get_local_id(1) == 0) atomic_inc(counter); \
  }
#else
#define SIGNAL(counter)
#endif

__kernel void raise_signal(__global volatile int* signal) {
  if (signal) atomic_inc(signal);
}

#ifdef PANEL
// The last panel of a layer may hang over its last column.
static void store_panel(VEC sum, __global float* out, int columns) {
  if (columns >= PANEL) {
    VSTORE(sum, 0, out);
  } else {
    float part[PANEL];
    VSTORE(sum, 0, part);
    for (int j = 0; j < columns; ++j) out[j] = part[j];
  }
}
#endif

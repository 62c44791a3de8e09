// Holds a queue until the host has written `sequence`, or what comes after it, into the gate's first word;
// after so many looks in vain it counts that in the second, and lets go.
__kernel void KERNEL(__global volatile int* gate, int sequence, int looks) {
  for (int look = 0; look < looks; ++look) {
    if (atomic_or(gate, 0) - sequence >= 0) return;
  }
  atomic_inc(gate + 1);
}

// The empty half of a joining: writes the number of this execution to every word of the payload, then
// signals. The host checks the payload, so a counter that overtakes the data is found.
__kernel void KERNEL(__global int* payload, int words, int sequence, __global volatile int* signal) {
  const int word = get_global_id(0);
  if (word < words) payload[word] = sequence;
  SIGNAL(signal)
}

/* A histogram of times, 128 steps per octave (an error below 0.8 %), in nanoseconds. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H
#include <stdint.h>
#include <stdio.h>

#define STEPS 128
#define CELLS (STEPS * 48)

struct histogram {
  uint32_t cells[CELLS];
  uint64_t count, sum, max;
};

static inline int histogram_cell(uint64_t value) {
  if (value < STEPS)
    return value;
  int shift = 63 - __builtin_clzll(value) - 7;
  int cell = (shift + 1) * STEPS + (int)((value >> shift) - STEPS);
  return cell < CELLS ? cell : CELLS - 1;
}

static inline double histogram_value(int cell) {
  if (cell < STEPS)
    return cell;
  int shift = cell / STEPS - 1;
  return (double)(((uint64_t)(cell % STEPS) + STEPS) << shift) + (1ull << shift) / 2.0;
}

static inline void histogram_add(struct histogram *h, uint64_t value) {
  h->cells[histogram_cell(value)]++;
  h->count++;
  h->sum += value;
  if (value > h->max)
    h->max = value;
}

static inline double histogram_quantile(const struct histogram *h, double share) {
  uint64_t wanted = (uint64_t)(share * h->count), seen = 0;
  for (int cell = 0; cell < CELLS && h->count; cell++) {
    seen += h->cells[cell];
    if (seen > wanted)
      return histogram_value(cell);
  }
  return h->max;
}

/* `,"name":{...}` in microseconds. */
static inline void histogram_print(const char *name, const struct histogram *h) {
  printf(
      ",\"%s\":{\"n\":%llu,\"mean_us\":%.1f,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}",
      name, (unsigned long long)h->count, h->count ? h->sum / 1e3 / h->count : 0.0,
      histogram_quantile(h, .5) / 1e3, histogram_quantile(h, .9) / 1e3, histogram_quantile(h, .99) / 1e3,
      h->max / 1e3);
}
#endif

/*
 * Every kernel that runs here, and AMX's on emulated tiles, against plain sums in double: odd sizes,
 * both orientations of each operand, packed and quantised matrices, sums that are added to, and the
 * same bits for any number of threads. Prints what failed; its exit status says whether anything did.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../src/product.h"

void choose_kernels(void);
static int failures;

static void forwards(void *pool, void (*body)(void *, size_t), size_t count, void *data) {
  (void)pool;
  for (size_t i = 0; i < count; i++) body(data, i);
}
static void backwards(void *pool, void (*body)(void *, size_t), size_t count, void *data) {
  (void)pool;
  for (size_t i = count; i-- > 0;) body(data, i);
}

static float *filled(ptrdiff_t count) {
  float *x = malloc((size_t)count * sizeof *x);
  for (ptrdiff_t i = 0; i < count; i++) x[i] = (float)rand() / (float)RAND_MAX - 0.5f;
  return x;
}

typedef struct { int m, n, k, transA, transB; } sizes;

static float at(const float *x, ptrdiff_t rows, ptrdiff_t columns, int turned, ptrdiff_t i, ptrdiff_t j) {
  return turned ? x[j * rows + i] : x[i * columns + j];
}

/* How far a computed product may be from the sums of unrounded numbers, each below 1/2. */
static double bound(const kernel *set, int k) { return (set->groupBytes / set->group == 4 ? 1e-6 : 4e-3) * sqrt(k); }

static void compare(const char *what, const product *p, const float *a, const float *b, sizes s, double most) {
  double worst = 0;
  for (int i = 0; i < s.m; i++) {
    for (int j = 0; j < s.n; j++) {
      double sum = 0;
      for (int k = 0; k < s.k; k++) sum += (double)at(a, s.m, s.k, s.transA, i, k) * at(b, s.k, s.n, s.transB, k, j);
      double error = fabs(p->y[i * s.n + j] - (p->alpha * sum + (p->add ? p->add[i * p->addStride + j] : 0)));
      if (!(error <= worst)) worst = error;
    }
  }
  if (worst <= most) return;
  failures++;
  printf("%s %s m %d n %d k %d transA %d transB %d: off by %g, at most %g\n", p->kernel->name, what, s.m, s.n,
         s.k, s.transA, s.transB, worst, most);
}

static void both_ways(const char *what, product *p, const float *a, const float *b, sizes s, double most) {
  const threads there = {forwards, NULL}, back = {backwards, NULL};
  size_t bytes = (size_t)s.m * s.n * sizeof(float);
  float *first = malloc(bytes);
  set_thread_count(1);
  memset(p->y, 0x7f, bytes);
  multiply(p, &there);
  compare(what, p, a, b, s, most);
  memcpy(first, p->y, bytes);
  for (int count = 2; count < 20; count += 5) {
    set_thread_count(count);
    memset(p->y, 0x7f, bytes);
    multiply(p, count & 1 ? &there : &back);
    if (memcmp(first, p->y, bytes)) {
      failures++;
      printf("%s %s m %d n %d k %d: other bits with %d threads\n", p->kernel->name, what, s.m, s.n, s.k, count);
    }
  }
  free(first);
}

static void try_quantized(const kernel *set, sizes s, int bits) {
  enum { GROUP = 32 };
  ptrdiff_t rows = s.transB ? s.n : s.k, columns = s.transB ? s.k : s.n, groups = parts(columns, GROUP);
  ptrdiff_t count = rows * groups * GROUP;
  uint8_t *codes = malloc((size_t)count * bits / 8), *zeros = malloc((size_t)(rows * groups));
  float *scales = filled(rows * groups), *b = malloc((size_t)(rows * columns) * sizeof *b), *a = filled((ptrdiff_t)s.m * s.k);
  for (ptrdiff_t i = 0; i < count * bits / 8; i++) codes[i] = (uint8_t)rand();
  for (ptrdiff_t i = 0; i < rows * groups; i++) zeros[i] = (uint8_t)(rand() % (1 << bits)), scales[i] /= (float)(1 << bits);
  for (ptrdiff_t r = 0; r < rows; r++) {
    for (ptrdiff_t c = 0; c < columns; c++) {
      ptrdiff_t i = r * groups * GROUP + c, g = r * groups + c / GROUP;
      int code = bits == 8 ? codes[i] : codes[i / 2] >> i % 2 * 4 & 15;
      b[r * columns + c] = (float)(code - zeros[g]) * scales[g];
    }
  }
  product p = {set, s.m, s.n, s.k, s.transA ? (operand){a, 1, s.m} : (operand){a, s.k, 1}, QUANTIZED, {0}, NULL,
               {codes, zeros, scales, columns, bits, GROUP}, !s.transB, 1, NULL, 0,
               malloc((size_t)s.m * s.n * sizeof(float))};
  both_ways(bits == 8 ? "int8" : "int4", &p, a, b, s, bound(set, s.k));
  free(codes), free(zeros), free(scales), free(a), free(b), free(p.y);
}

/* Weights are rounded by their places, whichever way they are read, and by however many rows. */
static void try_weight(product *p, const operand *all, ptrdiff_t rows, ptrdiff_t columns, uint8_t *panels) {
  const threads here = {forwards, NULL};
  const kernel *set = p->kernel;
  size_t bytes = (size_t)(p->m * p->n) * sizeof(float);
  float *plain = malloc(bytes), *row = malloc((size_t)columns * sizeof *row);
  for (ptrdiff_t first = 0; first < rows; first += 2 * set->right) {
    operand some = {all->data + first * columns, columns, 1, 1, first * columns};
    pack_lanes(set, &some, least(2 * set->right, rows - first), columns, panels, first, rows, &here);
  }
  int wrong = 0;
  for (ptrdiff_t r = 0; r < rows; r++) {
    unpack(set, panels, rows, columns, r, 0, columns, row);
    for (ptrdiff_t c = 0; c < columns; c++) {
      ptrdiff_t i = r * columns + c;
      wrong += row[c] != widened(bf16_weight(all->data[i], (uint32_t)i));
    }
  }
  multiply(p, &here);
  memcpy(plain, p->y, bytes);
  p->stored = PLAIN;
  multiply(p, &here);
  wrong += memcmp(plain, p->y, bytes) != 0;
  if (wrong) printf("%s: %d numbers of a weight are rounded otherwise\n", set->name, wrong);
  failures += wrong > 0;
  free(plain), free(row);
}

/* Over many places a weight's mean stays what it was, and a bfloat16 number itself. */
static void try_rounding(void) {
  enum { COUNT = 1 << 20 };
  const float x = 0.0200001f, exact = widened(bf16(x));
  double sum = 0;
  int changed = 0;
  for (uint32_t i = 0; i < COUNT; i++) {
    sum += widened(bf16_weight(x, i));
    changed += widened(bf16_weight(exact, i)) != exact || widened(bf16_weight(-exact, i)) != -exact;
  }
  double off = fabs(sum / COUNT / x - 1);
  if (off > 1e-5 || changed) printf("rounding of weights: off by %g, %d changed\n", off, changed);
  failures += off > 1e-5 || changed > 0;
}

static void try_sizes(const kernel *set, sizes s, int isRounding) {
  const threads here = {forwards, NULL};
  float *a = filled((ptrdiff_t)s.m * s.k), *b = filled((ptrdiff_t)s.n * s.k), *add = filled((ptrdiff_t)s.m * s.n);
  product p = {set, s.m, s.n, s.k, s.transA ? (operand){a, 1, s.m} : (operand){a, s.k, 1}, PLAIN,
               s.transB ? (operand){b, s.k, 1} : (operand){b, 1, s.n}, NULL, {0}, 0, 0.75f, NULL, 0,
               malloc((size_t)s.m * s.n * sizeof(float))};
  double most = bound(set, s.k);
  both_ways("plain", &p, a, b, s, most);
  p.add = add;
  p.addStride = s.n;
  both_ways("added", &p, a, b, s, most);
  p.addStride = 0;
  both_ways("bias", &p, a, b, s, most);
  if (isRounding) {
    ptrdiff_t rows = s.transB ? s.n : s.k, columns = s.transB ? s.k : s.n;
    operand all = {b, columns, 1};
    uint8_t *panels = malloc(packed_bytes(set, rows, columns));
    pack_lanes(set, &all, rows, columns, panels, 0, rows, &here);
    p.stored = PACKED, p.panels = panels, p.turned = !s.transB;
    both_ways("packed", &p, a, b, s, most);
    float *row = malloc((size_t)columns * sizeof *row);
    for (ptrdiff_t r = 0; r < rows; r += 7) {
      unpack(set, panels, rows, columns, r, 0, columns, row);
      for (ptrdiff_t c = 0; c < columns; c++) {
        if (row[c] == widened(bf16(b[r * columns + c]))) continue;
        failures++;
        printf("%s: row %td, column %td of packed panels is another number\n", set->name, r, c);
        break;
      }
    }
    p.b.isWeight = all.isWeight = 1;
    try_weight(&p, &all, rows, columns, panels);
    free(row), free(panels);
    try_quantized(set, s, 8);
    try_quantized(set, s, 4);
  }
  free(a), free(b), free(add), free(p.y);
}

static void try_kernel(const kernel *set, int isRounding) {
  static const int shapes[][3] = {{1, 1, 1},    {1, 70, 130},  {16, 96, 64},  {13, 33, 37},   {37, 77, 101},
                                  {5, 300, 33}, {90, 31, 8},   {8, 130, 200}, {200, 8, 130},  {25, 107, 1333},
                                  {70, 1100, 90}, {1100, 40, 70}, {130, 260, 1030}, {3, 40, 2100}};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    for (int trans = 0; trans < 4; trans++) {
      try_sizes(set, (sizes){shapes[i][0], shapes[i][1], shapes[i][2], trans & 1, trans >> 1}, isRounding);
    }
  }
  printf("%s checked\n", set->name);
}

int main(void) {
  choose_kernels();
  try_rounding();
#ifdef EMULATED_TILES
  if (bf16_kernel()) try_kernel(&amx_bf16, 1); /* packs with AVX512-BF16 */
#else
  if (bf16_kernel()) try_kernel(bf16_kernel(), 1);
  if (f32_kernel()) try_kernel(f32_kernel(), 0);
#if defined(__x86_64__)
  if (f32_kernel()) try_kernel(&avx2_f32, 0);
#endif
#endif
  return failures > 0;
}

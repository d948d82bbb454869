/*
 * Y = alpha op(A) op(B) + S: matrix products whose operands are rounded while they are packed.
 *
 * Letters: m rows of Y, n columns of Y, k the inner size. "Lanes" are the rows of A or the columns
 * of B, whichever is spoken of: both operands are packed alike, as panels of some lanes, in which the
 * numbers of one k (or one group of k) for all lanes lie side by side.
 */
#ifndef DFT_PRODUCT_H
#define DFT_PRODUCT_H
#include <stddef.h>
#include <stdint.h>

/* An operand as it lies in memory: lane l at k is data[l * lane + k * inner]. One stride is 1. */
typedef struct {
  const float *data;
  ptrdiff_t lane, inner;
  int isWeight;      /* rounded by bf16_weight below, not to nearest */
  ptrdiff_t place;   /* of data[0] in its matrix */
} operand;

/* A matrix of codes, groupSize of a row sharing a scale and a zero point: w = (code - zero) scale. */
typedef struct {
  const uint8_t *codes, *zeros;
  const float *scales;
  ptrdiff_t columns;
  int bits, groupSize;
} quantized;

/* What one call of a micro-kernel computes: rows x columns numbers of Y over one block of k. */
typedef struct {
  const void *left, *right; /* panels */
  ptrdiff_t groups;         /* groups of k in this block */
  float *y;
  ptrdiff_t stride;         /* of y's rows */
  const float *add;         /* what is added to the product, or NULL */
  ptrdiff_t addStride;      /* 0: one row for all */
  float alpha;
  int rows, columns;
} tile;

/*
 * A set of micro-kernels. A panel of `lanes` lanes over `count` k takes
 * lanes * ceil(count / group) * groupBytes bytes; missing lanes and k are zeros.
 */
typedef struct {
  const char *name;
  int left, right;          /* lanes of a panel of A, of B */
  int group, groupBytes;    /* k that a step of the kernel takes, and their bytes for a lane */
  int together;             /* k of a lane that are neighbours in a panel of B */
  int block;                /* k summed before Y is written: decides the order of sums */
  void (*packLeft)(const operand *, ptrdiff_t lane, int lanes, ptrdiff_t k, int count, void *panel);
  void (*packRight)(const operand *, ptrdiff_t lane, int lanes, ptrdiff_t k, int count, void *panel);
  void (*multiply)(const tile *);
  /* A panel of B^T made of B's panels of one block; NULL: through float32. */
  void (*turn)(const void *panels, ptrdiff_t pair, int lanes, int count, ptrdiff_t panelBytes,
               void *panel);
} kernel;

/* Runs body(data, i) for i below count, in any order, on the caller's threads. */
typedef struct {
  void (*run)(void *pool, void (*body)(void *data, size_t i), size_t count, void *data);
  void *pool;
} threads;

typedef enum { PLAIN, PACKED, QUANTIZED } storage;

typedef struct {
  const kernel *kernel;
  ptrdiff_t m, n, k;
  operand a;
  storage stored;           /* how B is held */
  operand b;                /* PLAIN */
  const uint8_t *panels;    /* PACKED: B or B^T, see packed_bytes */
  quantized codes;          /* QUANTIZED: [n, k], or [k, n] */
  int turned;               /* PACKED, QUANTIZED: what is held is [k, n], its rows are k */
  float alpha;
  const float *add;
  ptrdiff_t addStride;
  float *y;                 /* [m, n], rows side by side */
} product;

/* 0 where there was no memory. */
int multiply(const product *, const threads *);
/* `count` products, each on one thread. */
int multiply_each(const product *, size_t count, const threads *);

/* A matrix [lanes, k] as panels: for each block of k, one panel after another. */
size_t packed_bytes(const kernel *, ptrdiff_t lanes, ptrdiff_t k);
/* Of `all` lanes those from `first` on, which is a whole number of panels before them. */
void pack_lanes(const kernel *, const operand *, ptrdiff_t lanes, ptrdiff_t k, uint8_t *panels,
                ptrdiff_t first, ptrdiff_t all, const threads *);
/* Numbers k0 .. k0 + count of one lane of packed panels, as float32. */
void unpack(const kernel *, const uint8_t *panels, ptrdiff_t lanes, ptrdiff_t k, ptrdiff_t lane,
            ptrdiff_t k0, ptrdiff_t count, float *out);

/* Memory that calls use in turns; its contents are anything. NULL when there is none. */
void *scratch(size_t bytes);
void scratch_done(void *);

/* The sets that this processor runs, or NULL (choose.c). */
const kernel *bf16_kernel(void);
const kernel *f32_kernel(void);
void set_thread_count(int);

extern const kernel avx512_bf16, amx_bf16, avx512_f32, avx2_f32, bfmmla;

static inline ptrdiff_t least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static inline ptrdiff_t parts(ptrdiff_t whole, ptrdiff_t part) { return (whole + part - 1) / part; }
static inline size_t panel_bytes(const kernel *set, int lanes, ptrdiff_t count) {
  return (size_t)lanes * parts(count, set->group) * set->groupBytes;
}
/* Rounded to nearest, ties to even. */
static inline uint16_t bf16(float x) {
  union { float number; uint32_t bits; } v = {x};
  if ((v.bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(v.bits >> 16 | 0x40); /* NaN stays one */
  return (uint16_t)((v.bits + 0x7fff + (v.bits >> 16 & 1)) >> 16);
}
/*
 * What decides which way the weight at a place of its matrix is rounded: 16 bits, even over many
 * places, the same each time.
 */
#define WEIGHT_MIX 0x9e3779b1u
#define WEIGHT_MIX_AGAIN 0x85ebca77u
#define WEIGHT_SHIFT 15
static inline uint32_t weight_offset(uint32_t place) {
  uint32_t h = place * WEIGHT_MIX;
  h ^= h >> WEIGHT_SHIFT;
  return h * WEIGHT_MIX_AGAIN >> 16;
}
/*
 * A weight is rounded up as often as it lies far above the number below it. To nearest, what a step
 * changes would be lost: a checkpoint's weights mostly are bfloat16 numbers, and 1e-5 beside 0.02 is a
 * sixth of the way to where the next one is nearer. So the mean of many weights moves as they do; one
 * that is a bfloat16 number stays it.
 */
static inline uint16_t bf16_weight(float x, uint32_t place) {
  union { float number; uint32_t bits; } v = {x};
  if ((v.bits & 0x7f800000) == 0x7f800000) return bf16(x);
  return (uint16_t)((v.bits + weight_offset(place)) >> 16);
}
static inline uint16_t bf16_of(const operand *x, ptrdiff_t offset, float value) {
  return x->isWeight ? bf16_weight(value, (uint32_t)(x->place + offset)) : bf16(value);
}
static inline float widened(uint16_t x) {
  union { uint32_t bits; float number; } v = {(uint32_t)x << 16};
  return v.number;
}
#endif

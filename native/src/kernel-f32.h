/*
 * Float32 products, for the one shape at which ONNX Runtime's own are slow: a tall, narrow gradient
 * of a weight, dW = dY^T x, whose first factor MLAS turns around once for every 128 columns.
 *
 * Each number of Y is summed as MLAS sums it: over 128 k in order by fused multiplication and
 * addition, then added to what is there. So the bits are the same.
 *
 * Included with FLOATS (of a vector), LEFT (rows), NAME and SET defined.
 */
#include <string.h>

#include "product.h"

#define RIGHT (2 * FLOATS)
#define INLINE static inline __attribute__((always_inline))
typedef float vector __attribute__((vector_size(4 * FLOATS)));
typedef float unaligned __attribute__((vector_size(4 * FLOATS), aligned(4)));

INLINE void pack(const operand *x, ptrdiff_t lane, int lanes, ptrdiff_t k, int count, float *out,
                 const int width) {
  const float *from = x->data + lane * x->lane + k * x->inner;
  if (x->lane == 1 && lanes == width) {
    for (int i = 0; i < count; i++) memcpy(out + i * width, from + i * x->inner, 4 * (size_t)width);
    return;
  }
  for (int i = 0; i < count; i++) {
    for (int l = 0; l < width; l++) {
      out[i * width + l] = l < lanes ? from[l * x->lane + i * x->inner] : 0;
    }
  }
}

static void pack_left(const operand *x, ptrdiff_t lane, int lanes, ptrdiff_t k, int count, void *out) {
  pack(x, lane, lanes, k, count, out, LEFT);
}
static void pack_right(const operand *x, ptrdiff_t lane, int lanes, ptrdiff_t k, int count, void *out) {
  pack(x, lane, lanes, k, count, out, RIGHT);
}

INLINE void finish(const tile *t, int i, int column, vector sum) {
  float *y = t->y + i * t->stride + column;
  const float *add = t->add ? t->add + i * t->addStride + column : NULL;
  vector scaled = sum * t->alpha;
  int columns = t->columns - column;
  if (columns >= FLOATS) {
    if (add) scaled = *(const unaligned *)add + scaled;
    *(unaligned *)y = scaled;
  } else {
    for (int j = 0; j < columns; j++) y[j] = add ? add[j] + scaled[j] : scaled[j];
  }
}

static void multiply_tile(const tile *t) {
  vector sum[LEFT][2] = {0};
  const float *left = t->left, *right = t->right;
  for (ptrdiff_t k = 0; k < t->groups; k++, left += LEFT, right += RIGHT) {
    vector b0 = *(const vector *)right, b1 = *(const vector *)(right + FLOATS);
#pragma GCC unroll 12
    for (int i = 0; i < LEFT; i++) {
      sum[i][0] += left[i] * b0;
      sum[i][1] += left[i] * b1;
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < LEFT; i++) {
    if (i >= t->rows) break;
    finish(t, i, 0, sum[i][0]);
    finish(t, i, FLOATS, sum[i][1]);
  }
}

const kernel SET = {NAME, LEFT, RIGHT, 1, 4, 1, 128, pack_left, pack_right, multiply_tile, NULL};

/*
 * BFMMLA (ARMv8.6: Graviton 3, Neoverse V1 and newer): 8 rows of 12 columns in 24 registers of 2 x 2
 * sums. A register of an operand holds four k of two lanes.
 */
#include <arm_neon.h>

#include "product.h"

enum { LEFT = 8, RIGHT = 12, GROUP = 4 };

/* [groups][width][GROUP] */
static void pack(const operand *x, ptrdiff_t lane, int lanes, ptrdiff_t k, int count, uint16_t *out,
                 int width) {
  const float *from = x->data + lane * x->lane + k * x->inner;
  for (int g = 0; g < count; g += GROUP) {
    int here = (int)least(GROUP, count - g);
    for (int l = 0; l < width; l++, out += GROUP) {
      const float *row = from + l * x->lane + g * x->inner;
      if (l < lanes && here == GROUP && x->inner == 1 && !x->isWeight) {
        vst1_u16(out, vreinterpret_u16_bf16(vcvt_bf16_f32(vld1q_f32(row))));
      } else {
        for (int i = 0; i < GROUP; i++) {
          const float *one = row + i * x->inner;
          out[i] = l < lanes && i < here ? bf16_of(x, one - x->data, *one) : 0;
        }
      }
    }
  }
}

static void pack_left(const operand *x, ptrdiff_t lane, int lanes, ptrdiff_t k, int count, void *out) {
  pack(x, lane, lanes, k, count, out, LEFT);
}
static void pack_right(const operand *x, ptrdiff_t lane, int lanes, ptrdiff_t k, int count, void *out) {
  pack(x, lane, lanes, k, count, out, RIGHT);
}

static void multiply_tile(const tile *t) {
  float32x4_t sum[LEFT / 2][RIGHT / 2];
  for (int i = 0; i < LEFT / 2; i++) {
    for (int j = 0; j < RIGHT / 2; j++) sum[i][j] = vdupq_n_f32(0);
  }
  const bfloat16_t *left = t->left, *right = t->right;
  for (ptrdiff_t g = 0; g < t->groups; g++, left += LEFT * GROUP, right += RIGHT * GROUP) {
    bfloat16x8_t a[LEFT / 2];
#pragma GCC unroll 4
    for (int i = 0; i < LEFT / 2; i++) a[i] = vld1q_bf16(left + i * 2 * GROUP);
#pragma GCC unroll 6
    for (int j = 0; j < RIGHT / 2; j++) {
      bfloat16x8_t b = vld1q_bf16(right + j * 2 * GROUP);
#pragma GCC unroll 4
      for (int i = 0; i < LEFT / 2; i++) sum[i][j] = vbfmmlaq_f32(sum[i][j], a[i], b);
    }
  }
  float sums[LEFT][RIGHT];
  for (int i = 0; i < LEFT / 2; i++) {
    for (int j = 0; j < RIGHT / 2; j++) {
      vst1_f32(&sums[2 * i][2 * j], vget_low_f32(sum[i][j]));
      vst1_f32(&sums[2 * i + 1][2 * j], vget_high_f32(sum[i][j]));
    }
  }
  for (int i = 0; i < t->rows; i++) {
    float *y = t->y + i * t->stride;
    const float *add = t->add ? t->add + i * t->addStride : NULL;
    for (int j = 0; j < t->columns; j++) {
      y[j] = add ? sums[i][j] * t->alpha + add[j] : sums[i][j] * t->alpha;
    }
  }
}

const kernel bfmmla = {"bfmmla", LEFT, RIGHT, GROUP, 2 * GROUP, GROUP, 1024,
                       pack_left, pack_right, multiply_tile, NULL};

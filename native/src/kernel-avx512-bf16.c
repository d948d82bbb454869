/* AVX512-BF16 (Zen 4 and newer, Cooper Lake, Sapphire Rapids): 12 rows of 32 columns in 24 registers. */
#include <immintrin.h>

#include "product.h"

enum { LEFT = 12, RIGHT = 32 };
#define INLINE static inline __attribute__((always_inline))

static inline __mmask16 first(ptrdiff_t n) {
  return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1);
}

/* A 16 x 16 matrix of 32-bit numbers is turned around. */
INLINE void transpose(__m512i r[16]) {
  __m512i t[16];
  for (int i = 0; i < 8; i++) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; i++) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
  }
  for (int i = 0; i < 4; i++) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
    r[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88);
    r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
    r[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd);
  }
}

/* Numbers at `at`, those of weights already rounded (bf16_weight; infinite ones are left as they are). */
INLINE __m512 loaded(const operand *x, __mmask16 there, const float *at, const int isWeight) {
  __m512 numbers = _mm512_maskz_loadu_ps(there, at);
  if (!isWeight) return numbers;
  const __m512i order = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i most = _mm512_set1_epi32(0x7f800000);
  __m512i place = _mm512_add_epi32(_mm512_set1_epi32((int)(x->place + (at - x->data))), order);
  __m512i h = _mm512_mullo_epi32(place, _mm512_set1_epi32((int)WEIGHT_MIX));
  h = _mm512_xor_si512(h, _mm512_srli_epi32(h, WEIGHT_SHIFT));
  h = _mm512_srli_epi32(_mm512_mullo_epi32(h, _mm512_set1_epi32((int)WEIGHT_MIX_AGAIN)), 16);
  __m512i bits = (__m512i)numbers;
  __mmask16 finite = _mm512_cmpneq_epi32_mask(_mm512_and_si512(bits, most), most);
  bits = _mm512_mask_add_epi32(bits, finite, bits, h);
  return (__m512)_mm512_mask_and_epi32(bits, finite, bits, _mm512_set1_epi32((int)0xffff0000));
}

/* Sixteen lanes, k side by side in memory: 32 k at a time become 16 vectors of pairs. */
INLINE void pack_rows(const operand *of, const float *x, ptrdiff_t lanes, int count, uint32_t *out,
                      int width, __mmask16 kept, const int isWeight) {
  ptrdiff_t stride = of->lane;
  for (int k = 0; k < count; k += 32) {
    __m512i r[16];
    __mmask16 low = first(count - k), high = first(count - k - 16);
    for (int l = 0; l < 16; l++) {
      const float *row = x + l * stride + k;
      r[l] = l < lanes ? (__m512i)_mm512_cvtne2ps_pbh(loaded(of, high, row + 16, isWeight),
                                                      loaded(of, low, row, isWeight))
                       : _mm512_setzero_si512();
    }
    transpose(r);
    int pairs = (int)least(16, (count - k + 1) / 2);
    for (int p = 0; p < pairs; p++) {
      _mm512_mask_storeu_epi32(out + (k / 2 + p) * width, kept, r[p]);
    }
  }
}

/* Sixteen lanes side by side in memory: two rows of k become one vector of pairs. */
INLINE void pack_columns(const operand *of, const float *x, ptrdiff_t lanes, int count,
                         uint32_t *out, int width, __mmask16 kept, const int isWeight) {
  ptrdiff_t stride = of->inner;
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
                                         23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  __mmask16 there = first(lanes);
  for (int k = 0; k < count; k += 2) {
    const float *row = x + k * stride;
    __m512 even = loaded(of, there, row, isWeight);
    __m512 odd = k + 1 < count ? loaded(of, there, row + stride, isWeight) : _mm512_setzero_ps();
    __m512i pairs = _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
    _mm512_mask_storeu_epi32(out + k / 2 * width, kept, pairs);
  }
}

INLINE void pack(const operand *x, ptrdiff_t lane, int lanes, ptrdiff_t k, int count, uint32_t *out,
                 const int width, const int isWeight) {
  const float *from = x->data + lane * x->lane + k * x->inner;
  for (int l = 0; l < width; l += 16) {
    __mmask16 kept = first(width - l);
    const float *at = from + l * x->lane;
    if (x->inner == 1) pack_rows(x, at, lanes - l, count, out + l, width, kept, isWeight);
    else pack_columns(x, at, lanes - l, count, out + l, width, kept, isWeight);
  }
}

static void pack_left(const operand *x, ptrdiff_t lane, int lanes, ptrdiff_t k, int count, void *out) {
  pack(x, lane, lanes, k, count, out, LEFT, 0);
}
static void pack_right(const operand *x, ptrdiff_t lane, int lanes, ptrdiff_t k, int count, void *out) {
  if (x->isWeight) pack(x, lane, lanes, k, count, out, RIGHT, 1);
  else pack(x, lane, lanes, k, count, out, RIGHT, 0);
}

/*
 * From panels whose lanes are this panel's k: 16 of their lanes by 16 of their pairs are turned
 * around, then two neighbouring rows are woven into pairs.
 */
static void turn(const void *panels, ptrdiff_t pair, int lanes, int count, ptrdiff_t bytes, void *out) {
  __m512i low, high;
  {
    uint16_t l[32], h[32];
    for (int i = 0; i < 16; i++) {
      l[2 * i] = (uint16_t)i, l[2 * i + 1] = (uint16_t)(32 + i);
      h[2 * i] = (uint16_t)(16 + i), h[2 * i + 1] = (uint16_t)(48 + i);
    }
    low = _mm512_loadu_si512(l), high = _mm512_loadu_si512(h);
  }
  int pairs = (lanes + 1) / 2;
  uint32_t *to = out;
  for (int k = 0; k < count; k += 16) {
    const uint32_t *from = (const uint32_t *)((const uint8_t *)panels + k / RIGHT * bytes) + k % RIGHT;
    __m512i r[16];
    for (int p = 0; p < 16; p++) {
      r[p] = p < pairs ? _mm512_loadu_si512(from + (pair + p) * RIGHT) : _mm512_setzero_si512();
    }
    transpose(r);
    int now = (int)least(8, (count - k + 1) / 2);
    for (int p = 0; p < now; p++, to += RIGHT) {
      _mm512_storeu_si512(to, _mm512_permutex2var_epi16(r[2 * p], low, r[2 * p + 1]));
      _mm512_storeu_si512(to + 16, _mm512_permutex2var_epi16(r[2 * p], high, r[2 * p + 1]));
    }
  }
}

INLINE void finish(const tile *t, int i, int column, __m512 sum) {
  __mmask16 kept = first(t->columns - column);
  __m512 y = _mm512_mul_ps(sum, _mm512_set1_ps(t->alpha));
  if (t->add) {
    y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(kept, t->add + i * t->addStride + column));
  }
  _mm512_mask_storeu_ps(t->y + i * t->stride + column, kept, y);
}

INLINE void multiply_rows(const tile *t, const int rows, const int vectors) {
  __m512 sum[LEFT][2];
  for (int i = 0; i < rows; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
  const uint32_t *left = t->left, *right = t->right;
  for (ptrdiff_t p = 0; p < t->groups; p++, left += LEFT, right += RIGHT) {
    __m512bh b0 = (__m512bh)_mm512_loadu_si512(right);
    __m512bh b1 = vectors > 1 ? (__m512bh)_mm512_loadu_si512(right + 16) : b0;
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
      __m512bh a = (__m512bh)_mm512_set1_epi32((int)left[i]);
      sum[i][0] = _mm512_dpbf16_ps(sum[i][0], a, b0);
      if (vectors > 1) sum[i][1] = _mm512_dpbf16_ps(sum[i][1], a, b1);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < rows; i++) {
    finish(t, i, 0, sum[i][0]);
    if (vectors > 1) finish(t, i, 16, sum[i][1]);
  }
}

static void multiply_tile(const tile *t) {
#define ROWS(n) \
  case n: \
    if (t->columns > 16) multiply_rows(t, n, 2); \
    else multiply_rows(t, n, 1); \
    break;
  switch (t->rows) {
    ROWS(1) ROWS(2) ROWS(3) ROWS(4) ROWS(5) ROWS(6) ROWS(7) ROWS(8) ROWS(9) ROWS(10) ROWS(11) ROWS(12)
  }
#undef ROWS
}

const kernel avx512_bf16 = {"avx512_bf16", LEFT, RIGHT, 2, 4, 2, 1024,
                            pack_left, pack_right, multiply_tile, turn};

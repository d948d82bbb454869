/*
 * AMX-BF16 (Sapphire Rapids and newer): 32 rows of 32 columns in four tiles of 16 x 16 sums.
 *
 * A tile of A is 16 rows of 32 k, side by side; a tile of B is 16 pairs of k for 16 columns, the
 * layout of kernel-avx512-bf16.c filled up with zeros to 32 k, so its packing serves for B.
 */
#include <immintrin.h>
#include <string.h>

#include "product.h"
#ifdef EMULATED_TILES
#include "../check/emulated-tiles.h" /* where the processor has none */
#endif

enum { LEFT = 32, RIGHT = 32, GROUP = 32, TILE_ROW = 64 };

typedef struct {
  uint8_t palette, start, unused[14];
  uint16_t rowBytes[16];
  uint8_t rows[16];
} tile_shapes;

static void pack_left(const operand *x, ptrdiff_t lane, int lanes, ptrdiff_t k, int count, void *out) {
  const float *from = x->data + lane * x->lane + k * x->inner;
  uint16_t *to = out; /* [groups][LEFT][GROUP] */
  for (int g = 0; g < count; g += GROUP) {
    int here = (int)least(GROUP, count - g);
    for (int l = 0; l < LEFT; l++, to += GROUP) {
      const float *row = from + l * x->lane + g * x->inner;
      if (l < lanes && here == GROUP && x->inner == 1) {
        _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(row + 16),
                                                             _mm512_loadu_ps(row)));
      } else {
        for (int i = 0; i < GROUP; i++) to[i] = l < lanes && i < here ? bf16(row[i * x->inner]) : 0;
      }
    }
  }
}

static void fill(void *panel, int count) {
  ptrdiff_t pairs = parts(count, 2), filled = parts(count, GROUP) * GROUP / 2;
  memset((uint32_t *)panel + pairs * RIGHT, 0, (size_t)(filled - pairs) * RIGHT * 4);
}

static void pack_right(const operand *x, ptrdiff_t lane, int lanes, ptrdiff_t k, int count, void *out) {
  avx512_bf16.packRight(x, lane, lanes, k, count, out);
  fill(out, count);
}

static void turn(const void *panels, ptrdiff_t pair, int lanes, int count, ptrdiff_t bytes, void *out) {
  avx512_bf16.turn(panels, pair, lanes, count, bytes, out);
  fill(out, count);
}

static void multiply_tile(const tile *t) {
  tile_shapes shapes = {.palette = 1};
  for (int i = 0; i < 8; i++) shapes.rowBytes[i] = TILE_ROW, shapes.rows[i] = 16;
  _tile_loadconfig(&shapes);
  float sums[LEFT][RIGHT] __attribute__((aligned(64)));
  const uint8_t *left = t->left, *right = t->right;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (ptrdiff_t g = 0; g < t->groups; g++) {
    _tile_loadd(4, left, TILE_ROW);
    _tile_loadd(5, left + 16 * TILE_ROW, TILE_ROW);
    _tile_loadd(6, right, 2 * TILE_ROW);
    _tile_loadd(7, right + TILE_ROW, 2 * TILE_ROW);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    left += LEFT * TILE_ROW;
    right += 16 * 2 * TILE_ROW;
  }
  _tile_stored(0, &sums[0][0], RIGHT * 4);
  _tile_stored(1, &sums[0][16], RIGHT * 4);
  _tile_stored(2, &sums[16][0], RIGHT * 4);
  _tile_stored(3, &sums[16][16], RIGHT * 4);
  _tile_release();
  for (int i = 0; i < t->rows; i++) {
    float *y = t->y + i * t->stride;
    const float *add = t->add ? t->add + i * t->addStride : NULL;
    for (int j = 0; j < t->columns; j++) {
      y[j] = add ? sums[i][j] * t->alpha + add[j] : sums[i][j] * t->alpha;
    }
  }
}

const kernel amx_bf16 = {"amx_bf16", LEFT, RIGHT, GROUP, 2 * GROUP, 2, 1024,
                         pack_left, pack_right, multiply_tile, turn};

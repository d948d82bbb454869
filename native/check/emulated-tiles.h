/* What the tile instructions do (Intel SDM, TDPBF16PS), in plain C: lets a test run kernel-amx-bf16.c. */
#ifndef DFT_EMULATED_TILES_H
#define DFT_EMULATED_TILES_H
static uint8_t emulatedTiles[8][16][64];
#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig(shapes) ((void)(shapes))
#define _tile_release() ((void)0)
#define _tile_zero(t) memset(emulatedTiles[t], 0, sizeof emulatedTiles[t])
#define _tile_loadd(t, from, stride) \
  for (int r_ = 0; r_ < 16; r_++) \
    memcpy(emulatedTiles[t][r_], (const uint8_t *)(from) + r_ * (stride), 64)
#define _tile_stored(t, to, stride) \
  for (int r_ = 0; r_ < 16; r_++) memcpy((uint8_t *)(to) + r_ * (stride), emulatedTiles[t][r_], 64)
static void emulated_dot(int c, int a, int b) {
  for (int m = 0; m < 16; m++) {
    for (int k = 0; k < 16; k++) {
      for (int n = 0; n < 16; n++) {
        float *sum = (float *)emulatedTiles[c][m] + n;
        const uint16_t *x = (const uint16_t *)emulatedTiles[a][m] + 2 * k;
        const uint16_t *y = (const uint16_t *)emulatedTiles[b][k] + 2 * n;
        *sum += widened(x[0]) * widened(y[0]);
        *sum += widened(x[1]) * widened(y[1]);
      }
    }
  }
}
#define _tile_dpbf16ps(c, a, b) emulated_dot(c, a, b)
#endif

/* AdamW with block-wise eight-bit moments; src/optim/adamw-8bit.ts has the formula and the tables. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
enum { BLOCK = 256 };

typedef struct {
  const float *values, *middles;
  const uint8_t *first;
} code_map;

static void encode(const float *numbers, int count, float most, const code_map *map, uint8_t *codes) {
  for (int i = 0; i < count; i++) {
    float x = most == 0 ? 0 : numbers[i] / most;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    int code = map->first[bits >> 16];
    while (code < 255 && x > map->middles[code]) code++;
    codes[i] = (uint8_t)code;
  }
}

/* scalars: keep, rate, epsilon, gradientToFirst, squareToSecond, beta1, beta2. */
EXPORT void dftune_adamw8(float *parameter, const float *gradient, int64_t count, uint8_t *firstCodes,
                          float *firstScales, uint8_t *secondCodes, float *secondScales,
                          const float *scalars, const float *signedValues, const float *signedMiddles,
                          const uint8_t *signedFirst, const float *values, const float *middles,
                          const uint8_t *first) {
  const code_map withSign = {signedValues, signedMiddles, signedFirst}, without = {values, middles, first};
  const float keep = scalars[0], rate = scalars[1], epsilon = scalars[2], toFirst = scalars[3];
  const float toSecond = scalars[4], beta1 = scalars[5], beta2 = scalars[6];
  float m[BLOCK], v[BLOCK];
  for (int64_t start = 0, block = 0; start < count; start += BLOCK, block++) {
    int here = count - start < BLOCK ? (int)(count - start) : BLOCK;
    float *p = parameter + start;
    const float *g = gradient + start;
    float scaleM = firstScales[block], scaleV = secondScales[block], mostM = 0, mostV = 0;
    for (int i = 0; i < here; i++) {
      m[i] = signedValues[firstCodes[start + i]] * scaleM;
      v[i] = values[secondCodes[start + i]] * scaleV;
    }
    for (int i = 0; i < here; i++) {
      m[i] = m[i] * beta1 + g[i] * toFirst;
      v[i] = v[i] * beta2 + g[i] * g[i] * toSecond;
      p[i] = p[i] * keep - m[i] * rate / (sqrtf(v[i]) + epsilon);
    }
    for (int i = 0; i < here; i++) {
      mostM = fabsf(m[i]) > mostM ? fabsf(m[i]) : mostM;
      mostV = v[i] > mostV ? v[i] : mostV;
    }
    firstScales[block] = mostM;
    secondScales[block] = mostV;
    encode(m, here, mostM, &withSign, firstCodes + start);
    encode(v, here, mostV, &without, secondCodes + start);
  }
}

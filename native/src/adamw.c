/* AdamW; src/optim/adamw-graph.ts has the formula, and the same bits where this is not. */
#include <math.h>
#include <stdint.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* scalars: keep, rate, epsilon, gradientToFirst, squareToSecond, beta1, beta2. */
EXPORT void dftune_adamw(float *restrict parameter, const float *restrict gradient, int64_t count,
                         float *restrict first, float *restrict second, const float *scalars) {
  const float keep = scalars[0], rate = scalars[1], epsilon = scalars[2], toFirst = scalars[3];
  const float toSecond = scalars[4], beta1 = scalars[5], beta2 = scalars[6];
  for (int64_t i = 0; i < count; i++) {
    float g = gradient[i];
    float m = first[i] * beta1 + g * toFirst;
    float v = second[i] * beta2 + g * g * toSecond;
    first[i] = m;
    second[i] = v;
    parameter[i] = parameter[i] * keep - m * rate / (sqrtf(v) + epsilon);
  }
}

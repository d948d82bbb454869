/* Which kernels run here: what the processor and the system offer, each tried before it is trusted. */
#include <math.h>
#include <string.h>

#include "product.h"

#if defined(__x86_64__)
static void cpuid(uint32_t leaf, uint32_t sub, uint32_t out[4]) {
  __asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
                   : "a"(leaf), "c"(sub));
}

static int bit(uint32_t word, int n) { return (int)(word >> n & 1); }

typedef struct { int avx2, avx512, avx512bf16, amx; } features;

/* Intel SDM volume 1, 13.2 (state that the system saves) and volume 2, CPUID. */
static features found(void) {
  features f = {0};
  uint32_t r[4], low, high;
  cpuid(0, 0, r);
  if (r[0] < 7) return f;
  cpuid(1, 0, r);
  int hasFma = bit(r[2], 12), savesState = bit(r[2], 27);
  if (!savesState) return f;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  int savesAvx = (low & 6) == 6, savesAvx512 = (low & 0xe6) == 0xe6, savesTiles = (low >> 17 & 3) == 3;
  cpuid(7, 0, r);
  f.avx2 = savesAvx && hasFma && bit(r[1], 5);
  f.avx512 = f.avx2 && savesAvx512 && bit(r[1], 16) && bit(r[1], 17) && bit(r[1], 30) && bit(r[1], 31);
  int hasTiles = bit(r[3], 24) && bit(r[3], 22);
  if (r[0] >= 1) {
    cpuid(7, 1, r);
    f.avx512bf16 = f.avx512 && bit(r[0], 5);
  }
  f.amx = f.avx512bf16 && savesTiles && hasTiles;
  return f;
}

/* Linux gives a process the tiles' state when it asks (arch_prctl(2), ARCH_REQ_XCOMP_PERM). */
static int may_use_tiles(void) {
#if defined(__linux__)
  enum { ARCH_PRCTL = 158, ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
  long result;
  __asm__ volatile("syscall" : "=a"(result)
                   : "a"((long)ARCH_PRCTL), "D"((long)ARCH_REQ_XCOMP_PERM), "S"((long)XFEATURE_XTILEDATA)
                   : "rcx", "r11", "memory");
  return result == 0;
#else
  return 0;
#endif
}
#elif defined(__aarch64__) && defined(__linux__)
unsigned long getauxval(unsigned long);
static int has_bfmmla(void) {
  enum { AT_HWCAP2 = 26 };
  return (int)(getauxval(AT_HWCAP2) >> 14 & 1); /* HWCAP2_BF16 */
}
#endif

static void run_here(void *pool, void (*body)(void *, size_t), size_t count, void *data) {
  (void)pool;
  for (size_t i = 0; i < count; i++) body(data, i);
}

/* A product of odd sizes against plain sums: a processor or hypervisor may not keep its word. */
static int computes(const kernel *set, float bound) {
  enum { M = 13, N = 35, K = 37 };
  static float a[M * K], b[N * K], y[M * N];
  for (int i = 0; i < M * K; i++) a[i] = (float)(i * 37 % 101 - 50) / 64;
  for (int i = 0; i < N * K; i++) b[i] = (float)(i * 53 % 97 - 48) / 64;
  product p = {set, M, N, K, {a, K, 1}, PLAIN, {b, K, 1}, NULL, {0}, 0, 0.5f, NULL, 0, y};
  const threads here = {run_here, NULL};
  if (!multiply(&p, &here)) return 0;
  for (int i = 0; i < M; i++) {
    for (int j = 0; j < N; j++) {
      double sum = 0;
      for (int k = 0; k < K; k++) sum += (double)a[i * K + k] * b[j * K + k];
      double error = fabs(y[i * N + j] - 0.5 * sum);
      if (!(error <= bound)) return 0;
    }
  }
  return 1;
}

static const kernel *bf16Set, *f32Set;

/* Called once, before any product. */
void choose_kernels(void) {
#if defined(__x86_64__)
  features f = found();
  if (f.amx && may_use_tiles() && computes(&amx_bf16, 1e-3f)) bf16Set = &amx_bf16;
  else if (f.avx512bf16 && computes(&avx512_bf16, 1e-3f)) bf16Set = &avx512_bf16;
  if (f.avx512 && computes(&avx512_f32, 1e-5f)) f32Set = &avx512_f32;
  else if (f.avx2 && computes(&avx2_f32, 1e-5f)) f32Set = &avx2_f32;
#elif defined(__aarch64__) && defined(__linux__)
  if (has_bfmmla() && computes(&bfmmla, 1e-3f)) bf16Set = &bfmmla;
#endif
}

const kernel *bf16_kernel(void) { return bf16Set; }
const kernel *f32_kernel(void) { return f32Set; }

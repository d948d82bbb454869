#define FLOATS 16
#define LEFT 12
#define NAME "avx512"
#define SET avx512_f32
#include "kernel-f32.h"

#define FLOATS 8
#define LEFT 6
#define NAME "avx2"
#define SET avx2_f32
#include "kernel-f32.h"

#include "product.h"

#include <stdlib.h>
#include <string.h>

/* What one task packs for itself stays in the second-level cache with room for the other operand. */
enum { TASK_BYTES = 512 << 10, SLOTS = 256 };
/* Of what is packed for all tasks, at a time: a softmax over 150,000 words would be 40 MB of it. */
#ifndef PACKED_AT_ONCE
#define PACKED_AT_ONCE (8 << 20)
#endif
/* Below this (in multiplications) a product is not worth handing out. */
static const double SMALL = 200e3;

static int threadCount = 1;
void set_thread_count(int count) { threadCount = count < 1 ? 1 : count; }

/* Pieces of memory that calls share: taken for a call, kept for the next. */
static struct { int taken; size_t bytes; void *memory, *start; } slots[SLOTS];

void *scratch(size_t bytes) {
  for (int i = 0; i < SLOTS; i++) {
    if (__atomic_exchange_n(&slots[i].taken, 1, __ATOMIC_ACQUIRE)) continue;
    if (slots[i].bytes < bytes) {
      free(slots[i].memory);
      slots[i].memory = malloc(bytes + 64);
      slots[i].bytes = slots[i].memory ? bytes : 0;
      slots[i].start = (void *)(((uintptr_t)slots[i].memory + 63) & ~(uintptr_t)63);
    }
    if (slots[i].bytes >= bytes) return slots[i].start;
    __atomic_store_n(&slots[i].taken, 0, __ATOMIC_RELEASE);
    return NULL;
  }
  return NULL;
}

void scratch_done(void *memory) {
  for (int i = 0; memory && i < SLOTS; i++) {
    if (slots[i].start == memory) __atomic_store_n(&slots[i].taken, 0, __ATOMIC_RELEASE);
  }
}

/* All panels of an operand: for each block of k one panel after another, `lanes` of them in each. */
static size_t panel_offset(const kernel *set, int width, ptrdiff_t panels, ptrdiff_t k,
                           ptrdiff_t panel, ptrdiff_t at) {
  size_t before = (size_t)panels * panel_bytes(set, width, at);
  return before + (size_t)panel * panel_bytes(set, width, least(set->block, k - at));
}

size_t packed_bytes(const kernel *set, ptrdiff_t lanes, ptrdiff_t k) {
  return panel_offset(set, set->right, parts(lanes, set->right), k, 0, k);
}

typedef struct {
  const kernel *set;
  const operand *x;
  ptrdiff_t lanes, k, panels;
  int width, step, isLeft; /* step: lanes taken by a panel, at most its width */
  uint8_t *out;
  ptrdiff_t first;         /* of the panels, where x has not all lanes */
  ptrdiff_t from;          /* of x's k the first that is packed; k is how many are */
} packing;

static void pack_panel(void *data, size_t i) {
  const packing *p = data;
  ptrdiff_t panel = (ptrdiff_t)i, lane = panel * p->step;
  int lanes = (int)least(p->step, p->lanes - lane);
  for (ptrdiff_t at = 0; at < p->k; at += p->set->block) {
    int count = (int)least(p->set->block, p->k - at);
    uint8_t *to = p->out + panel_offset(p->set, p->width, p->panels, p->k, p->first + panel, at);
    (p->isLeft ? p->set->packLeft : p->set->packRight)(p->x, lane, lanes, p->from + at, count, to);
  }
}

void pack_lanes(const kernel *set, const operand *x, ptrdiff_t lanes, ptrdiff_t k, uint8_t *panels,
                ptrdiff_t first, ptrdiff_t all, const threads *pool) {
  packing p = {set, x, lanes, k, parts(all, set->right), set->right, set->right, 0, panels,
               first / set->right, 0};
  pool->run(pool->pool, pack_panel, (size_t)parts(lanes, set->right), &p);
}

static uint16_t packed_at(const kernel *set, const uint8_t *panels, ptrdiff_t lanes, ptrdiff_t k,
                          ptrdiff_t lane, ptrdiff_t i) {
  ptrdiff_t at = i / set->block * set->block;
  const uint8_t *panel = panels + panel_offset(set, set->right, parts(lanes, set->right), k,
                                               lane / set->right, at);
  ptrdiff_t inBlock = i - at, group = inBlock / set->together, rest = inBlock % set->together;
  uint16_t found;
  memcpy(&found, panel + 2 * ((group * set->right + lane % set->right) * set->together + rest), 2);
  return found;
}

void unpack(const kernel *set, const uint8_t *panels, ptrdiff_t lanes, ptrdiff_t k, ptrdiff_t lane,
            ptrdiff_t k0, ptrdiff_t count, float *out) {
  for (ptrdiff_t i = 0; i < count; i++) {
    out[i] = widened(packed_at(set, panels, lanes, k, lane, k0 + i));
  }
}

/* Numbers columns c .. c + count of row r. */
static void dequantize(const quantized *q, ptrdiff_t r, ptrdiff_t c, int count, float *out) {
  ptrdiff_t groups = parts(q->columns, q->groupSize), first = r * groups * q->groupSize;
  for (int i = 0; i < count; i++) {
    ptrdiff_t at = first + c + i, group = r * groups + (c + i) / q->groupSize;
    int code = q->bits == 8 ? q->codes[at] : q->codes[at >> 1] >> (at & 1) * 4 & 15;
    out[i] = (float)(code - q->zeros[group]) * q->scales[group];
  }
}

/* One panel of B for lanes `lane` .. over a block of k, from however B is held. */
static void right_panel(const product *p, ptrdiff_t lane, int lanes, ptrdiff_t at, int count,
                        void *panel) {
  enum { PIECE = 64, MOST_LANES = 64 };
  const kernel *set = p->kernel;
  if (p->stored == PLAIN) {
    set->packRight(&p->b, lane, lanes, at, count, panel);
    return;
  }
  if (p->stored == PACKED && set->turn) {
    /* Held [k, n]: its lanes are k here, its inner numbers are n. */
    ptrdiff_t block = lane / set->block * set->block;
    size_t bytes = panel_bytes(set, set->right, least(set->block, p->n - block));
    const uint8_t *from = p->panels + panel_offset(set, set->right, parts(p->k, set->right), p->n,
                                                   at / set->right, block);
    set->turn(from, (lane - block) / 2, lanes, count, (ptrdiff_t)bytes, panel);
    return;
  }
  float piece[PIECE * MOST_LANES];
  for (int done = 0; done < count; done += PIECE) {
    int now = (int)least(PIECE, count - done);
    operand x = p->turned ? (operand){piece, 1, lanes} : (operand){piece, now, 1};
    int rows = p->turned ? now : lanes, columns = p->turned ? lanes : now;
    ptrdiff_t row = p->turned ? at + done : lane, column = p->turned ? lane : at + done;
    for (int r = 0; r < rows; r++) {
      float *out = piece + (ptrdiff_t)r * columns;
      if (p->stored == QUANTIZED) dequantize(&p->codes, row + r, column, columns, out);
      else unpack(set, p->panels, p->k, p->n, row + r, column, columns, out);
    }
    set->packRight(&x, 0, lanes, 0, now,
                   (uint8_t *)panel + panel_bytes(set, set->right, done));
  }
}

/*
 * How a product is cut into tasks. The operand with more lanes is cut, and each task packs its own
 * part, block after block; the other is packed once for all. Where one cut gives too few tasks for
 * the threads, both are cut. Nothing of this changes a sum: each number of Y is summed over k in
 * blocks of the kernel's size, whoever does it.
 */
typedef struct {
  const product *p;
  ptrdiff_t leftPanels, rightPanels, leftTasks, rightTasks;
  int leftStep;                 /* rows of Y that a panel of A covers */
  uint8_t *left, *right;        /* packed for all tasks, or NULL: each packs its own */
  ptrdiff_t from, to;           /* the k of this time: all that is packed for it */
  int isHeld;                   /* right has all k */
  int failed;
} work;

static ptrdiff_t tasks_of(ptrdiff_t panels, size_t bytesEach, int wanted) {
  ptrdiff_t most = (ptrdiff_t)(TASK_BYTES / (bytesEach + 1));
  ptrdiff_t tasks = parts(panels, most < 1 ? 1 : most);
  tasks = parts(tasks, wanted) * wanted;
  return least(tasks, panels);
}

static const uint8_t *ready(const work *w, const uint8_t *all, int width, ptrdiff_t panels,
                            ptrdiff_t panel, ptrdiff_t at, int isHeld) {
  ptrdiff_t from = isHeld ? 0 : w->from, to = isHeld ? w->p->k : w->to;
  return all + panel_offset(w->p->kernel, width, panels, to - from, panel, at - from);
}

typedef struct { ptrdiff_t from, to; } range;

static range share(ptrdiff_t whole, ptrdiff_t count, ptrdiff_t i) {
  return (range){whole * i / count, whole * (i + 1) / count};
}

static void multiply_tile(const work *w, ptrdiff_t i, ptrdiff_t j, ptrdiff_t at, int count,
                          const uint8_t *left, const uint8_t *right) {
  const product *p = w->p;
  const kernel *set = p->kernel;
  ptrdiff_t row = i * w->leftStep, column = j * set->right;
  float *y = p->y + row * p->n + column;
  const float *add = at == 0 ? (p->add ? p->add + row * p->addStride + column : NULL) : y;
  tile t = {left, right, parts(count, set->group), y, p->n, add,
            at == 0 ? p->addStride : p->n, p->alpha,
            (int)least(w->leftStep, p->m - row), (int)least(set->right, p->n - column)};
  set->multiply(&t);
}

static void one_task(void *data, size_t index) {
  work *w = data;
  const product *p = w->p;
  const kernel *set = p->kernel;
  range rows = share(w->leftPanels, w->leftTasks, (ptrdiff_t)index / w->rightTasks);
  range columns = share(w->rightPanels, w->rightTasks, (ptrdiff_t)index % w->rightTasks);
  size_t most = panel_bytes(set, set->left, least(set->block, p->k));
  size_t mostRight = panel_bytes(set, set->right, least(set->block, p->k));
  size_t leftBytes = w->left ? 0 : (((size_t)(rows.to - rows.from) * most) + 63) & ~(size_t)63;
  size_t rightBytes = w->right ? 0 : (size_t)(columns.to - columns.from) * mostRight;
  uint8_t *own = scratch(leftBytes + rightBytes + 64);
  if (!own) {
    w->failed = 1;
    return;
  }
  for (ptrdiff_t at = w->from; at < w->to; at += set->block) {
    int count = (int)least(set->block, w->to - at);
    size_t step = panel_bytes(set, set->left, count), stepRight = panel_bytes(set, set->right, count);
    uint8_t *ownRight = own + leftBytes;
    for (ptrdiff_t i = rows.from; !w->left && i < rows.to; i++) {
      ptrdiff_t lane = i * w->leftStep;
      set->packLeft(&p->a, lane, (int)least(w->leftStep, p->m - lane), at, count,
                    own + (i - rows.from) * step);
    }
    for (ptrdiff_t j = columns.from; !w->right && j < columns.to; j++) {
      ptrdiff_t lane = j * set->right;
      right_panel(p, lane, (int)least(set->right, p->n - lane), at, count,
                  ownRight + (j - columns.from) * stepRight);
    }
#define LEFT(i) (w->left ? ready(w, w->left, set->left, w->leftPanels, i, at, 0) \
                         : own + ((i) - rows.from) * step)
#define RIGHT(j) (w->right ? ready(w, w->right, set->right, w->rightPanels, j, at, w->isHeld) \
                           : ownRight + ((j) - columns.from) * stepRight)
    /* The task's own part is gone through inside, as it is in the cache. */
    if (w->left) {
      for (ptrdiff_t i = rows.from; i < rows.to; i++) {
        for (ptrdiff_t j = columns.from; j < columns.to; j++) {
          multiply_tile(w, i, j, at, count, LEFT(i), RIGHT(j));
        }
      }
    } else {
      for (ptrdiff_t j = columns.from; j < columns.to; j++) {
        for (ptrdiff_t i = rows.from; i < rows.to; i++) {
          multiply_tile(w, i, j, at, count, LEFT(i), RIGHT(j));
        }
      }
    }
#undef LEFT
#undef RIGHT
  }
  scratch_done(own);
}

/* Without anything to sum, Y is what is added. */
static void add_only(const product *p) {
  for (ptrdiff_t i = 0; i < p->m; i++) {
    float *y = p->y + i * p->n;
    const float *add = p->add ? p->add + i * p->addStride : NULL;
    for (ptrdiff_t j = 0; j < p->n; j++) y[j] = add ? add[j] : 0;
  }
}

static work planned(const product *p) {
  const kernel *set = p->kernel;
  ptrdiff_t leftPanels = parts(p->m, set->left);
  /* Panels of equal height: sixteen rows are two of eight, not twelve and four. */
  int step = (int)parts(p->m, leftPanels);
  work w = {p, parts(p->m, step), parts(p->n, set->right), 1, 1, step, NULL, NULL, 0, p->k, 0, 0};
  return w;
}

static void cut(work *w) {
  const product *p = w->p;
  const kernel *set = p->kernel;
  if ((double)p->m * p->n * p->k < SMALL) return;
  ptrdiff_t block = least(set->block, p->k);
  ptrdiff_t left = tasks_of(w->leftPanels, panel_bytes(set, w->leftStep, block), threadCount);
  ptrdiff_t right = tasks_of(w->rightPanels, panel_bytes(set, set->right, block), threadCount);
  int isPacked = p->stored == PACKED && !p->turned;
  if (p->n >= p->m || isPacked || p->stored != PLAIN) w->rightTasks = right;
  else w->leftTasks = left;
  ptrdiff_t tasks = w->leftTasks * w->rightTasks;
  if (tasks >= threadCount) return;
  if (w->leftTasks == 1) w->leftTasks = least(w->leftPanels, parts(2 * threadCount, tasks));
  else w->rightTasks = least(w->rightPanels, parts(2 * threadCount, tasks));
}

static void inline_run(void *pool, void (*body)(void *, size_t), size_t count, void *data) {
  (void)pool;
  for (size_t i = 0; i < count; i++) body(data, i);
}

int multiply(const product *p, const threads *pool) {
  if (p->m == 0 || p->n == 0) return 1;
  if (p->k == 0) {
    add_only(p);
    return 1;
  }
  const kernel *set = p->kernel;
  const threads alone = {inline_run, NULL};
  work w = planned(p);
  cut(&w);
  size_t tasks = (size_t)(w.leftTasks * w.rightTasks);
  if (tasks == 1) pool = &alone;
  w.isHeld = p->stored == PACKED && !p->turned;
  int packsLeft = w.rightTasks > 1, packsRight = w.leftTasks > 1 && p->stored == PLAIN;
  ptrdiff_t block = least(set->block, p->k), blocks = parts(p->k, block);
  size_t leftBlock = packsLeft ? w.leftPanels * panel_bytes(set, set->left, block) : 0;
  size_t rightBlock = packsRight ? w.rightPanels * panel_bytes(set, set->right, block) : 0;
  if (leftBlock + rightBlock) {
    blocks = least(blocks, 1 + (ptrdiff_t)(PACKED_AT_ONCE / (leftBlock + rightBlock)));
  }
  uint8_t *left = packsLeft ? scratch(leftBlock * blocks) : NULL;
  uint8_t *right = packsRight ? scratch(rightBlock * blocks) : NULL;
  w.left = left;
  w.right = w.isHeld ? (uint8_t *)p->panels : right;
  for (w.from = 0; w.from < p->k; w.from = w.to) {
    w.to = least(p->k, w.from + blocks * block);
    ptrdiff_t k = w.to - w.from;
    packing rows = {set, &p->a, p->m, k, w.leftPanels, set->left, w.leftStep, 1, left, 0, w.from};
    packing columns = {set, &p->b, p->n, k, w.rightPanels, set->right, set->right, 0, right, 0,
                       w.from};
    if (left) pool->run(pool->pool, pack_panel, (size_t)w.leftPanels, &rows);
    if (right) pool->run(pool->pool, pack_panel, (size_t)w.rightPanels, &columns);
    pool->run(pool->pool, one_task, tasks, &w);
  }
  scratch_done(left);
  scratch_done(right);
  return !w.failed;
}

typedef struct {
  const product *all;
  int failed;
} several;

static void one_product(void *data, size_t i) {
  several *s = data;
  const product *p = s->all + i;
  if (p->m == 0 || p->n == 0) return;
  if (p->k == 0) {
    add_only(p);
    return;
  }
  work w = planned(p);
  w.isHeld = p->stored == PACKED && !p->turned;
  if (w.isHeld) w.right = (uint8_t *)p->panels;
  one_task(&w, 0);
  if (w.failed) s->failed = 1;
}

int multiply_each(const product *all, size_t count, const threads *pool) {
  several s = {all, 0};
  pool->run(pool->pool, one_product, count, &s);
  return !s.failed;
}

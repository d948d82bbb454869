/*
 * The operators of the domain "dftune", over ONNX Runtime's own pool of threads.
 *
 *   Product(A f32 [..., M, K], B f32 [..., K, N], S f32) -> f32 [..., M, N]
 *   PackedProduct(A f32 [M, K], panels u8 [bytes], S f32)     panels of a matrix [rows, columns]
 *   QuantizedProduct(A f32 [M, K], codes u8, scales f32, zeros u8, S f32)
 *   PackedRows(panels u8 [bytes], ids i64 [n]) -> f32 [n, columns]
 *   Narrowed(x f32 [...]) -> u16 [...]                  bfloat16, to nearest, ties to even
 *   Widened(x u16 [...]) -> f32 [...]
 *
 * Attributes: transA, transB, alpha; exact (1: float32 kernels); weight (1: B is a model's, rounded by
 * its places); rows, columns of the matrix that
 * panels or codes stand for; bits, group. S is [N], [1, N] or [M, N], or left out.
 */
#include <stdlib.h>
#include <string.h>

#include "ort.h"
#include "product.h"

enum { MOST_RANK = 8 };
typedef enum { PRODUCT, PACKED_PRODUCT, QUANTIZED_PRODUCT, PACKED_ROWS, NARROWED, WIDENED } role;

static const void *api;

typedef struct {
  role role;
  int transA, transB, exact, weight, bits, group;
  int64_t rows, columns;
  float alpha;
} settings;

typedef struct {
  void *data;
  int64_t dims[MOST_RANK];
  size_t rank;
} tensor;

static status refused(const char *why) { return API(api, 0, create_status)(RUNTIME_EXCEPTION, why); }

static int64_t whole(const void *info, const char *name, int64_t otherwise) {
  int64_t value = 0;
  status s = API(api, 86, attribute_int)(info, name, &value);
  if (!s) return value;
  API(api, 93, release_status)(s);
  return otherwise;
}

static status described(void *value, tensor *t) {
  void *info;
  status s = API(api, 65, shape_of)(value, &info);
  if (s) return s;
  s = API(api, 61, dimensions_count)(info, &t->rank);
  if (!s && t->rank > MOST_RANK) s = refused("a tensor of too many axes");
  if (!s) s = API(api, 62, dimensions)(info, t->dims, t->rank);
  API(api, 99, release_shape)(info);
  return s ? s : API(api, 51, tensor_data)(value, &t->data);
}

/* The input, or one without data where it was left out. */
static status input(const void *context, size_t i, tensor *t) {
  void *value = NULL;
  size_t count = 0;
  memset(t, 0, sizeof *t);
  status s = API(api, 88, input_count)(context, &count);
  if (s || i >= count) return s;
  s = API(api, 90, input_at)(context, i, &value);
  return s || !value ? s : described(value, t);
}

static status any_output(void *context, const int64_t *dims, size_t rank, void **data) {
  void *value;
  status s = API(api, 91, output_at)(context, 0, dims, rank, &value);
  return s ? s : API(api, 51, tensor_data)(value, data);
}

static status output(void *context, const int64_t *dims, size_t rank, float **data) {
  return any_output(context, dims, rank, (void **)data);
}

static void on_pool(void *context, void (*body)(void *, size_t), size_t count, void *data) {
  status s = count == 1 ? NULL : API(api, 274, parallel_for)(context, body, count, 0, data);
  if (count == 1 || s) {
    for (size_t i = 0; i < count; i++) body(data, i);
  }
  if (s) API(api, 93, release_status)(s);
}

static operand seen(const float *data, int64_t rows, int64_t columns, int lanesAreColumns) {
  (void)rows;
  return lanesAreColumns ? (operand){data, 1, columns} : (operand){data, columns, 1};
}

/* S beside a product; refuses a shape that is not said above. */
static status added(const tensor *s, product *p) {
  if (!s->data) return NULL;
  int64_t last = s->rank ? s->dims[s->rank - 1] : 0, before = 1;
  for (size_t i = 0; i + 1 < s->rank; i++) before *= s->dims[i];
  if (last != p->n || (before != 1 && before != p->m)) return refused("S does not fit the product");
  p->add = s->data;
  p->addStride = before == 1 && p->m != 1 ? 0 : p->n;
  return NULL;
}

static size_t broadcast(const tensor *a, const tensor *b, int64_t *dims, size_t *rank) {
  size_t batch = 1, lead = (a->rank > b->rank ? a->rank : b->rank) - 2;
  for (size_t i = 0; i < lead; i++) {
    int64_t x = i + a->rank < lead + 2 ? 1 : a->dims[i + a->rank - lead - 2];
    int64_t y = i + b->rank < lead + 2 ? 1 : b->dims[i + b->rank - lead - 2];
    if (x != y && x != 1 && y != 1) return SIZE_MAX;
    dims[i] = x == 1 ? y : x;
    batch *= (size_t)dims[i];
  }
  *rank = lead + 2;
  return batch;
}

/* Which matrix of `t` belongs to a batch of the result. */
static size_t matrix_of(const tensor *t, const int64_t *dims, size_t lead, size_t batch) {
  size_t index = 0, step = 1;
  for (size_t i = lead; i-- > 0;) {
    size_t at = batch % (size_t)dims[i];
    batch /= (size_t)dims[i];
    if (i + t->rank < lead + 2) continue;
    size_t own = (size_t)t->dims[i + t->rank - lead - 2];
    if (own != 1) index += at * step;
    step *= own;
  }
  return index;
}

static status whole_product(const settings *set, const kernel *kernel, void *context) {
  tensor a, b, s;
  status bad;
  if ((bad = input(context, 0, &a)) || (bad = input(context, 1, &b)) || (bad = input(context, 2, &s))) {
    return bad;
  }
  if (a.rank < 2 || b.rank < 2) return refused("a product needs two axes on each side");
  int64_t *endA = a.dims + a.rank - 2, *endB = b.dims + b.rank - 2;
  int64_t m = endA[set->transA], k = endA[!set->transA], n = endB[!set->transB];
  if (k != endB[set->transB]) return refused("the inner sizes of a product differ");
  int64_t dims[MOST_RANK];
  size_t rank, batch = broadcast(&a, &b, dims, &rank);
  if (batch == SIZE_MAX) return refused("the leading axes of a product do not fit together");
  dims[rank - 2] = m, dims[rank - 1] = n;
  float *y;
  if ((bad = output(context, dims, rank, &y))) return bad;
  product p = {kernel, m, n, k, seen(a.data, endA[0], endA[1], set->transA), PLAIN,
               seen(b.data, endB[0], endB[1], !set->transB), NULL, {0}, 0, set->alpha, NULL, 0, y};
  p.b.isWeight = set->weight;
  if ((bad = added(&s, &p))) return bad;
  const threads pool = {on_pool, context};
  if (batch == 1) return multiply(&p, &pool) ? NULL : refused("bad_alloc: no memory to pack in");
  product *all = malloc(batch * sizeof *all + 1);
  if (!all) return refused("bad_alloc: no memory for a batch of products");
  for (size_t i = 0; i < batch; i++) {
    all[i] = p;
    all[i].a.data += (ptrdiff_t)matrix_of(&a, dims, rank - 2, i) * m * k;
    all[i].b.data += (ptrdiff_t)matrix_of(&b, dims, rank - 2, i) * n * k;
    all[i].y += (ptrdiff_t)i * m * n;
  }
  int done = multiply_each(all, batch, &pool);
  free(all);
  return done ? NULL : refused("bad_alloc: no memory to pack in");
}

/* A product by a matrix [rows, columns] that is held as panels or codes. */
static status held_product(const settings *set, const kernel *kernel, void *context) {
  int isPacked = set->role == PACKED_PRODUCT;
  tensor a, held, s;
  status bad;
  if ((bad = input(context, 0, &a)) || (bad = input(context, 1, &held)) ||
      (bad = input(context, isPacked ? 2 : 4, &s))) {
    return bad;
  }
  int64_t n = set->transB ? set->rows : set->columns, k = set->transB ? set->columns : set->rows;
  if (a.rank < 2 || a.dims[a.rank - 1] != k) return refused("the inner sizes of a product differ");
  int64_t m = 1, dims[MOST_RANK];
  for (size_t i = 0; i + 1 < a.rank; i++) m *= dims[i] = a.dims[i];
  dims[a.rank - 1] = n;
  float *y;
  if ((bad = output(context, dims, a.rank, &y))) return bad;
  product p = {kernel, m, n, k, {a.data, k, 1}, isPacked ? PACKED : QUANTIZED, {0}, held.data, {0},
               !set->transB, set->alpha, NULL, 0, y};
  if (isPacked) {
    if ((size_t)held.dims[0] != packed_bytes(kernel, set->rows, set->columns)) {
      return refused("panels of another size");
    }
  } else {
    tensor scales, zeros;
    if ((bad = input(context, 2, &scales)) || (bad = input(context, 3, &zeros))) return bad;
    p.codes = (quantized){held.data, zeros.data, scales.data, set->columns, set->bits, set->group};
  }
  if ((bad = added(&s, &p))) return bad;
  const threads pool = {on_pool, context};
  return multiply(&p, &pool) ? NULL : refused("bad_alloc: no memory to pack in");
}

static status packed_rows(const settings *set, const kernel *kernel, void *context) {
  tensor panels, ids;
  status bad;
  if ((bad = input(context, 0, &panels)) || (bad = input(context, 1, &ids))) return bad;
  int64_t n = 1, dims[MOST_RANK];
  for (size_t i = 0; i < ids.rank; i++) n *= dims[i] = ids.dims[i];
  if (ids.rank + 1 > MOST_RANK) return refused("a tensor of too many axes");
  dims[ids.rank] = set->columns;
  float *y;
  if ((bad = output(context, dims, ids.rank + 1, &y))) return bad;
  for (int64_t i = 0; i < n; i++) {
    int64_t id = ((const int64_t *)ids.data)[i];
    if (id < 0) id += set->rows;
    if (id < 0 || id >= set->rows) return refused("an index is out of bounds");
    unpack(kernel, panels.data, set->rows, set->columns, id, 0, set->columns, y + i * set->columns);
  }
  return NULL;
}

/* Numbers that one task rounds or widens. */
enum { PIECE = 1 << 18 };

typedef struct {
  const void *from;
  void *to;
  ptrdiff_t count;
} copying;

static void narrow_piece(void *data, size_t i) {
  const copying *all = data;
  ptrdiff_t start = (ptrdiff_t)i * PIECE, count = least(PIECE, all->count - start);
  const float *restrict from = (const float *)all->from + start;
  uint16_t *restrict to = (uint16_t *)all->to + start;
  for (ptrdiff_t j = 0; j < count; j++) to[j] = bf16(from[j]);
}

static void widen_piece(void *data, size_t i) {
  const copying *all = data;
  ptrdiff_t start = (ptrdiff_t)i * PIECE, count = least(PIECE, all->count - start);
  const uint16_t *restrict from = (const uint16_t *)all->from + start;
  float *restrict to = (float *)all->to + start;
  for (ptrdiff_t j = 0; j < count; j++) to[j] = widened(from[j]);
}

static status copied(const settings *set, void *context) {
  tensor x;
  status bad = input(context, 0, &x);
  if (bad) return bad;
  copying all = {x.data, NULL, 1};
  for (size_t i = 0; i < x.rank; i++) all.count *= x.dims[i];
  if ((bad = any_output(context, x.dims, x.rank, &all.to))) return bad;
  size_t pieces = (size_t)parts(all.count, PIECE);
  if (pieces) on_pool(context, set->role == NARROWED ? narrow_piece : widen_piece, pieces, &all);
  return NULL;
}

static status compute(void *kernelSettings, void *context) {
  const settings *set = kernelSettings;
  if (set->role == NARROWED || set->role == WIDENED) return copied(set, context);
  const kernel *kernel = set->exact ? f32_kernel() : bf16_kernel();
  if (!kernel) return refused("this processor has no kernel for it");
  switch (set->role) {
    case PRODUCT: return whole_product(set, kernel, context);
    case PACKED_ROWS: return packed_rows(set, kernel, context);
    default: return held_product(set, kernel, context);
  }
}

static status create(const custom_op *op, const void *table, const void *info, void **out);
static void *create_unchecked(const custom_op *op, const void *table, const void *info) {
  void *kernel = NULL;
  status s = create(op, table, info, &kernel);
  if (s) API(table, 93, release_status)(s);
  return kernel;
}
static void compute_unchecked(void *kernel, void *context) {
  status s = compute(kernel, context);
  if (s) API(api, 93, release_status)(s);
}
static const char *name(const custom_op *op) { return op->opName; }
static const char *provider(const custom_op *op) { return op ? NULL : NULL; }
static int input_type(const custom_op *op, size_t i) { return op->types[i]; }
static size_t most_inputs(const custom_op *op) { return (size_t)op->most; }
static int output_type(const custom_op *op, size_t i) { return i ? FLOAT : op->result; }
static size_t one_output(const custom_op *op) { return op ? 1 : 1; }
static int input_kind(const custom_op *op, size_t i) { return (int)i >= op->needed; /* optional */ }
static int zero(const custom_op *op, size_t i) { return op && i ? 0 : 0; }
static int one(const custom_op *op) { return op ? 1 : 1; }

#define OPERATOR(opName, result, needed, most, ...) \
  {OP_VERSION, create_unchecked, name, provider, input_type, most_inputs, output_type, one_output, \
   compute_unchecked, free, input_kind, zero, zero, one, one, one, one, create, compute, \
   opName, {__VA_ARGS__}, result, needed, most}

static const custom_op operators[] = {
    [PRODUCT] = OPERATOR("Product", FLOAT, 2, 3, FLOAT, FLOAT, FLOAT),
    [PACKED_PRODUCT] = OPERATOR("PackedProduct", FLOAT, 2, 3, FLOAT, UINT8, FLOAT),
    [QUANTIZED_PRODUCT] = OPERATOR("QuantizedProduct", FLOAT, 4, 5, FLOAT, UINT8, FLOAT, UINT8,
                                   FLOAT),
    [PACKED_ROWS] = OPERATOR("PackedRows", FLOAT, 2, 2, UINT8, INT64),
    [NARROWED] = OPERATOR("Narrowed", UINT16, 1, 1, FLOAT),
    [WIDENED] = OPERATOR("Widened", FLOAT, 1, 1, UINT16),
};

static status create(const custom_op *op, const void *table, const void *info, void **out) {
  settings *set = calloc(1, sizeof *set);
  if (!set) return API(table, 0, create_status)(RUNTIME_EXCEPTION, "bad_alloc");
  set->role = (role)(op - operators);
  set->transA = (int)whole(info, "transA", 0);
  set->transB = (int)whole(info, "transB", 0);
  set->exact = (int)whole(info, "exact", 0);
  set->weight = (int)whole(info, "weight", 0);
  set->bits = (int)whole(info, "bits", 8);
  set->group = (int)whole(info, "group", 1);
  set->rows = whole(info, "rows", 0);
  set->columns = whole(info, "columns", 0);
  status s = API(api, 85, attribute_float)(info, "alpha", &set->alpha);
  if (s) {
    API(api, 93, release_status)(s);
    set->alpha = 1;
  }
  *out = set;
  return NULL;
}

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
void choose_kernels(void);

/*
 * Makes the domain of these operators with ONNX Runtime's table (OrtGetApiBase()->GetApi(20)); NULL
 * where that fails. To be called once, and first.
 */
EXPORT void *dftune_domain(const void *table, int threadCount) {
  void *domain = NULL;
  api = table;
  set_thread_count(threadCount);
  status s = API(api, 26, create_domain)("dftune", &domain);
  for (size_t i = 0; !s && i < sizeof operators / sizeof *operators; i++) {
    s = API(api, 27, domain_add)(domain, &operators[i]);
  }
  if (!s) return domain;
  API(api, 93, release_status)(s);
  return NULL;
}

/* Looks at the processor. Names of the kernels that run here; empty where there are none. */
EXPORT const char *dftune_kernels(int isExact) {
  static int isChosen;
  if (!isChosen) choose_kernels();
  isChosen = 1;
  const kernel *set = isExact ? f32_kernel() : bf16_kernel();
  return set ? set->name : "";
}

EXPORT double dftune_packed_bytes(int64_t rows, int64_t columns) {
  return (double)packed_bytes(bf16_kernel(), rows, columns);
}

static void here(void *pool, void (*body)(void *, size_t), size_t count, void *data) {
  (void)pool;
  for (size_t i = 0; i < count; i++) body(data, i);
}

/* Rows that can be packed apart from those after them are a multiple of this. */
EXPORT int dftune_panel_rows(void) { return bf16_kernel()->right; }

/* `count` rows x of a weight [rows, columns], from `first` on, into its panels of bfloat16. */
EXPORT void dftune_pack(const float *x, int64_t count, int64_t columns, uint8_t *panels,
                        int64_t first, int64_t rows) {
  const operand some = {x, columns, 1, 1, first * columns};
  const threads alone = {here, NULL};
  pack_lanes(bf16_kernel(), &some, count, columns, panels, first, rows, &alone);
}

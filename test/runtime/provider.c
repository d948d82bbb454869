/*
 * An execution provider for tests. Its option `takes` says which nodes it claims: "nothing", or
 * "products" (Gemm of two inputs) and with "wrong-exp" also Exp, to which it adds 0.001.
 *
 * ONNX Runtime's tables by place (onnxruntime_c_api.h, onnxruntime_ep_c_api.h; the places never
 * change), so that building needs no header of it. Its structs up to version 1.23.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef void *status;
enum { VERSION = 23, INT = 1, FLOAT = 3 };
#define EXPORT __attribute__((visibility("default")))
#define API(place, type) ((type)((void **)api)[place])
#define TRY(call)                   \
  do {                              \
    status failed = (call);         \
    if (failed) return failed;      \
  } while (0)

static void *api, *epApi;

typedef status (*of_two)(const void *, void *);
typedef status (*of_three)(const void *, void *, size_t);
#define tensor_data API(51, of_two)
#define dimensions_count API(61, of_two)
#define dimensions API(62, of_three)
#define input_at API(90, status (*)(const void *, size_t, const void **))
#define output_at API(91, status (*)(void *, size_t, const int64_t *, size_t, void **))
#define shape_of API(65, of_two)
#define release_status API(93, void (*)(status))
#define release_shape API(99, void (*)(void *))
#define config_entry API(238, status (*)(const void *, const char *, char *, size_t *))
#define read_attribute API(272, status (*)(const void *, int, void *, size_t, size_t *))
#define hardware_type API(307, int (*)(const void *))
#define nodes_count API(344, of_two)
#define nodes_of API(345, of_three)
#define node_type API(350, of_two)
#define node_inputs API(353, of_two)
#define attribute_of API(361, status (*)(const void *, const char *, const void **))
#define create_device ((status(*)(void *, const void *, void *, void *, void **))((void **)epApi)[0])
#define claim ((status(*)(void *, const void *const *, size_t, void *))((void **)epApi)[2])

/* One claimed node. */
typedef struct node {
  uint32_t version;
  status (*createState)(struct node *, void *, void **);
  status (*compute)(struct node *, void *, void *);
  void (*releaseState)(struct node *, void *);
  int isExp;
  int64_t transA, transB;
  float alpha;
} node;

typedef struct provider {
  uint32_t version;
  const char *(*name)(const struct provider *);
  status (*capability)(struct provider *, const void *, void *);
  status (*compile)(struct provider *, const void **, const void **, size_t, node **, void **);
  void (*releaseNodes)(struct provider *, node **, size_t);
  void *none[9];
  int takesProducts, takesExp;
} provider;

typedef struct factory {
  uint32_t version;
  const char *(*name)(const struct factory *);
  const char *(*vendor)(const struct factory *);
  status (*devices)(struct factory *, const void *const *, size_t, void **, size_t, size_t *);
  status (*create)(struct factory *, const void *const *, const void *const *, size_t, const void *,
                   const void *, provider **);
  void (*release)(struct factory *, provider *);
  uint32_t (*vendorId)(const struct factory *);
  const char *(*versionText)(const struct factory *);
  void *noCompatibility;
  status (*allocator)(struct factory *, const void *, const void *, void **);
  void (*releaseAllocator)(struct factory *, void *);
  status (*transfer)(struct factory *, void **);
  char (*hasStreams)(const struct factory *);
  void *noStream;
} factory;

typedef struct {
  float *data;
  int64_t dims[4];
  size_t rank, length;
} tensor;

static status input(void *context, size_t i, tensor *x) {
  const void *value;
  void *shape;
  TRY(input_at(context, i, &value));
  TRY(tensor_data(value, &x->data));
  TRY(shape_of(value, &shape));
  TRY(dimensions_count(shape, &x->rank));
  TRY(dimensions(shape, x->dims, x->rank));
  release_shape(shape);
  x->length = 1;
  for (size_t d = 0; d < x->rank; d++) x->length *= (size_t)x->dims[d];
  return NULL;
}

static status output(void *context, const int64_t *dims, size_t rank, float **y) {
  void *value;
  TRY(output_at(context, 0, dims, rank, &value));
  return tensor_data(value, y);
}

static status compute(node *self, void *state, void *context) {
  tensor a, b;
  float *y;
  TRY(input(context, 0, &a));
  if (self->isExp) {
    TRY(output(context, a.dims, a.rank, &y));
    for (size_t i = 0; i < a.length; i++) y[i] = expf(a.data[i]) + 1e-3f;
    return NULL;
  }
  TRY(input(context, 1, &b));
  int64_t m = a.dims[self->transA ? 1 : 0], k = a.dims[self->transA ? 0 : 1];
  int64_t dims[2] = {m, b.dims[self->transB ? 0 : 1]}, n = dims[1];
  TRY(output(context, dims, 2, &y));
  for (int64_t i = 0; i < m; i++) {
    for (int64_t j = 0; j < n; j++) {
      double sum = 0;
      for (int64_t l = 0; l < k; l++) {
        sum += (double)a.data[self->transA ? l * m + i : i * k + l] *
               b.data[self->transB ? j * k + l : l * n + j];
      }
      y[i * n + j] = (float)(self->alpha * sum);
    }
  }
  return NULL;
}

static status createState(node *self, void *context, void **state) {
  *state = NULL;
  return NULL;
}
static void releaseState(node *self, void *state) {}

static status each(const void *graph, const void ***nodes, size_t *count) {
  TRY(nodes_count(graph, count));
  *nodes = malloc(*count * sizeof(void *));
  return nodes_of(graph, *nodes, *count);
}

static status capability(provider *self, const void *graph, void *support) {
  const void **nodes;
  size_t count, inputs;
  const char *type;
  TRY(each(graph, &nodes, &count));
  for (size_t i = 0; i < count; i++) {
    TRY(node_type(nodes[i], &type));
    TRY(node_inputs(nodes[i], &inputs));
    int isProduct = self->takesProducts && !strcmp(type, "Gemm") && inputs == 2;
    int isExp = self->takesExp && !strcmp(type, "Exp");
    if (isProduct || isExp) TRY(claim(support, &nodes[i], 1, NULL));
  }
  free(nodes);
  return NULL;
}

static status attribute(const void *of, const char *name, int type, void *value, size_t size) {
  const void *found = NULL;
  size_t read;
  status absent = attribute_of(of, name, &found);
  if (absent) release_status(absent);
  return found ? read_attribute(found, type, value, size, &read) : NULL;
}

static status compile(provider *self, const void **graphs, const void **fused, size_t count,
                      node **made, void **contexts) {
  for (size_t i = 0; i < count; i++) {
    const void **nodes;
    size_t inside;
    const char *type;
    TRY(each(graphs[i], &nodes, &inside));
    TRY(node_type(nodes[0], &type));
    node *one = calloc(1, sizeof(node));
    *one = (node){VERSION, createState, compute, releaseState, !strcmp(type, "Exp"), 0, 0, 1};
    TRY(attribute(nodes[0], "transA", INT, &one->transA, 8));
    TRY(attribute(nodes[0], "transB", INT, &one->transB, 8));
    TRY(attribute(nodes[0], "alpha", FLOAT, &one->alpha, 4));
    made[i] = one;
    free(nodes);
  }
  return NULL;
}
static void releaseNodes(provider *self, node **nodes, size_t count) {
  for (size_t i = 0; i < count; i++) free(nodes[i]);
}

static const char *providerName(const provider *self) { return "TestProvider"; }
static const char *name(const factory *self) { return "TestProvider"; }
static const char *vendor(const factory *self) { return "Test"; }
static const char *versionText(const factory *self) { return "1.2.3"; }
static uint32_t vendorId(const factory *self) { return 1; }
static char hasStreams(const factory *self) { return 0; }
static void releaseAllocator(factory *self, void *allocator) {}
static status allocator(factory *self, const void *info, const void *options, void **made) {
  *made = NULL;
  return NULL;
}
static status transfer(factory *self, void **made) {
  *made = NULL;
  return NULL;
}

static status devices(factory *self, const void *const *hardware, size_t count, void **made,
                      size_t most, size_t *number) {
  *number = 0;
  for (size_t i = 0; i < count && *number < most; i++) {
    if (hardware_type(hardware[i]) != 0 || *number > 0) continue;
    TRY(create_device(self, hardware[i], NULL, NULL, &made[(*number)++]));
  }
  return NULL;
}

static status create(factory *self, const void *const *hardware, const void *const *metadata,
                     size_t count, const void *options, const void *logger, provider **made) {
  char takes[32] = "";
  size_t length = sizeof takes;
  provider *one = calloc(1, sizeof(provider));
  *one = (provider){VERSION, providerName, capability, compile, releaseNodes};
  TRY(config_entry(options, "ep.testprovider.takes", takes, &length));
  one->takesExp = !strcmp(takes, "wrong-exp");
  one->takesProducts = one->takesExp || !strcmp(takes, "products");
  *made = one;
  return NULL;
}
static void release(factory *self, provider *made) { free(made); }

EXPORT status CreateEpFactories(const char *registered, const void *base, const void *logger,
                                factory **made, size_t most, size_t *number) {
  static factory only = {VERSION,     name,     vendor,      devices, create,    release,
                         vendorId,    versionText, NULL,     allocator, releaseAllocator,
                         transfer,    hasStreams,  NULL};
  api = ((void *(*)(uint32_t))((void **)base)[0])(VERSION);
  epApi = API(317, void *(*)(void))();
  made[0] = &only;
  *number = 1;
  return NULL;
}

EXPORT status ReleaseEpFactory(factory *self) { return NULL; }

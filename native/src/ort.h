/*
 * What is used of ONNX Runtime's C interface, by place in the table OrtApi (onnxruntime_c_api.h; the
 * places never change), so that building needs no header of it.
 */
#ifndef DFT_ORT_H
#define DFT_ORT_H
#include <stddef.h>
#include <stdint.h>

typedef void *status;
enum { API_VERSION = 20, OP_VERSION = 16, FLOAT = 1, UINT8 = 2, UINT16 = 4, INT64 = 7, RUNTIME_EXCEPTION = 6 };

#define API(table, place, type) ((type)((void **)(table))[place])
typedef status (*create_status)(int code, const char *message);                      /* 0 */
typedef status (*create_domain)(const char *name, void **domain);                    /* 26 */
typedef status (*domain_add)(void *domain, const void *op);                          /* 27 */
typedef status (*tensor_data)(void *value, void **data);                             /* 51 */
typedef status (*dimensions_count)(const void *info, size_t *count);                 /* 61 */
typedef status (*dimensions)(const void *info, int64_t *dims, size_t count);         /* 62 */
typedef status (*shape_of)(const void *value, void **info);                          /* 65 */
typedef status (*attribute_float)(const void *info, const char *name, float *out);   /* 85 */
typedef status (*attribute_int)(const void *info, const char *name, int64_t *out);   /* 86 */
typedef status (*input_count)(const void *context, size_t *count);                   /* 88 */
typedef status (*input_at)(const void *context, size_t i, void **value);             /* 90 */
typedef status (*output_at)(void *context, size_t i, const int64_t *dims, size_t rank, void **value); /* 91 */
typedef void (*release_status)(status);                                              /* 93 */
typedef void (*release_shape)(void *info);                                           /* 99 */
typedef status (*parallel_for)(const void *context, void (*body)(void *, size_t), size_t total,
                               size_t batches, void *data);                          /* 274 */

/* OrtCustomOp up to version 16. */
typedef struct custom_op {
  uint32_t version;
  void *(*createKernel)(const struct custom_op *, const void *api, const void *info);
  const char *(*name)(const struct custom_op *);
  const char *(*provider)(const struct custom_op *);
  int (*inputType)(const struct custom_op *, size_t);
  size_t (*inputCount)(const struct custom_op *);
  int (*outputType)(const struct custom_op *, size_t);
  size_t (*outputCount)(const struct custom_op *);
  void (*compute)(void *kernel, void *context);
  void (*destroy)(void *kernel);
  int (*inputKind)(const struct custom_op *, size_t);
  int (*outputKind)(const struct custom_op *, size_t);
  int (*inputMemory)(const struct custom_op *, size_t);
  int (*leastInputs)(const struct custom_op *);
  int (*sameInputs)(const struct custom_op *);
  int (*leastOutputs)(const struct custom_op *);
  int (*sameOutputs)(const struct custom_op *);
  status (*createKernelChecked)(const struct custom_op *, const void *api, const void *info, void **kernel);
  status (*computeChecked)(void *kernel, void *context);
  /* Our own, behind what ONNX Runtime reads. */
  const char *opName;
  int types[5], result;
  int needed, most;
} custom_op;
#endif

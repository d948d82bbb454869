"""Drawn bytes as blocks of every GGUF type that dftune reads, beside the float32 values that gguf.quants makes of them.
Writes golden/gguf/blocks.gguf: tensors NAME and NAME.values."""
import os

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T, GGUFWriter, quants

HERE = os.path.dirname(os.path.abspath(__file__))
TYPES = (T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL, T.IQ4_XS, T.MXFP4,
         T.TQ1_0, T.TQ2_0)
# Where in a block the half-precision scales lie: their exponents are kept from being infinite.
HALVES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0], T.IQ4_XS: [0], T.MXFP4: [], T.TQ1_0: [52], T.TQ2_0: [64]}
ROWS, COLUMNS = 2, 256


def main():
    writer = GGUFWriter(f"{HERE}/gguf/blocks.gguf", "llama")
    random = np.random.default_rng(1)
    for kind in TYPES:
        values, size = GGML_QUANT_SIZES[kind]
        blocks = random.integers(0, 256, (ROWS * COLUMNS // values, size), dtype=np.uint8)
        for at in HALVES[kind]:
            blocks[:, at + 1] &= 0xBF
        if kind == T.MXFP4:
            blocks[:, 0] = random.integers(0, 250, len(blocks), dtype=np.uint8)
            blocks[:2, 0] = (0, 1)
        data = blocks.reshape(ROWS, -1)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        writer.add_tensor(f"{kind.name}.values", quants.dequantize(data, kind).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()

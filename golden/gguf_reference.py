"""A small GGUF file by the Python gguf package: one metadata value of every kind, and the same numbers in every tensor
type that dftune writes, quantised by gguf.quants. Writes golden/gguf/reference.gguf."""
import os

import numpy as np
from gguf import GGMLQuantizationType as T, GGUFValueType as K, GGUFWriter, quants

HERE = os.path.dirname(os.path.abspath(__file__))
BLOCK = 32


def numbers():
    """Rows of two blocks: ordinary weights, and what is awkward to round."""
    random = np.random.default_rng(0)
    rows = [random.normal(0, scale, 2 * BLOCK) for scale in (1, 0.02, 3e-5, 900)]
    rows.append(np.concatenate([np.zeros(BLOCK), np.r_[1e-6, np.zeros(BLOCK - 1)]]))
    rows.append(np.r_[np.linspace(-127, 127, BLOCK), np.arange(BLOCK) - 15.5])     # ties at .5
    rows.append(np.r_[np.tile([4.0, -4.0], BLOCK // 2), np.tile([-8.0, 8.0], BLOCK // 2)])  # largest of both signs
    rows.append(random.choice([-1.0, 1.0], 2 * BLOCK) * 2.0 ** random.uniform(-24, 15, 2 * BLOCK))
    return np.stack(rows).astype(np.float32)


def main():
    os.makedirs(f"{HERE}/gguf", exist_ok=True)
    writer = GGUFWriter(f"{HERE}/gguf/reference.gguf", "llama")
    writer.add_uint8("kind.uint8", 200)
    writer.add_int8("kind.int8", -100)
    writer.add_uint16("kind.uint16", 60_000)
    writer.add_int16("kind.int16", -30_000)
    writer.add_uint32("kind.uint32", 4_000_000_000)
    writer.add_int32("kind.int32", -2_000_000_000)
    writer.add_float32("kind.float32", 0.1)
    writer.add_bool("kind.bool", True)
    writer.add_string("kind.string", "Größe 😀\n")
    writer.add_uint64("kind.uint64", 2**63)
    writer.add_int64("kind.int64", -(2**62))
    writer.add_float64("kind.float64", 0.1)
    writer.add_key_value("kind.strings", ["a", "", "▁b"], K.ARRAY, sub_type=K.STRING)
    writer.add_key_value("kind.floats", [0.5, -1.25], K.ARRAY, sub_type=K.FLOAT32)
    writer.add_key_value("kind.ints", [1, 6], K.ARRAY, sub_type=K.INT32)
    writer.add_key_value("kind.bools", [True, False], K.ARRAY, sub_type=K.BOOL)
    x = numbers()
    writer.add_tensor("F32.odd", np.arange(3, dtype=np.float32))                    # padded to the alignment
    for kind in (T.F32, T.F16, T.BF16, T.Q8_0, T.Q4_0):
        data = quants.quantize(x, kind)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()

"""One matrix [16, 128] as each quantised checkpoint stores it, beside its float32 values.
NF4 by bitsandbytes on the CPU, compressed-tensors by the package of that name, FP8 by torch; GPTQ's and AWQ's formats are
written out here (AutoGPTQ's and AutoAWQ's own unpacking needs their kernels). Writes golden/quantized/NAME.safetensors: the
parts below `m.`, the values as `values`, and the quantization_config as metadata."""
import json
import os

import numpy as np
import torch
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
O, I, GROUP = 16, 128, 32
torch.manual_seed(0)
W = torch.randn(O, I) * 0.05


def save(name, parts, values, config):
    os.makedirs(f"{HERE}/quantized", exist_ok=True)
    tensors = {f"m.{key}": value.contiguous() for key, value in parts.items()} | {"values": values.float().contiguous()}
    save_file(tensors, f"{HERE}/quantized/{name}.safetensors", {"config": json.dumps(config)})


def packed(codes, bits, axis, order=None):
    """Codes 32 / bits in a word along an axis; `order[i]` is the column that lies i-th."""
    n = 32 // bits
    codes = np.moveaxis(codes, axis, -1).reshape(*np.moveaxis(codes, axis, -1).shape[:-1], -1, n).astype(np.uint64)
    if order is not None:
        codes = codes[..., order]
    words = sum(codes[..., i] << np.uint64(bits * i) for i in range(n)).astype(np.uint32).view(np.int32)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(words, -1, axis)))


def gptq_and_awq():
    random = np.random.default_rng(0)
    groups = I // GROUP
    scales = torch.rand(groups, O).half() * 0.02
    for bits, name in ((4, "gptq-4"), (8, "gptq-8"), (4, "gptq-order")):
        codes = random.integers(0, 2**bits, (I, O))
        zeros = random.integers(0, 2**bits - 1, (groups, O))                       # stored; the real ones are one more
        index = np.arange(I) // GROUP if name != "gptq-order" else random.permutation(np.arange(I) // GROUP)
        values = scales.float().numpy()[index] * (codes - (zeros[index] + 1)).astype(np.float32)
        save(name, {"qweight": packed(codes, bits, 0), "qzeros": packed(zeros, bits, 1), "scales": scales,
                    "g_idx": torch.from_numpy(index.astype(np.int32))}, torch.from_numpy(values.T.copy()),
             {"quant_method": "gptq", "bits": bits, "group_size": GROUP, "desc_act": name == "gptq-order"})
    codes, zeros = random.integers(0, 16, (I, O)), random.integers(0, 16, (groups, O))
    index = np.arange(I) // GROUP
    values = (codes - zeros[index]).astype(np.float32) * scales.float().numpy()[index]
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    save("awq", {"qweight": packed(codes, 4, 1, order), "qzeros": packed(zeros, 4, 1, order), "scales": scales},
         torch.from_numpy(values.T.copy()), {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm"})


def nf4():
    import bitsandbytes.functional as bnb
    for nested in (False, True):
        codes, state = bnb.quantize_4bit(W, blocksize=64, quant_type="nf4", compress_statistics=nested)
        values = bnb.dequantize_4bit(codes, state)
        parts = {"weight": codes} | {f"weight.{key}": value for key, value in state.as_dict(packed=True).items()}
        save("nf4-nested" if nested else "nf4", parts, values,
             {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"})


def fp8():
    tile = (8, 64)
    tiles = W.reshape(O // tile[0], tile[0], I // tile[1], tile[1])
    scale = tiles.abs().amax((1, 3)) / 448
    codes = (tiles / scale[:, None, :, None]).to(torch.float8_e4m3fn)
    values = (codes.float() * scale[:, None, :, None]).reshape(O, I)
    save("fp8", {"weight": codes.reshape(O, I), "weight_scale_inv": scale}, values,
         {"quant_method": "fp8", "weight_block_size": list(tile)})
    every = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).reshape(2, 128)
    save("fp8-all", {"weight": every, "weight_scale_inv": torch.ones(1, 1)}, every.float(), {"quant_method": "fp8"})


def compressed():
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams
    cases = (("pack-quantized", 4, "int", "group", 32), ("pack-quantized", 8, "int", "channel", None),
             ("int-quantized", 8, "int", "channel", None), ("float-quantized", 8, "float", "channel", None))
    for fmt, bits, kind, strategy, size in cases:
        args = QuantizationArgs(num_bits=bits, type=kind, strategy=strategy, group_size=size, symmetric=True)
        groups = W.reshape(O, -1, size or I)
        scale, _ = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
        compressor = BaseCompressor.get_value_from_registry(fmt)
        scheme = QuantizationScheme(targets=["Linear"], weights=args)
        zero = torch.zeros_like(scale, dtype=torch.int8)
        parts = compressor.compress({"weight": W.clone(), "weight_scale": scale, "weight_zero_point": zero}, scheme=scheme)
        values = compressor.decompress({**parts}, scheme=scheme)["weight"]
        parts = {key: value for key, value in parts.items() if "zero_point" not in key}
        config = {"quant_method": "compressed-tensors", "format": fmt, "config_groups": {"group_0": {
            "targets": ["Linear"], "weights": {"num_bits": bits, "type": kind, "strategy": strategy, "group_size": size,
                                               "symmetric": True}}}}
        save(f"compressed-{fmt}-{bits}", parts, values, config)


gptq_and_awq()
nf4()
fp8()
compressed()

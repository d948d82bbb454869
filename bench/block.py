"""One Qwen2.5-0.5B decoder layer in PyTorch, float32, forward and backward, on this machine's CPU.

Prints one line of JSON per line read from standard input: {"forward": ms, "backward": ms}. The first line says the versions."""
import json
import sys
import time

import torch
import transformers
from transformers import Qwen2Config
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer, Qwen2RotaryEmbedding

tokens, threads = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(threads)
torch.manual_seed(0)
config = Qwen2Config(hidden_size=896, intermediate_size=4864, num_hidden_layers=1, num_attention_heads=14, num_key_value_heads=2, rms_norm_eps=1e-6,
                     rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}, attn_implementation="sdpa")
block = Qwen2DecoderLayer(config, 0)
x = torch.randn(1, tokens, 896, requires_grad=True)
dy = torch.randn(1, tokens, 896)
positions = torch.arange(tokens)[None]
cos_sin = Qwen2RotaryEmbedding(config)(x, positions)
print(json.dumps({"torch": torch.__version__, "transformers": transformers.__version__}), flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    y = block(x, attention_mask=None, position_ids=positions, position_embeddings=cos_sin)
    y = y[0] if isinstance(y, tuple) else y
    middle = time.perf_counter()
    # Gradients add up, as over micro-batches.
    y.backward(dy)
    end = time.perf_counter()
    print(json.dumps({"forward": (middle - start) * 1e3, "backward": (end - middle) * 1e3}), flush=True)

"""One Qwen2 block over three packed segments: output and the gradients of everything. Usage: python golden/block.py

The loss is sum(output * d_output), so `grad.*` are what reverse mode must give when started with `d_output`.
Positions restart in each segment, and a token attends only inside its own segment."""
import os
import torch
from safetensors.torch import save_file
from transformers import Qwen2Config
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer, Qwen2RotaryEmbedding
from tiny import HERE, versions, write_json

SEGMENTS = [10, 3, 11]
config = Qwen2Config(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, vocab_size=64,
                     rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}, architectures=["Qwen2ForCausalLM"], tie_word_embeddings=True,
                     attn_implementation="eager")
torch.set_num_threads(1)
torch.manual_seed(24)
block = Qwen2DecoderLayer(config, 0)
with torch.no_grad():
    for key, value in block.named_parameters():
        if "norm" in key: value.copy_(1 + 0.3 * torch.randn_like(value))
        elif key.endswith("bias"): value.normal_(0, 0.3)
        else: value.normal_(0, 1.2 / value.shape[1] ** 0.5)
total = sum(SEGMENTS)
x = torch.randn(1, total, 32, requires_grad=True)
d_output = torch.randn(1, total, 32)
positions = torch.cat([torch.arange(n) for n in SEGMENTS])[None]
segment = torch.cat([torch.full((n,), i) for i, n in enumerate(SEGMENTS)])
allowed = (segment[:, None] == segment[None, :]) & torch.ones(total, total).tril().bool()
attention = torch.zeros(1, 1, total, total).masked_fill(~allowed, float("-inf"))
cos_sin = Qwen2RotaryEmbedding(config)(x, positions)
y = block(x, attention_mask=attention, position_ids=positions, position_embeddings=cos_sin)
y = y[0] if isinstance(y, tuple) else y
(y * d_output).sum().backward()
folder = os.path.join(HERE, "block")
os.makedirs(folder, exist_ok=True)
tensors = {k: p.detach().contiguous() for k, p in block.named_parameters()}
grads = {f"grad.{k}": p.grad.contiguous() for k, p in block.named_parameters()}
save_file({**tensors, **grads, "x": x.detach()[0].contiguous(), "y": y.detach()[0].contiguous(), "d_output": d_output[0].contiguous(), "grad.x": x.grad[0].contiguous()},
          os.path.join(folder, "golden.safetensors"))
os.chmod(os.path.join(folder, "golden.safetensors"), 0o644)
config.save_pretrained(folder)
write_json(os.path.join(folder, "golden.json"), {"versions": versions(), "segments": SEGMENTS})

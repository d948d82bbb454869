"""Transformers' generate, for bench/generate.ts: reads "DTYPE SEQUENCES" lines, answers with seconds.

usage: python generate.py MODEL THREADS PROMPT_TOKENS NEW_TOKENS GROUP TEMPERATURE
"""

import sys
import time

import torch
from transformers import AutoModelForCausalLM

folder, threads, prompt_tokens, new_tokens, group = sys.argv[1], *map(int, sys.argv[2:6])
temperature = float(sys.argv[6])
draw = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {"do_sample": False}
torch.set_num_threads(threads)
models = {}


def prompts(count: int) -> torch.Tensor:
    """The same ids as bench/generate.ts."""
    return torch.tensor([[1000 + (i * 131 + t * 7) % 40000 for t in range(prompt_tokens)] for i in range(count)])


print("ready", flush=True)
for line in sys.stdin:
    dtype, count = line.split()
    if dtype not in models:
        models[dtype] = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
        models[dtype].generation_config.eos_token_id = None
    ids = prompts(int(count) // group)
    begun = time.perf_counter()
    with torch.inference_mode():
        out = models[dtype].generate(
            ids, attention_mask=torch.ones_like(ids), num_return_sequences=group, max_new_tokens=new_tokens,
            min_new_tokens=new_tokens, pad_token_id=0, **draw,
        )
    seconds = time.perf_counter() - begun
    assert out.shape[1] == prompt_tokens + new_tokens, out.shape
    print(seconds, flush=True)

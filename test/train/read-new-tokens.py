"""An adapter with new tokens, opened as PEFT's users do: `BASE ADAPTER IDS`; prints ln p [T, V] of a row of ids."""

import json
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base, adapter, ids = sys.argv[1:]
torch.set_num_threads(1)
tokenizer = AutoTokenizer.from_pretrained(adapter)
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
model.resize_token_embeddings(len(tokenizer))
model = PeftModel.from_pretrained(model, adapter).eval()
with torch.no_grad():
    logits = model(torch.tensor([json.loads(ids)])).logits[0]
told = {"ln_p": logits.log_softmax(-1).tolist(), "tokens": tokenizer.encode("a<call>", add_special_tokens=False)}
print(json.dumps(told))

"""Reads what dftune wrote with Transformers and PEFT, and prints logits and merged weights' dtype as JSON.
Usage: python read-back.py REQUEST.json, a list of {"model", "adapter"?, "token_ids"}"""
import json, sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
answers = []
for request in json.load(open(sys.argv[1])):
    model, info = AutoModelForCausalLM.from_pretrained(request["model"], output_loading_info=True)
    loading = {k: sorted(map(str, v)) for k, v in info.items() if k in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    dtype = str(next(model.parameters()).dtype)
    if request.get("adapter"): model = PeftModel.from_pretrained(model, request["adapter"])
    with torch.no_grad(): logits = model.eval()(torch.tensor([request["token_ids"]])).logits[0].float()
    answers.append({"loading": loading, "dtype": dtype, "logits": logits.flatten().tolist(), "class": type(model).__name__})
print(json.dumps(answers))

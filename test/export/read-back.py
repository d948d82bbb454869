"""Reads exports with the Python gguf package, Transformers and PEFT.
Usage: python read-back.py REQUESTS.json: a list of {"gguf", "read"} (tensors dequantised by gguf.quants),
{"gguf", "token_ids"} (logits through Transformers) or {"model", "adapter"?, "token_ids"}. Prints a list of answers."""
import json, os, sys
import numpy as np
answers = []
for request in json.load(open(sys.argv[1])):
    if request.get("read"):
        from gguf import GGUFReader, quants
        reader = GGUFReader(request["gguf"])
        tensors = {t.name: {"type": t.tensor_type.name, "shape": [int(n) for n in reversed(t.shape)],
                            "sum": float(np.abs(quants.dequantize(t.data, t.tensor_type)).astype(np.float64).sum())}
                   for t in reader.tensors}
        answers.append({"fields": {k: f.contents() for k, f in reader.fields.items()}, "tensors": tensors})
        continue
    import torch
    from transformers import AutoModelForCausalLM
    if "gguf" in request:
        folder, file = os.path.split(request["gguf"])
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    else:
        model = AutoModelForCausalLM.from_pretrained(request["model"])
    if "adapter" in request:
        from peft import PeftModel
        model = PeftModel.from_pretrained(model, request["adapter"])
    with torch.no_grad(): logits = model.eval()(torch.tensor([request["token_ids"]])).logits[0].float()
    answers.append({"class": type(model).__name__, "logits": logits.flatten().tolist()})
print("\n" + json.dumps(answers))

"""What Transformers makes of one row's tokens at three checkpoints: writes token-microscope.json beside this file.

    python golden/token_microscope.py

A checkpoint is the bundled model with its final norm's weights times 2 ** k: exact in bfloat16, so a
test makes the same files by adding k to their exponents.
"""

import json
import pathlib

import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
MODEL = HERE.parent / "demo" / "model"
TEXT = "<|user|>calc 17 + 25<|end|><|assistant|>17 + 25 = 42\nThe answer is 42.<|end|>"

ids = Tokenizer.from_file(str(MODEL / "tokenizer.json")).encode(TEXT, add_special_tokens=False).ids
golden = {"transformers": transformers.__version__, "text": TEXT, "token_ids": ids, "checkpoints": []}
for step, power in ((1, 0), (2, -1), (3, 1)):
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    with torch.no_grad():
        model.model.norm.weight *= 2.0**power
        logits = model(torch.tensor([ids])).logits[0, :-1].double()
    logp = logits.log_softmax(-1)
    target = torch.tensor(ids[1:])[:, None]
    own = logits.gather(1, target)
    top = logp.topk(5)
    golden["checkpoints"].append(
        {
            "step": step,
            "power": power,
            "p": logp.gather(1, target).exp()[:, 0].tolist(),
            "rank": ((logits > own).sum(-1) + 1).tolist(),
            "entropy": (-(logp.exp() * logp).sum(-1)).tolist(),
            "alternatives": top.indices.tolist(),
            "alternatives_p": top.values.exp().tolist(),
        }
    )
(HERE / "token-microscope.json").write_text(json.dumps(golden) + "\n")

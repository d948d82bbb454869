"""What Transformers makes of real pretrained models: greedy tokens, their log-probabilities, and the NLL of a row past the window.
Usage: python golden/real_models.py FOLDER   (a folder of model folders, as DFTUNE_REAL_MODELS names it; see README.md)"""
import os, sys
import torch
from transformers import AutoModelForCausalLM
from tiny import HERE, versions, write_json

NAMES = ("gemma", "smollm2", "qwen-coder")
NEW_TOKENS, LONG = 12, 700


@torch.no_grad()
def reference(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    vocab = model.config.vocab_size
    prompts = [[2 + (37 * i * i + 11 * seed) % (vocab // 8) for i in range(4 + 5 * seed)] for seed in range(3)]
    greedy = []
    for prompt in prompts:
        ids, logprobs = list(prompt), []
        for _ in range(NEW_TOKENS):
            logp = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            ids.append(int(logp.argmax()))
            logprobs.append(float(logp.max()))
        greedy.append({"prompt": prompt, "token_ids": ids[len(prompt):], "logprobs": logprobs})
    long = greedy[0]["prompt"] + [2 + (i * 7919) % (vocab // 16) for i in range(LONG)]
    logp = model(torch.tensor([long])).logits[0, :-1].log_softmax(-1)
    nll = -logp.gather(-1, torch.tensor(long[1:])[:, None])[:, 0]
    return {"greedy": greedy, "long": {"token_ids": long, "nll": [float("%.7g" % x) for x in nll]}}


if __name__ == "__main__":
    found = [name for name in NAMES if os.path.isdir(os.path.join(sys.argv[1], name))]
    models = {name: reference(os.path.join(sys.argv[1], name)) for name in found}
    write_json(os.path.join(HERE, "real-models.json"), {"versions": versions(), "models": models})

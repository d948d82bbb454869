"""Opens a reward model that dftune wrote with Transformers (and PEFT) and prints its mean scores of pairs, in one padded batch.
Usage: python read-scores.py MODEL BASE PAIRS.jsonl"""
import json, os, sys
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast
folder, base, pairs = sys.argv[1:]
isAdapter = os.path.exists(os.path.join(folder, "adapter_config.json"))
missing = []
if isAdapter:
    model = PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained(base, num_labels=1), folder)
else:
    model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    missing = sorted(map(str, info["missing_keys"])) + sorted(map(str, info["unexpected_keys"]))
tokenizer = PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"), eos_token="</s>", pad_token="</s>")
if isAdapter: model.config.pad_token_id = tokenizer.pad_token_id
rows = [json.loads(line) for line in open(pairs)]
scores = {}
for side in ("chosen", "rejected"):
    # as dftune lays plain texts out: prompt and answer tokenised apart, then the end
    ids = [tokenizer(row["prompt"], add_special_tokens=False).input_ids + tokenizer(row[side], add_special_tokens=False).input_ids + [tokenizer.eos_token_id] for row in rows]
    batch = tokenizer.pad({"input_ids": ids}, return_tensors="pt")
    with torch.no_grad(): scores[side] = model.eval()(**batch).logits[:, 0].mean().item()
print(json.dumps({"missing": missing, **scores}))

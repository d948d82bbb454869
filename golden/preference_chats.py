"""What TRL's preference trainers log over 20 steps on chats: pairs without a prompt key, with one call of a tool. Writes trl_preference_chats.json.

    python golden/preference_chats.py

Rows, tokenizer and template are in the file, as a user would have them; `ids` is what TRL makes of the first rows. The calls stand in
what both sides share, or are the answers themselves. Set as in preference_trainers.py. What is left of differences:
CPOTrainer and ORPOTrainer give a template no tools, so they get the texts that TRL's own apply_chat_template writes with them; and TRL
trains what a tool says in the middle of an answer, as well as what a template writes behind a turn's end, which nothing here has.
"""

import json
import os
import random

from datasets import Dataset
from preference_trainers import RUNS, SETTINGS, run
from tiny import HERE, versions, write_json
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast
from trl import apply_chat_template, extract_prompt

SPECIAL = ("<unk>", "<pad>", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|tools|>", "<|call|>")
CHARACTERS = 'abcdefghijklmnopqrstuvwxyz0123456789 .,+?:"{}'
TEMPLATE = (
    "{% if tools %}<|tools|>{% for tool in tools %}{{ tool.function.name }} {% endfor %}</s>{% endif %}"
    "{% for message in messages %}{{ '<|' + message.role + '|>' }}{{ message.content }}"
    "{% for call in message.tool_calls or [] %}<|call|>{{ call.function.name }}{{ call.function.arguments | tojson }}{% endfor %}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TOOLS = [{"type": "function", "function": {"name": "add", "description": "a sum", "parameters": {"type": "object"}}}]
ROWS = 24


def tokenizer_of_characters():
    pieces = [*SPECIAL, *CHARACTERS]
    made = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], unk_token="<unk>"))
    made.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    made.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def says(role, content):
    return {"role": role, "content": content}


def calls(a, b):
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": a, "b": b}}}]}


def rows_of_chats():
    """A call and its result that both sides share; calls that differ; a chat without tools behind a system message."""
    draw = random.Random(11)
    rows = []
    for i in range(ROWS):
        a, b = draw.randrange(2, 50), draw.randrange(2, 50)
        wrong = a + b + draw.choice((-10, -1, 1, 10, 100))
        asks = says("user", f"{a} + {b}?")
        if i % 3 == 0:
            before, right, other = [asks, calls(a, b), says("tool", str(a + b))], says("assistant", f"{a + b}."), says("assistant", f"i think {wrong}")
        elif i % 3 == 1:
            before, right, other = [asks], calls(a, b), calls(wrong, b)
        else:
            before, right, other = [says("system", "be short"), says("user", "hello"), says("assistant", "hi"), asks], says("assistant", str(a + b)), says("assistant", f"{wrong}, no?")
        rows.append({"chosen": [*before, right], "rejected": [*before, other]} | ({"tools": TOOLS} if i % 3 < 2 else {}))
    return rows


def labels_of(rows):
    """One side of each in turn, as KTO's rows."""
    labelled = []
    for i, row in enumerate(rows):
        side = row["chosen" if i % 2 == 0 else "rejected"]
        tools = {"tools": row["tools"]} if "tools" in row else {}
        labelled.append({"prompt": side[:-1], "completion": side[-1:], "label": i % 2 == 0} | tools)
    return labelled


def told(row, tokenizer):
    """For trainers that give a template no tools: the texts with them."""
    pair = extract_prompt({key: row[key] for key in ("chosen", "rejected")})
    return apply_chat_template(pair, tokenizer, tools=row.get("tools"))


def as_dataset(name, rows, tokenizer):
    if name in ("cpo", "simpo", "orpo"):
        return Dataset.from_list([told(row, tokenizer) for row in rows])
    # As text: a table would fill each call with the other tools' keys.
    return Dataset.from_list([row | {"tools": json.dumps(row.get("tools"))} for row in rows])


def ids_of(name, batch, count):
    """Prompt and answers as TRL has them in a batch."""
    if name == "kto":
        return []
    ids, kept = (batch["input_ids"], batch["attention_mask"]) if "input_ids" in batch else (batch["chosen_input_ids"], batch["chosen_attention_mask"])
    return [row[mask.bool()].tolist() for row, mask in zip(ids[:count], kept, strict=False)]


if __name__ == "__main__":
    tokenizer, rows = tokenizer_of_characters(), rows_of_chats()
    labelled, size = labels_of(rows), SETTINGS["batch_size"]
    result = {
        "versions": versions(),
        "settings": SETTINGS,
        "tokenizer": json.loads(tokenizer.backend_tokenizer.to_str()),
        "template": TEMPLATE,
        "rows": rows,
        "labels": labelled,
        "ids": [],
        "runs": {},
    }
    names = [("qwen2", name, False) for name in ("dpo", "dpo-sft", "kto", "cpo", "simpo", "orpo")] + [("qwen2", "dpo", True)]
    names += [("llama", name, False) for name in ("dpo", "kto", "simpo", "orpo")]
    for family, name, adapter in names:
        given = labelled if name == "kto" else rows
        repeated = [given[i % ROWS] for i in range(SETTINGS["steps"] * size)]
        seen = []
        logs = run(
            family,
            name,
            as_dataset(name, repeated, tokenizer),
            tokenizer,
            lambda batch: seen.extend(ids_of(name, batch, size)),
            adapter=adapter,
            max_length=128,
        )
        assert not seen or not result["ids"] or result["ids"] == seen, (name, seen)
        result["ids"] = seen or result["ids"]
        result["runs"].setdefault(family, {})[name + (".lora" if adapter else "")] = logs
    write_json(os.path.join(HERE, "trl_preference_chats.json"), result)

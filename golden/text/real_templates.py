"""Writes real_templates.json: SHA-256 of what Transformers renders of the chats in chats.json through real chat templates,
and of the places of their {% generation %} blocks. A template is known by the SHA-256 of its file, and none of its text is kept.
Needs transformers. Usage: python real_templates.py FOLDER... [--texts FILE], folders of .jinja files; FILE gets the texts themselves."""
import argparse
import datetime
import hashlib
import json
import pathlib

from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).parent
STRING = {"type": "string", "description": "where & when"}
TOOLS = [
    [{"type": "function", "function": {"name": "get_weather", "description": "The weather", "parameters": {"type": "object", "properties": {"city": STRING, "days": {"type": "integer", "minimum": 1}}, "required": ["city"]}}}],
    [{"type": "function", "function": {"name": "f", "description": "F", "parameters": {"type": "object", "properties": {"n": {"type": "number", "default": 2.0}, "kind": {"type": "string", "enum": ["a", "b"]}}, "required": []}}},
     {"type": "function", "function": {"name": "g", "description": "G", "parameters": {"type": "object", "properties": {"list": {"type": "array", "items": {"type": "string"}}, "map": {"type": ["object", "null"], "properties": {"x": {"type": "boolean"}}}}}}}],
]
VARIABLES = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "date_string": "26 Jul 2024"}


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 3, 5, 14, 7, 9)


def digest(value):
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def joined(blocks):
    """What the blocks cover, as ranges apart from each other."""
    ranges = []
    for start, end in blocks:
        if start == end:
            continue
        if ranges and ranges[-1][1] >= start:
            ranges[-1][1] = end
        else:
            ranges.append([start, end])
    return ranges


def digests(row):
    """Of the text, and behind a colon of what generation blocks cover of it; null where it raises."""
    if row["text"] is None:
        return None
    return digest(row["text"]) + (":" + digest(joined(row["blocks"])) if "blocks" in row else "")


def rendering(template, chat):
    messages = chat_template_utils._normalize_chat_messages(chat["messages"])
    tools = TOOLS[chat["tools"]] if "tools" in chat else None
    has_blocks = "endgeneration" in template
    try:
        texts, spans = chat_template_utils.render_jinja_template(
            conversations=[messages], tools=tools, chat_template=template, return_assistant_tokens_mask=has_blocks,
            add_generation_prompt=chat.get("add_generation_prompt", False), **VARIABLES)
    except Exception as error:  # whatever the template, Jinja2 or Python raises
        return {"text": None, "error": f"{type(error).__name__}: {error}"}
    return {"text": texts[0], **({"blocks": [list(s) for s in spans[0]]} if has_blocks else {})}


def main():
    chat_template_utils.datetime = Clock
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--texts")
    arguments = parser.parse_args()
    chats = json.loads((HERE / "chats.json").read_text())
    templates, texts = {}, []
    for folder in arguments.folders:
        for path in sorted(pathlib.Path(folder).glob("*.jinja")):
            source = path.read_bytes()
            key = hashlib.sha256(source).hexdigest()
            if key in templates:
                continue
            rows = [rendering(source.decode(), chat) for chat in chats]
            templates[key] = [digests(row) for row in rows]
            texts += [{"file": path.name, "chat": chat["name"], **row} for chat, row in zip(chats, rows)]
    if arguments.texts:
        pathlib.Path(arguments.texts).write_text("".join(json.dumps(row) + "\n" for row in texts))
    result = {"variables": VARIABLES, "tools": TOOLS, "clock": "2026-03-05T14:07:09", "templates": templates}
    (HERE / "real_templates.json").write_text(json.dumps(result, ensure_ascii=True) + "\n")
    print(len(templates), "templates,", len(texts), "cells,", sum(row["text"] is None for row in texts), "raise")


if __name__ == "__main__":
    main()

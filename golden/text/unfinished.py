"""Writes unfinished.json: what Transformers renders of chats whose last message is to be continued (`continue_final_message`),
through templates of our own; null where it refuses. Needs transformers. Usage: python unfinished.py"""
import json
import pathlib
from transformers.utils.chat_template_utils import render_jinja_template

TEMPLATES = {
    "plain": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "trimmed": "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</s>\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
    "trimmed, a space behind": "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content.strip() }} [/INST]{% else %} {{ m.content.strip() }} </s>{% endif %}{% endfor %}",
    "thoughts before the last answer": "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' and loop.last %}<think>\n{{ m.reasoning_content or '' }}\n</think>\n{% endif %}{{ m.content }}[end]{% endfor %}",
    "drops thoughts": "{% for m in messages %}[{{ m.role }}]{{ m.content.split('</think>')[-1].lstrip('\n') }}[end]{% endfor %}",
    "leaves answers out": "{% for m in messages if m.role == 'user' %}[{{ m.role }}]{{ m.content }}[end]{% endfor %}",
}
ASKED = [{"role": "system", "content": "s"}, {"role": "user", "content": "a\n"}]
LAST = [
    {"role": "assistant", "content": "It is"}, {"role": "assistant", "content": "  It is \n"}, {"role": "assistant", "content": ""},
    {"role": "assistant", "content": "s"}, {"role": "assistant", "content": "grün 🌲"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nSo"}, {"role": "user", "content": "and"},
]
cases = []
for name, template in TEMPLATES.items():
    for last in LAST:
        messages = [*ASKED, last]
        try:
            [text], _ = render_jinja_template(conversations=[messages], chat_template=template, continue_final_message=True)
        except ValueError:
            text = None
        cases.append({"name": name, "template": template, "messages": messages, "text": text})
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n")
print(len(cases), sum(case["text"] is None for case in cases))

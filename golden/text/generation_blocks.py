"""Writes generation_blocks.json: what Transformers renders of templates with {% generation %}, and where its blocks are.
Needs transformers. Usage: python generation_blocks.py"""
import json
import pathlib
from transformers.utils.chat_template_utils import render_jinja_template

TEMPLATES = {
    "plain": "{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant\n{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}\n{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}",
    "stripping tags": "{%- for m in messages %}\n    {%- if m.role == 'assistant' %}\n        {{- '<|im_start|>assistant\n' }}\n        {%- generation %}\n        {{- m.content + '<|im_end|>' }}\n        {%- endgeneration %}\n        {{- '\n' }}\n    {%- else %}\n        {{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}\n    {%- endif %}\n{%- endfor %}\n",
    "strips behind": "{% for m in messages %}[{{ m.role }}] {% if m.role == 'assistant' %}{% generation -%}   {{ m.content }} </s>  {%- endgeneration -%}  \n{% else %}{{ m.content }}\n{% endif %}{% endfor %}",
    "indented": "{% for m in messages %}\n  {% if m.role == 'assistant' %}\n    {% generation %}\n    {{ m.content }}\n    {% endgeneration %}\n  {% else %}\n    {{ m.content }}\n  {% endif %}\n{% endfor %}\n",
    "content only": "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim }}{% endgeneration %}{% else %}{{ m.content | trim }}{% endif %}</s>\n{% endfor %}",
}
CHATS = [
    [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hi"}],
    [{"role": "system", "content": "s"}, {"role": "user", "content": "a\n"}, {"role": "assistant", "content": "  b  "},
     {"role": "user", "content": "c"}, {"role": "assistant", "content": "d\n\ne"}],
    [{"role": "user", "content": "no answer"}],
]
cases = []
for name, template in TEMPLATES.items():
    for messages in CHATS:
        rendered, spans = render_jinja_template(conversations=[messages], chat_template=template, return_assistant_tokens_mask=True)
        cases.append({"name": name, "template": template, "messages": messages, "rendered": rendered[0], "spans": [list(s) for s in spans[0]]})
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n")
print(len(cases))

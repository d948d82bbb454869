"""Asks a server by OpenAI's own client; prints what it was told as JSON. Arguments: URL, key, model, prompt."""

import json
import sys

from openai import NotFoundError, OpenAI

url, key, model, prompt = sys.argv[1:]
client = OpenAI(base_url=url, api_key=key, max_retries=0)
asked = {"model": model, "temperature": 0, "max_tokens": 12}
whole = client.completions.create(prompt=prompt, logprobs=0, **asked)
parts = client.completions.create(prompt=prompt, stream=True, **asked)
messages = [{"role": "user", "content": prompt}]
chat = client.chat.completions.create(messages=messages, logprobs=True, **asked)
try:
    client.completions.create(prompt=prompt, **{**asked, "model": "nobody"})
    refused = None
except NotFoundError as error:
    refused = error.code
print(
    json.dumps(
        {
            "models": [entry.id for entry in client.models.list()],
            "text": whole.choices[0].text,
            "streamed": "".join(part.choices[0].text for part in parts),
            "logprobs": whole.choices[0].logprobs.token_logprobs,
            "chat": chat.choices[0].message.content,
            "chat_logprobs": [token.logprob for token in chat.choices[0].logprobs.content],
            "refused": refused,
        }
    )
)

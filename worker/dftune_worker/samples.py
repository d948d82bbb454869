"""Greedy completions of a few prompts from the weights in training: the `sample` events and samples.jsonl."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from .decoding import Completion, Decoding, Wanted
from .errors import InputError, check
from .model import PackedModel
from .parallel import World

CONTEXT_TOKENS = 8  # of the prompt, which the text decoder reads first to know what a completion continues


@dataclass(frozen=True)
class SamplePrompt:
    token_ids: tuple[int, ...]
    text: str
    reference: str | None = None
    """What the prompt's row answers."""


@dataclass(frozen=True)
class SamplePlan:
    """What run-spec.json asks for (docs/torch.md)."""

    every: int
    max_new_tokens: int
    prompts: tuple[SamplePrompt, ...]
    stop_token_ids: frozenset[int]
    token_texts: Path
    """JSON: what each token id shows as, written by dftune's own tokenizer."""
    tokenizer: Path


class Texts:
    """Ids to what people read. Made on rank 0 only."""

    def __init__(self, plan: SamplePlan):
        from tokenizers import Tokenizer

        try:
            self._shown = json.loads(plan.token_texts.read_text(encoding="utf-8"))
            self._tokenizer = Tokenizer.from_file(str(plan.tokenizer))
        except Exception as error:  # the library raises plain Exception
            raise InputError(f"generate_samples: {plan.tokenizer} cannot be read: {error}") from error

    def shown(self, ids: list[int]) -> list[str]:
        return [self._shown[id] if id < len(self._shown) else "" for id in ids]

    def completion(self, prompt: SamplePrompt, ids: list[int]) -> str:
        """What the ids add to the prompt's text; special tokens say nothing."""
        context = list(prompt.token_ids[-CONTEXT_TOKENS:])
        before = self._tokenizer.decode(context, skip_special_tokens=True).rstrip("\ufffd")
        return self._tokenizer.decode(context + ids, skip_special_tokens=True)[len(before) :]


class Sampler:
    def __init__(self, plan: SamplePlan, model: PackedModel, world: World, dtype: torch.dtype):
        self.plan = plan
        self._decoding = Decoding(model, world, dtype, plan.stop_token_ids)
        context = self._decoding.context
        longest = max(len(p.token_ids) for p in plan.prompts)
        check(
            longest < context,
            f"generate_samples: a prompt has {longest} tokens; the model's context is {context} (max_position_embeddings), prompt and completion together",
        )
        self._texts = Texts(plan) if world.first else None

    def events(self) -> list[dict]:
        """All ranks together; on rank 0 the fields of a `sample` event for each prompt, in their order."""
        most = self.plan.max_new_tokens
        completions = self._decoding.completions([Wanted(p.token_ids, most) for p in self.plan.prompts])
        if self._texts is None:
            return []
        return [
            self._event(prompt, completion) for prompt, completion in zip(self.plan.prompts, completions, strict=True)
        ]

    def _event(self, prompt: SamplePrompt, completion: Completion) -> dict:
        ids = completion.token_ids
        said = ids[:-1] if ids[-1] in self.plan.stop_token_ids else ids
        probabilities = torch.tensor(completion.logprobs, dtype=torch.float64).exp().tolist()
        return {
            "prompt": prompt.text,
            "completion": self._texts.completion(prompt, said),
            **({} if prompt.reference is None else {"reference": prompt.reference}),
            "tokens": self._texts.shown(ids),
            "probabilities": probabilities,
        }

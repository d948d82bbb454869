"""Greedy completions of a few prompts from the weights in training: the `sample` events and samples.jsonl.

Prompts are decoded sixteen side by side with a key-value cache. The sixteen depend on the list of prompts alone, so that what
a prompt becomes does not depend on the number of processes; with several, each takes whole groups, and all of them keep step,
because sharded weights are gathered by all or none.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from .apart import OWN
from .attention import Packing
from .errors import InputError, check
from .key_value_cache import KeyValueCache, PromptView, TokenView
from .model import PackedModel
from .parallel import World

LANES = 16
NO_LIMIT = 1 << 30  # of positions, where a model has none
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


@dataclass
class Completion:
    token_ids: list[int]
    logprobs: list[float]


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
        self.plan, self._model, self._world, self._dtype = plan, model, world, dtype
        self._config = model.config
        self._context = context = getattr(self._config, "max_position_embeddings", None) or NO_LIMIT
        longest = max(len(p.token_ids) for p in plan.prompts)
        check(
            longest < context,
            f"generate_samples: a prompt has {longest} tokens; the model's context is {context} (max_position_embeddings), prompt and completion together",
        )
        self._texts = Texts(plan) if world.first else None

    def events(self) -> list[dict]:
        """All ranks together; on rank 0 the fields of a `sample` event for each prompt, in their order."""
        completions = self._completions()
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

    @torch.no_grad()
    def _completions(self) -> list[Completion]:
        prompts, world = self.plan.prompts, self._world
        groups = [prompts[start : start + LANES] for start in range(0, len(prompts), LANES)]
        mine: dict[int, list[Completion]] = {}
        self._model.eval()
        for start in range(0, len(groups), world.size):
            index = start + world.rank
            own = self._model.kept_apart == OWN
            done = (self._group if own else self._group_anew)(groups[index] if index < len(groups) else ())
            if index < len(groups):
                mine[index] = done
        self._model.train()
        found: dict[int, list[Completion]] = {}
        for part in world.gather_objects(mine):
            found |= part
        return [completion for index in range(len(groups)) for completion in found[index]]

    def _group_anew(self, prompts: tuple[SamplePrompt, ...]) -> list[Completion]:
        """As `_group`, for models whose caches are their own affair: one prompt at a time, all of it for every token."""
        completions = []
        for turn in range(int(self._world.largest(max(1, len(prompts))))):
            real = turn < len(prompts)
            ids = list(prompts[turn].token_ids) if real else [0]
            done, limit = Completion([], []), min(self.plan.max_new_tokens, self._context - len(ids))
            while True:
                still = real and not self._ended(done, limit)
                if self._world.largest(float(still)) == 0:
                    break
                all_ids = torch.tensor([ids + done.token_ids], device=self._world.device)
                logits = self._model.last_logits(all_ids)[0]
                if still:
                    chosen = int(logits.argmax())
                    done.token_ids.append(chosen)
                    done.logprobs.append(float(logits[chosen] - logits.logsumexp(-1)))
            completions += [done] if real else []
        return completions

    def _group(self, prompts: tuple[SamplePrompt, ...]) -> list[Completion]:
        """Completions of at most LANES prompts. Without any this rank computes a token that nobody reads, to keep step."""
        prompts_ids = [p.token_ids for p in prompts] or [(0,)]
        limits = [min(self.plan.max_new_tokens, self._context - len(ids)) for ids in prompts_ids]
        capacity = max(len(ids) + limit for ids, limit in zip(prompts_ids, limits, strict=True))
        cache = KeyValueCache(self._config, len(prompts_ids), capacity, self._dtype, self._world.device)
        completions = [Completion([], []) for _ in prompts]
        logits = self._prefill(cache, prompts_ids)
        places = [len(ids) for ids in prompts_ids]
        while True:
            chosen = logits.argmax(-1)  # [B]
            logprobs = (logits.gather(-1, chosen[:, None])[:, 0] - logits.logsumexp(-1)).tolist()
            open_lanes = 0
            for completion, limit, id, logprob in zip(completions, limits, chosen.tolist(), logprobs, strict=False):
                if self._ended(completion, limit):
                    continue
                completion.token_ids.append(id)
                completion.logprobs.append(logprob)
                open_lanes += not self._ended(completion, limit)
            if self._world.largest(open_lanes) == 0:
                return completions
            at = torch.tensor(places, device=self._world.device).clamp(
                max=capacity - 1
            )  # an ended lane runs on in its own room
            logits = self._model.next_logits(
                chosen[None], at[None], TokenView(cache, at, int(at.max()) + 1), slice(None)
            )
            places = [place + 1 for place in places]

    def _prefill(self, cache: KeyValueCache, prompts_ids: list[tuple[int, ...]]) -> torch.Tensor:
        """Logits [B, V] after each prompt. One prompt at a time: what it becomes does not depend on its neighbours."""
        device, logits = self._world.device, []
        for turn in range(int(self._world.largest(len(prompts_ids)))):
            lane = min(turn, len(prompts_ids) - 1)  # a rank with fewer prompts computes its last one again
            ids = torch.tensor(prompts_ids[lane], device=device)
            packing = Packing((len(ids),), torch.tensor([0, len(ids)], dtype=torch.int32, device=device))
            logits.append(
                self._model.next_logits(
                    ids[None],
                    torch.arange(len(ids), device=device)[None],
                    PromptView(cache, lane, packing),
                    slice(-1, None),
                )
            )
        return torch.cat(logits[: len(prompts_ids)])

    def _ended(self, completion: Completion, limit: int) -> bool:
        ids = completion.token_ids
        return len(ids) == limit or (len(ids) > 0 and ids[-1] in self.plan.stop_token_ids)

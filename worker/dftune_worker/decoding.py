"""Completions of token sequences by the weights in training, each token drawn or the likeliest.

Sixteen are decoded side by side with a key-value cache. The sixteen depend on the list alone, so that what a sequence becomes
does not depend on the number of processes; with several, each takes whole groups, and all of them keep step, because sharded
weights are gathered by all or none.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from .apart import OWN
from .attention import Packing
from .errors import check
from .key_value_cache import KeyValueCache, PromptView, TokenView
from .model import PackedModel
from .parallel import World

LANES = 16
NO_LIMIT = 1 << 30  # of positions, where a model has none


@dataclass(frozen=True)
class Wanted:
    """A completion that is asked for."""

    token_ids: tuple[int, ...]
    most: int
    """Tokens of it."""
    temperature: float = 0.0
    """0 is greedy."""
    uniform: Callable[[int], float] | None = None
    """In [0, 1), by the token's place in the completion: what it is drawn with."""


@dataclass
class Completion:
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    """Natural, at the temperature; at 1 where the choice is greedy."""


class Decoding:
    def __init__(self, model: PackedModel, world: World, dtype: torch.dtype, stop_token_ids: frozenset[int]):
        self._model, self._world, self._dtype, self._stops = model, world, dtype, stop_token_ids
        self._config = model.config
        self.context = getattr(self._config, "max_position_embeddings", None) or NO_LIMIT

    @torch.no_grad()
    def completions(self, wanted: list[Wanted]) -> list[Completion]:
        """All ranks together, with the same list; the same answer on each."""
        world = self._world
        groups = [wanted[start : start + LANES] for start in range(0, len(wanted), LANES)]
        mine: dict[int, list[Completion]] = {}
        self._model.eval()
        for start in range(0, len(groups), world.size):
            index = start + world.rank
            own = self._model.kept_apart == OWN
            done = (self._group if own else self._group_anew)(groups[index] if index < len(groups) else [])
            if index < len(groups):
                mine[index] = done
        self._model.train()
        found: dict[int, list[Completion]] = {}
        for part in world.gather_objects(mine):
            found |= part
        return [completion for index in range(len(groups)) for completion in found[index]]

    def _limit(self, wanted: Wanted) -> int:
        return min(wanted.most, self.context - len(wanted.token_ids))

    def _group_anew(self, group: list[Wanted]) -> list[Completion]:
        """As `_group`, for models whose caches are their own affair: one at a time, all of it for every token."""
        completions = []
        for turn in range(int(self._world.largest(max(1, len(group))))):
            real = turn < len(group)
            one = group[turn] if real else Wanted((0,), 1)
            done, limit = Completion(), self._limit(one)
            while True:
                still = real and not self._ended(done, limit)
                if self._world.largest(float(still)) == 0:
                    break
                ids = list(one.token_ids) + done.token_ids
                logits = self._model.last_logits(torch.tensor([ids], device=self._world.device))
                if still:
                    (id,), (logprob,) = _chosen(logits, [one], [done])
                    done.token_ids.append(id)
                    done.logprobs.append(logprob)
            completions += [done] if real else []
        return completions

    def _group(self, group: list[Wanted]) -> list[Completion]:
        """Of at most LANES. Without any this rank computes a token that nobody reads, to keep step."""
        lanes = group or [Wanted((0,), 1)]
        limits = [self._limit(one) for one in lanes]
        capacity = max(len(one.token_ids) + limit for one, limit in zip(lanes, limits, strict=True))
        cache = KeyValueCache(self._config, len(lanes), capacity, self._dtype, self._world.device)
        completions = [Completion() for _ in lanes]
        logits = self._prefill(cache, [one.token_ids for one in lanes])
        places = [len(one.token_ids) for one in lanes]
        chosen = [0] * len(lanes)
        going = [lane for lane, limit in enumerate(limits) if not self._ended(completions[lane], limit)]
        while True:
            ids, logprobs = _chosen(logits[going], [lanes[i] for i in going], [completions[i] for i in going])
            for lane, id, logprob in zip(going, ids, logprobs, strict=True):
                completions[lane].token_ids.append(id)
                completions[lane].logprobs.append(logprob)
                chosen[lane] = id
            going = [lane for lane in going if not self._ended(completions[lane], limits[lane])]
            if self._world.largest(len(going) if group else 0) == 0:
                return completions[: len(group)]
            at = torch.tensor(places, device=self._world.device).clamp(
                max=capacity - 1
            )  # an ended lane runs on in its own room
            fed = torch.tensor(chosen, device=self._world.device)[None]
            logits = self._model.next_logits(fed, at[None], TokenView(cache, at, int(at.max()) + 1), slice(None))
            places = [place + 1 for place in places]

    def _prefill(self, cache: KeyValueCache, prompts_ids: list[tuple[int, ...]]) -> torch.Tensor:
        """Logits [B, V] after each prompt. One prompt at a time: what it becomes does not depend on its neighbours. Lanes of
        one prompt share what was computed of it."""
        device, logits = self._world.device, {}
        different = list(dict.fromkeys(prompts_ids))
        for turn in range(int(self._world.largest(len(different)))):
            prompt = different[min(turn, len(different) - 1)]  # a rank with fewer computes its last one again
            ids, lane = torch.tensor(prompt, device=device), prompts_ids.index(prompt)
            packing = Packing((len(ids),), torch.tensor([0, len(ids)], dtype=torch.int32, device=device))
            places = torch.arange(len(ids), device=device)[None]
            view = PromptView(cache, lane, packing)
            logits[prompt] = self._model.next_logits(ids[None], places, view, slice(-1, None))
            cache.share(lane, [i for i, other in enumerate(prompts_ids) if other == prompt], len(prompt))
        return torch.cat([logits[prompt] for prompt in prompts_ids])

    def _ended(self, completion: Completion, limit: int) -> bool:
        ids = completion.token_ids
        return len(ids) == limit or (len(ids) > 0 and ids[-1] in self._stops)


def _chosen(logits: torch.Tensor, lanes: list[Wanted], completions: list[Completion]) -> tuple[list[int], list[float]]:
    """The next token of each lane and its log-probability, from logits [B, V].

    Drawn by the inverse of the cumulative distribution at u, sums in float64 in the vocabulary's order, as
    src/generate/sampling.ts has it: nearly always the token that the local engine draws.
    """
    lse = logits.logsumexp(-1)
    finite = torch.isfinite(lse).tolist()
    for one, done, good in zip(lanes, completions, finite, strict=True):
        check(
            good,
            f"the model's logits are no finite numbers after a prompt of {len(one.token_ids)} tokens and {len(done.token_ids)} "
            "of its own; its weights are damaged, or its training has diverged",
        )
    greedy = logits.argmax(-1)
    ids, logprobs = greedy.tolist(), (logits.gather(-1, greedy[:, None])[:, 0] - lse).tolist()
    for lane, (one, done) in enumerate(zip(lanes, completions, strict=True)):
        if one.temperature == 0:
            continue
        weights = ((logits[lane] - logits[lane].max()) / one.temperature).exp()  # [V]
        sums = weights.double().cumsum(0)
        u = one.uniform(len(done.token_ids))
        place = torch.searchsorted(sums, (sums[-1] * u).reshape(1), right=True)
        id = int(place.clamp(max=len(weights) - 1))
        ids[lane] = id
        logprobs[lane] = float((weights[id].double() / sums[-1]).log())
    return ids, logprobs

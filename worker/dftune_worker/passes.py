"""What a step does with the model: its rows as micro-batches, a first pass where the objective reduces over the step, then forward and backward."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from .apart import ALONE, PADDED
from .expression import Objective, sequence_reduction
from .head import HeadRequest, Reference
from .model import PackedModel
from .optimizer import Optimizer
from .packing import MicroBatch, micro_batch, packed, plan_step
from .parallel import DTYPES, World
from .preferences import Told, all_tokens, joined, mismatched, told_of
from .recompute import activation_bytes_per_token, kept_layers
from .scores import NAME as SCORE
from .scores import VERDICT, verdict_columns
from .shards import PreparedRows
from .statistics import TokenSums

Columns = dict[str, torch.Tensor]


@dataclass
class StepOutcome:
    sums: TokenSums
    losses: list[tuple[MicroBatch, torch.Tensor]]
    """Each micro-batch with its tokens' losses [S]."""
    rows: np.ndarray
    told: Told | None = None
    loss_at_reference: float | None = None
    """Of the first step of a run whose reference is its own start."""
    apart_from_reference: float | None = None
    """Mean |ln p - ln pi_ref| of that step's tokens."""
    aux_loss: torch.Tensor | None = None
    """Of the routers to experts, where it is trained."""

    def not_finite_rows(self) -> list[str]:
        """file:line of the rows with a loss that is no number."""
        found = []
        for batch, loss in self.losses:
            bad = set(batch.sequence[~torch.isfinite(loss)].tolist())
            order = sorted(set(batch.sequence.tolist()))
            found += [source for position, source in zip(order, batch.sources, strict=False) if position in bad]
        return found


class Passes:
    def __init__(
        self,
        model: PackedModel,
        reference: PackedModel | None,
        objective: Objective,
        world: World,
        config: dict,
        activation_budget: int,
    ):
        self.model, self.reference, self.objective, self.config = model, reference, objective, config
        self.world, self._everyone = world.by_rows, world  # rows are divided among the first; FSDP and experts know all
        self._sharers = world.size // self.world.size
        self._budget = activation_budget
        dtype = DTYPES[config["engine"]["dtype"]]
        self._vocab_size = model.config.vocab_size
        self._activation_bytes = activation_bytes_per_token(model.config, dtype.itemsize)
        self._full_reference = "kl_ref" in objective.inputs
        self.paired = False
        """Rows are pairs, of which the chosen sides are told."""
        self.stored_reference = False
        """ref_logp comes with the rows: nothing runs beside the policy."""
        self.begins_at_reference = False
        """The loss of the first step is known."""
        self.needs_reference = objective.needs_reference

    def recompute_in_words(self) -> str:
        tokens = self.config["micro_batch_tokens"]
        kept, layers = self._kept(tokens), len(self.model.layers)
        return f"a full micro-batch of {tokens} tokens keeps the activations of {kept} of {layers} layers and computes the others again"

    def bring_reference(self, temperature: float, compares: bool) -> None:
        """Rows are samples drawn at a temperature, and bring what they are compared with."""
        for model in (self.model, self.reference):
            if model is not None:
                model.temperature = temperature
        self.stored_reference, self.needs_reference = True, compares

    def _kept(self, tokens: int) -> int:
        return kept_layers(
            self.config["recompute"], len(self.model.layers), tokens, self._activation_bytes, self._budget
        )

    def train(self, rows: PreparedRows, order: np.ndarray, step: int, steps: int, optimizer: Optimizer) -> StepOutcome:
        """Forward and backward over the step's sequences; gradients are left with the optimizer."""
        batches = self._micro_batches(rows, order)
        optimizer.expect(len(batches))
        given = self._run_columns((step - 1) / steps, step, steps) | self._kl_step(rows, order)
        reduced = self._first_pass(batches, given)
        scales = self._scales(batches)
        outcome, seen = StepOutcome(TokenSums(self.world.device), [], order), []
        routers = self.model.routers
        if routers is not None:
            self._count_experts(batches)
            outcome.aux_loss = torch.zeros((), dtype=torch.float64, device=self.world.device)
        for index, batch in enumerate(batches):
            request = self._request(
                batch, given, reduced[index], scales[index] * self._everyone.size
            )  # FSDP takes the mean over ranks
            self.model.recompute.first_kept = len(self.model.layers) - self._kept(self._computed(batch))
            loss = self.model(batch, request, self._adapter_reference())
            loss.backward()
            if routers is not None:
                outcome.aux_loss += (part := routers.part().detach().double())
                loss = loss - routers.coefficient * self._everyone.size * part
            self._count(outcome.sums, batch, request, loss.detach() / self._everyone.size)
            outcome.losses.append((batch, request.columns["loss"]))
            seen.append(request.columns)
        if routers is not None:
            routers.shares = None
            outcome.aux_loss = self._everyone.sum(outcome.aux_loss)
        outcome.told = told_of(self.objective, self.world, batches, seen, given, scales)
        if step == 1 and self.begins_at_reference:
            outcome.loss_at_reference = self._loss_at_reference(batches, seen, given, scales)
            outcome.apart_from_reference = self._apart_from_reference(batches, seen)
        return outcome

    def _loss_at_reference(self, batches, seen, given: Columns, scales) -> float | None:
        """What the step's loss is where the policy is its reference."""
        there = [columns | {"ref_logp": columns["logp"]} for columns in seen]
        itself = [
            replace(batch, columns={k: v for k, v in batch.columns.items() if k != "ref_logp"}) for batch in batches
        ]
        zero = {"kl_step": torch.zeros_like(given["kl_step"])} if "kl_step" in given else {}
        told = told_of(self.objective, self.world, itself, there, given | zero, scales)
        return None if told is None else told.loss

    def _apart_from_reference(self, batches: list[MicroBatch], seen: list[Columns]) -> float:
        total = torch.zeros(2, dtype=torch.float64, device=self.world.device)
        for batch, columns in zip(batches, seen, strict=True):
            gaps = (columns["logp"].double() - batch.columns["ref_logp"].double()).abs()
            total += torch.stack([gaps.sum(), torch.full_like(gaps.sum(), gaps.numel())])
        gap, tokens = self.world.sum(total).tolist()
        return gap / max(1.0, tokens)

    @torch.no_grad()
    def _count_experts(self, batches: list[MicroBatch]) -> None:
        """Where the step's tokens are sent, which its auxiliary loss is of: what one micro-batch says is not what all say."""
        routers, total = self.model.routers, 0.0
        for batch in batches:
            self.model(batch, None)
            total = total + routers.counts()
        routers.settle(self._everyone.sum(total))
        routers.coefficient_of_part = routers.coefficient * self._everyone.size  # FSDP takes the mean over ranks

    def _computed(self, batch: MicroBatch) -> int:
        """This process's tokens of a micro-batch, with what fills it up."""
        padded = self.model.kept_apart in (PADDED, ALONE)
        tokens = len(batch.lengths) * max(batch.lengths) if padded else batch.token_ids.shape[1]
        return -(-tokens // self._sharers)

    @torch.no_grad()
    def measure(self, rows: PreparedRows, step: int, steps: int) -> TokenSums:
        """The objective and its statistics over all rows, as if they were one step; nothing is trained."""
        self.model.eval()
        batches, given = (
            self._micro_batches(rows, np.arange(len(rows))),
            self._run_columns(step / steps, max(1, step), steps),
        )
        reduced, scales, sums = self._first_pass(batches, given), self._scales(batches), TokenSums(self.world.device)
        for index, batch in enumerate(batches):
            request = self._request(batch, given, reduced[index], scales[index])
            loss = self.model(batch, request, self._adapter_reference())
            self._count(sums, batch, request, loss)
        self.model.train()
        return sums

    @torch.no_grad()
    def measure_preferences(self, rows: PreparedRows, batch_size: int) -> tuple[TokenSums, Told]:
        """The objective over all rows, batch by batch as in training, and how both sides fare; nothing is trained."""
        self.model.eval()
        sums, told = TokenSums(self.world.device), []
        for order in rows.batches(batch_size):
            batches, seen, requests = self._micro_batches(rows, order), [], []
            given = self._run_columns(0.0, 1, 1) | self._kl_step(rows, order)
            for batch in batches:
                request = self._request(batch, given, None, None)
                loss = self.model(batch, request, self._adapter_reference())
                zeros = torch.zeros_like(request.columns["logp"])
                request.columns |= {"loss": zeros, "weight": zeros}
                seen.append(request.columns)
                requests.append((request, loss * 0))
            if self.model.gives_scores:
                self._bring_verdicts(batches, seen)
            for batch, (request, loss) in zip(batches, requests, strict=True):
                if VERDICT in batch.columns:
                    request.columns |= verdict_columns(batch.columns[VERDICT])
                self._count(sums, batch, request, loss)
            told.append(told_of(self.objective, self.world, batches, seen, given, self._scales(batches)))
        self.model.train()
        return sums, joined(told)

    @torch.no_grad()
    def _kl_step(self, rows: PreparedRows, order: np.ndarray) -> Columns:
        """KTO's z0: a mean over the step of sum ln(pi / pi_ref) of each prompt with the answer before it, at least 0."""
        if "kl_step" not in self.objective.inputs:
            return {}
        zero = torch.zeros((), dtype=torch.float64, device=self.world.device)
        if len(order) < 2:
            return {"kl_step": zero}
        chosen = mismatched([rows[int(i)] for i in order], self.config["data"]["max_length"])
        lengths = np.asarray([len(row.token_ids) for row in chosen])
        total = zero.clone()
        for positions in self._plan(lengths):
            part = [chosen[p] for p in positions]
            batch = packed(part, positions, self._vocab_size).to(self.world.device)
            request = self._request(batch, {}, None, None)
            self.model(batch, request, self._adapter_reference())
            total += request.columns["logp"].sum()
            if not self.stored_reference:
                total -= request.columns["ref_logp"].sum()
            elif positions:
                total -= float(rows.reference_of_others[tuple(order.tolist())][positions].sum(dtype=np.float64))
        return {"kl_step": (self.world.sum(total) / len(order)).clamp_min(0)}

    def _count(self, sums: TokenSums, batch: MicroBatch, request: HeadRequest, loss: torch.Tensor) -> None:
        padding = batch.sources == ("(no row)",)
        tokens = 0 if padding else batch.token_ids.shape[1]
        told = batch.columns["pair_sign"] > 0 if self.paired and not padding else None
        sums.add(request.columns, batch.token_class, batch.weight, tokens, loss, told)

    def _micro_batches(self, rows: PreparedRows, order: np.ndarray) -> list[MicroBatch]:
        plan = self._plan(rows.lengths[order])
        return [micro_batch(rows, order, positions, self._vocab_size).to(self.world.device) for positions in plan]

    def _plan(self, lengths: np.ndarray) -> list[list[int]]:
        way = self.model.kept_apart
        capacity = self.config["micro_batch_tokens"] * self._sharers
        packing = self.config["data"]["packing"] and way != ALONE
        return plan_step(lengths, self.world.size, self.world.rank, capacity, packing, way == PADDED)

    def _run_columns(self, progress: float, step: int, steps: int) -> Columns:
        numbers = {"progress": progress, "step": float(step), "steps": float(steps)}
        return {
            name: torch.tensor(value, dtype=torch.float64, device=self.world.device) for name, value in numbers.items()
        }

    def _scales(self, batches: list[MicroBatch]) -> list[torch.Tensor]:
        """What multiplies each token's loss, [S] a micro-batch. `weights` divides later, when their sum is known."""
        sizes = [torch.bincount(b.sequence) for b in batches]
        # A token's part of its sequence's weight: these sum to the sequences' weights.
        shares = [b.weight / n[b.sequence] for b, n in zip(batches, sizes, strict=True)]
        first_side = [(b.sequence % 2 == 0).double() for b in batches]
        own = torch.stack(
            [
                sum(b.weight.sum() for b in batches),
                sum(share.sum() for share in shares),
                sum((share * side).sum() for share, side in zip(shares, first_side, strict=True)),
            ]
        )
        tokens, sequences, pairs = self.world.sum(own)
        by_rule: dict[str, Callable] = {
            "tokens": lambda b, share: b.weight / tokens,
            "sequences": lambda b, share: share / sequences,
            "weights": lambda b, share: b.weight,
            "paper": lambda b, share: b.weight / b.weight.sum().clamp_min(1e-30),
            "pairs": lambda b, share: b.weight / pairs,
            "sequence_sums": lambda b, share: b.weight / sequences,
            "max_tokens": lambda b, share: b.weight / (sequences * self.config["rollout"]["max_new_tokens"]),
        }
        rule = by_rule[self.objective.normalization]
        return [rule(b, share) for b, share in zip(batches, shares, strict=True)]

    def _first_pass(self, batches: list[MicroBatch], given: Columns) -> list[dict[int, torch.Tensor]]:
        """Reductions over sequences and over the whole step, by node and micro-batch; needs every token's numbers before any gradient."""
        if not self.objective.has_reductions:
            return [{} for _ in batches]
        seen: list[Columns] = [{"logp": torch.zeros_like(b.weight)} for b in batches]
        if self.objective.needs_first_pass:
            with torch.no_grad():
                for index, batch in enumerate(batches):
                    request = self._request(batch, given, None, None)
                    self.model(batch, request, self._adapter_reference())
                    seen[index] = request.columns
        if self.model.gives_scores:
            self._bring_verdicts(batches, seen)
        columns = all_tokens(batches, seen) | given
        reduced = self.objective.reduce(columns, torch.cat([b.sequence for b in batches]), self.world.gather)
        bounds = np.cumsum([0, *(len(b.targets) for b in batches)])
        return [{node: values[lo:hi] for node, values in reduced.items()} for lo, hi in itertools.pairwise(bounds)]

    def _bring_verdicts(self, batches: list[MicroBatch], seen: list[Columns]) -> None:
        """s_chosen - s_rejected of each sequence's pair, which may lie in two micro-batches or on two ranks."""
        signed = torch.cat([s[SCORE] * b.columns["pair_sign"] for s, b in zip(seen, batches, strict=True)])
        margins = sequence_reduction("pair_sum", signed, torch.cat([b.sequence for b in batches]), self.world.gather)
        for batch, own in zip(batches, margins.split([len(b.targets) for b in batches]), strict=True):
            batch.columns[VERDICT] = own

    def _request(
        self, batch: MicroBatch, given: Columns, reduced: dict[int, torch.Tensor] | None, scale: torch.Tensor | None
    ) -> HeadRequest:
        objective = None
        if reduced is not None:

            def objective(columns, part):
                return self.objective(columns, {node: values[part] for node, values in reduced.items()})

        request = HeadRequest(
            targets=batch.targets,
            columns_given={**batch.columns, **given},
            objective=objective,
            scale=scale,
            needs_topk="topk_entropy" in self.objective.inputs,
        )
        if self.reference is not None and not self.stored_reference:
            with torch.no_grad():
                hidden, head = self.reference(batch, None)
            request.reference = Reference(hidden, head, self._full_reference)
        return request

    @torch.no_grad()
    def measured(self, rows) -> list[dict[str, np.ndarray]]:
        """Of each sequence's supervised tokens `logp` and `entropy` under the policy, float32; the same on every rank."""
        self.model.eval()
        order, mine = np.arange(len(rows)), {}
        for positions in self._plan(rows.lengths):
            batch = micro_batch(rows, order, positions, self._vocab_size).to(self.world.device)
            request = self._request(batch, {}, None, None)
            self.model(batch, request, self._adapter_reference())
            found = {name: request.columns[name].float().cpu().numpy() for name in ("logp", "entropy")}
            place = batch.sequence.cpu().numpy()
            mine |= {p: {name: values[place == p] for name, values in found.items()} for p in positions}
        self.model.train()
        known = {sequence: values for part in self.world.gather_objects(mine) for sequence, values in part.items()}
        return [known[sequence] for sequence in range(len(rows))]

    @torch.no_grad()
    def reference_logprobs(self, rows: PreparedRows, wanted: np.ndarray) -> dict[int, np.ndarray]:
        """ln pi_ref of each supervised token, float32, by sequence; the same on every rank."""
        brought, self.stored_reference = self.stored_reference, False
        self.model.eval()
        mine: dict[int, np.ndarray] = {}
        for positions in self._plan(rows.lengths[wanted]):
            batch = micro_batch(rows, wanted, positions, self._vocab_size).to(self.world.device)
            for position, values in self._reference_by_position(batch, positions):
                mine[int(wanted[position])] = values
        self.model.train()
        self.stored_reference = brought
        return {sequence: values for part in self.world.gather_objects(mine) for sequence, values in part.items()}

    @torch.no_grad()
    def reference_of_others(self, rows: PreparedRows, order: np.ndarray) -> np.ndarray:
        """The sum of ln pi_ref over each of the step's answers to another prompt, float32."""
        chosen = mismatched([rows[int(i)] for i in order], self.config["data"]["max_length"])
        mine: dict[int, float] = {}
        for positions in self._plan(np.asarray([len(row.token_ids) for row in chosen])):
            batch = packed([chosen[p] for p in positions], positions, self._vocab_size).to(self.world.device)
            mine |= {p: float(v.sum(dtype=np.float64)) for p, v in self._reference_by_position(batch, positions)}
        sums = {p: v for part in self.world.gather_objects(mine) for p, v in part.items()}
        return np.asarray([sums.get(p, 0.0) for p in range(len(order))], np.float32)

    def _reference_by_position(self, batch: MicroBatch, positions: list[int]) -> list[tuple[int, np.ndarray]]:
        request = self._request(batch, {}, None, None)
        self.model(batch, request, self._adapter_reference())
        found, place = request.columns["ref_logp"].float().cpu().numpy(), batch.sequence.cpu().numpy()
        return [(p, found[place == p]) for p in positions]

    def _adapter_reference(self) -> str:
        """Under an adapter the reference is the same model without it."""
        if self.stored_reference or not self.needs_reference or self.reference is not None:
            return ""
        return "all" if self._full_reference else "logp"

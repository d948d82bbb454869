"""An objective's JSON (docs/architecture.md, seam 2) evaluated with autograd. The TypeScript's float64 evaluator is the judge."""

import math
from collections.abc import Callable, Mapping

import torch

from .errors import check

GRADIENT_INPUTS = ("logp", "entropy", "kl_ref", "score")
MEASURED_INPUTS = (*GRADIENT_INPUTS, "topk_entropy", "ref_logp")
TOKEN_INPUTS = (
    *MEASURED_INPUTS,
    "token_class",
    "advantage",
    "old_logp",
    "sampling_logp",
    "expert",
    "reward",
    "pair_sign",
    "row_weight",
    "position",
    "source",
    "margin",
)
RUN_INPUTS = ("progress", "step", "steps", "kl_step")
FROM_ROLLOUTS = ("old_logp", "sampling_logp", "expert", "reward")
REDUCTIONS = ("sequence_mean", "sequence_sum", "batch_median", "pair_sum", "batch_sum", "batch_rank")
NORMALIZATIONS = ("tokens", "sequences", "weights", "paper", "pairs", "sequence_sums", "max_tokens")
IMPLICIT_REWARD = "implicit_reward"
MAX_NODES = 4096

Tensor = torch.Tensor


def times(a: Tensor, b: Tensor) -> Tensor:
    """The product; 0 times infinity is 0, in gradients too."""
    return torch.where((a == 0) | (b == 0), torch.zeros((), dtype=a.dtype, device=a.device), a * b)


def _share(dy: Tensor, wins: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """A gradient to the argument that wins; half to each at a tie, as PyTorch's minimum and maximum."""
    return times(dy, torch.where(a == b, 0.5, wins.to(dy.dtype)))


# op: (value, gradients of the arguments from dy, y and the arguments)
DIFFERENTIABLE: dict[str, tuple[Callable, Callable]] = {
    "neg": (lambda a: -a, lambda dy, y, a: (-dy,)),
    "exp": (torch.exp, lambda dy, y, a: (times(dy, y),)),
    "log": (torch.log, lambda dy, y, a: (times(dy, 1 / a),)),
    "sqrt": (torch.sqrt, lambda dy, y, a: (times(dy, 0.5 / y),)),
    "sigmoid": (torch.sigmoid, lambda dy, y, a: (times(dy, y * (1 - y)),)),
    "add": (torch.add, lambda dy, y, a, b: (dy, dy)),
    "sub": (torch.sub, lambda dy, y, a, b: (dy, -dy)),
    "mul": (times, lambda dy, y, a, b: (times(dy, b), times(dy, a))),
    "div": (torch.div, lambda dy, y, a, b: (times(dy, 1 / b), -times(times(dy, 1 / b), y))),
    "pow": (torch.pow, lambda dy, y, a, b: (times(dy, times(b, a ** (b - 1))), times(dy, times(y, a.log())))),
    "min": (torch.minimum, lambda dy, y, a, b: (_share(dy, a < b, a, b), _share(dy, b < a, a, b))),
    "max": (torch.maximum, lambda dy, y, a, b: (_share(dy, a > b, a, b), _share(dy, b > a, a, b))),
    "where": (
        lambda c, a, b: torch.where(c != 0, a, b),
        lambda dy, y, c, a, b: (None, torch.where(c != 0, dy, 0.0), torch.where(c != 0, 0.0, dy)),
    ),
}
COMPARISONS: dict[str, Callable] = {"gt": torch.gt, "ge": torch.ge, "lt": torch.lt, "le": torch.le, "eq": torch.eq}
ARITY = {
    "detach": 1,
    **dict.fromkeys(REDUCTIONS, 1),
    **dict.fromkeys(("neg", "exp", "log", "sqrt", "sigmoid"), 1),
    "where": 3,
}


class _Op(torch.autograd.Function):
    @staticmethod
    def forward(ctx, op: str, *args: Tensor) -> Tensor:
        ctx.op = op
        y = DIFFERENTIABLE[op][0](*args)
        ctx.save_for_backward(y, *args)
        return y

    @staticmethod
    def backward(ctx, dy: Tensor):
        return None, *DIFFERENTIABLE[ctx.op][1](dy, *ctx.saved_tensors)


class Objective:
    """The expression of a run. Columns are float64 [S], one number per supervised token."""

    def __init__(self, json: dict):
        nodes, output = json.get("nodes"), json.get("output")
        check(json.get("version") in (1, 2), f"objective.version: expected 1 or 2, got {json.get('version')!r}")
        check(
            isinstance(nodes, list) and 0 < len(nodes) <= MAX_NODES, f"objective.nodes: expected 1 to {MAX_NODES} nodes"
        )
        for index, node in enumerate(nodes):
            _check_node(node, index, nodes)
        check(isinstance(output, int) and 0 <= output < len(nodes), "objective.output: expected the index of a node")
        self.name, self.normalization = json["name"], json.get("normalization", "tokens")
        check(
            self.normalization in NORMALIZATIONS,
            f"objective.normalization: {self.normalization!r} is unknown",
        )
        self.nodes, self.output = nodes, output
        self.value = json.get("value")
        self.measures: dict[str, int] = json.get("measures", {})
        for index in [*self.measures.values(), *([] if self.value is None else [self.value])]:
            check(isinstance(index, int) and 0 <= index < len(nodes), "objective: value and measures are node indices")
        self._below = self._nodes_below(output)
        self.inputs = {nodes[i]["name"] for i in self._below if nodes[i]["op"] == "input"}
        self.needs_reference = bool(self.inputs & {"ref_logp", "kl_ref"})
        reductions = [i for i in self._below if nodes[i]["op"] in REDUCTIONS]
        self.has_reductions = bool(reductions)
        reduced = {nodes[i].get("name") for r in reductions for i in self._nodes_below(r)}
        self.needs_first_pass = bool(reduced & set(MEASURED_INPUTS))

    def _nodes_below(self, root: int) -> list[int]:
        """The nodes that `root` needs, itself last."""
        found, open_nodes = set(), [root]
        while open_nodes:
            index = open_nodes.pop()
            if index not in found:
                found.add(index)
                open_nodes += self.nodes[index].get("args", ())
        return sorted(found)

    def told(
        self, columns: Mapping[str, Tensor], sequence: Tensor, gather: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """What is reported of all of this rank's tokens, [S] each: the value, and the measures whose inputs are there."""

        def all_of(root: int) -> Tensor:
            run = self._run(columns, {}, lambda op, values: sequence_reduction(op, values, sequence, gather), root)
            return run.expand(columns["logp"].shape)

        with torch.no_grad():
            value = None if self.value is None else all_of(self.value)
            measures = {name: all_of(root) for name, root in self.measures.items() if self._is_there(root, columns)}
        return value, measures

    def _is_there(self, root: int, columns: Mapping[str, Tensor]) -> bool:
        nodes = [self.nodes[i] for i in self._nodes_below(root)]
        return all(node["name"] in columns for node in nodes if node["op"] == "input")

    def reduce(
        self, columns: Mapping[str, Tensor], sequence: Tensor, gather: Callable[[Tensor], Tensor]
    ) -> dict[int, Tensor]:
        """Each reduction's values [S] over all of this rank's tokens of the step. `gather` concatenates [n] over the ranks."""
        reduced: dict[int, Tensor] = {}
        with torch.no_grad():
            self._run(columns, reduced, lambda op, values: sequence_reduction(op, values, sequence, gather))
        return reduced

    def __call__(
        self, columns: Mapping[str, Tensor], reduced: Mapping[int, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The value [S], and d value / d input [S] for the inputs that reach the model."""
        leaves = {n: columns[n].detach().requires_grad_() for n in GRADIENT_INPUTS if n in self.inputs}
        with torch.enable_grad():
            loss = self._run({**columns, **leaves}, dict(reduced), None).expand(columns["logp"].shape)
            found = (
                torch.autograd.grad(loss.sum(), list(leaves.values()), allow_unused=True)
                if loss.requires_grad
                else [None] * len(leaves)
            )
        gradients = {name: g for name, g in zip(leaves, found, strict=True) if g is not None}
        return loss.detach(), gradients

    def _run(
        self,
        columns: Mapping[str, Tensor],
        reduced: dict[int, Tensor],
        reduction: Callable | None,
        root: int | None = None,
    ) -> Tensor:
        like = columns["logp"]
        values: dict[int, Tensor] = {}
        for index in self._below if root is None else self._nodes_below(root):
            node = self.nodes[index]
            op, args = node["op"], [values[i] for i in node.get("args", ())]
            if op == "input":
                value = columns[node["name"]]
            elif op == "constant":
                value = like.new_full((), node["value"])
            elif op == "detach":
                value = args[0].detach()
            elif op in COMPARISONS:
                value = COMPARISONS[op](*args).to(like.dtype)
            elif op in DIFFERENTIABLE:
                value = _Op.apply(op, *(a.expand(like.shape) for a in args))
            else:
                if index not in reduced:
                    reduced[index] = reduction(op, args[0].expand(like.shape))
                value = reduced[index]
            values[index] = value
        return values[self.output if root is None else root]


def sequence_reduction(op: str, values: Tensor, sequence: Tensor, gather: Callable[[Tensor], Tensor]) -> Tensor:
    """A sequence lies within one rank; a pair, sequences 2k and 2k + 1 of the step, and a batch do not."""
    if op == "batch_sum":
        return gather(values.sum()[None]).sum().expand(values.shape)
    if op == "batch_rank":
        ascending = gather(values).sort().values
        return (len(ascending) - torch.searchsorted(ascending, values, right=True)).to(values.dtype)
    if op == "pair_sum":
        pair = sequence // 2
        everyone = gather(pair)
        sums = values.new_zeros(int(everyone.max()) + 1 if len(everyone) else 1)
        return sums.index_add_(0, everyone, gather(values))[pair]
    ids, where = torch.unique(sequence, return_inverse=True)
    if op == "batch_median":
        first = values.new_zeros(len(ids)).index_copy_(0, where.flip(0), values.flip(0))
        return gather(first).median().expand(values.shape)  # the lower middle of an even number
    sums = values.new_zeros(len(ids)).index_add_(0, where, values)
    if op == "sequence_mean":
        sums = sums / torch.bincount(where, minlength=len(ids))
    return sums[where]


def _check_node(node: dict, index: int, nodes: list) -> None:
    where, op = f"objective.nodes[{index}]", node.get("op")
    if op == "input":
        name = node.get("name")
        check(name in TOKEN_INPUTS or name in RUN_INPUTS, f"{where}.name: unknown input {name!r}")
    elif op == "constant":
        check(
            isinstance(node.get("value"), (int, float)) and math.isfinite(node["value"]),
            f"{where}.value: expected a finite number",
        )
    else:
        check(op in DIFFERENTIABLE or op in COMPARISONS or op in ARITY, f"{where}.op: unknown operation {op!r}")
        args = node.get("args")
        fits = (
            isinstance(args, list)
            and len(args) == ARITY.get(op, 2)
            and all(isinstance(a, int) and 0 <= a < index for a in args)
        )
        check(fits, f"{where}.args: expected {ARITY.get(op, 2)} indices of earlier nodes, got {args!r}")
        if op in REDUCTIONS:
            check(nodes[args[0]]["op"] == "detach", f"{where}: the argument of {op} must be a detach")

"""Which types' rows several processes can share, found out on tiny random models by two gloo processes:
`python -m torch.distributed.run --nproc_per_node=2 tests/shared_types.py [TYPE...]` prints {type: null or why not}."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from kept_apart import two_rows
from tiny_types import TYPES, save_tiny

from dftune_worker import self_check
from dftune_worker.errors import InputError
from dftune_worker.head import HeadRequest
from dftune_worker.model import PackedModel, build
from dftune_worker.packing import packed
from dftune_worker.parallel import World, join_world, place, sharing_rows
from dftune_worker.weights import fill_parameters, weights_of

CPU = torch.device("cpu")


def gradients(model: PackedModel, batches: list[list]) -> dict[str, torch.Tensor]:
    """Of the sum of the supervised tokens' NLL, this process's part of it."""
    model.zero_grad()
    for rows in batches:
        batch = packed(rows, list(range(len(rows))), model.config.vocab_size)
        scale = torch.ones(len(batch.targets), dtype=torch.float64)
        nll = HeadRequest(batch.targets, {}, lambda c, part: (-c["logp"], {"logp": -torch.ones_like(c["logp"])}), scale)
        model(batch, nll).backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


def why_not(folder: Path, world: World) -> str | None:
    rows = two_rows()
    model = PackedModel(build(folder, None))
    place(model, World(0, 1, CPU), torch.float32)
    fill_parameters(model, weights_of(folder, model.config.model_type), 0, None)
    try:
        model.share_rows(world.context)
        self_check.settle(model, rows, torch.float32, CPU)
    except InputError as error:
        return str(error)
    shared = gradients(model, [rows])
    with model.not_sharing():
        alone = gradients(model, [[row] for row in rows])
    least = 1e-3 * max(float(g.abs().max()) for g in alone.values())  # a key's bias has no gradient but rounding
    for name, gradient in shared.items():
        dist.all_reduce(gradient)
        off = (gradient - alone[name]).abs().max() / alone[name].abs().max().clamp_min(least)
        assert off < 1e-4, f"{folder.name}: the gradient of {name} is {off:.2g} apart"
    return None


def main(types: list[str]) -> None:
    torch.set_num_threads(1)
    world = sharing_rows(join_world(), 2)
    found = {}
    for name in types or TYPES:
        folder = world.from_first(lambda kind=name: save_tiny(kind, Path(tempfile.mkdtemp()) / kind))
        found[name] = why_not(folder, world)
        world.barrier()
        if world.first:
            shutil.rmtree(folder.parent)
    if world.first:
        print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])

"""How rows of each type are kept apart, found out on a tiny random model: `python tests/kept_apart.py` prints {type: way}."""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny_types import COMMON, TYPES, save_tiny

from dftune_worker import apart, self_check
from dftune_worker.model import PackedModel, build
from dftune_worker.parallel import World, place
from dftune_worker.shards import Row
from dftune_worker.weights import fill_parameters, weights_of

CPU = torch.device("cpu")


def two_rows() -> list[Row]:
    random = np.random.default_rng(1)
    rows = []
    for length in (19, 13):
        supervised = np.arange(length) >= 3
        ids = random.integers(0, COMMON["vocab_size"], length).astype(np.int32)
        rows.append(Row(ids, supervised.astype(np.uint8), np.zeros(length, np.uint8), "rows.jsonl:1"))
    return rows


def way_of(folder: Path, rows: list[Row]) -> str:
    model = PackedModel(build(folder, None))
    place(model, World(0, 1, CPU), torch.float32)
    fill_parameters(model, weights_of(folder, model.config.model_type), 0, None)
    findings = self_check.settle(model, rows, torch.float32, CPU)
    assert (model.kept_apart == apart.PADDED) == any(f.code == "padded-rows" for f in findings)
    return model.kept_apart


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = {t: way_of(save_tiny(t, Path(folder) / t), two_rows()) for t in TYPES}
    print(json.dumps(found))


if __name__ == "__main__":
    main()

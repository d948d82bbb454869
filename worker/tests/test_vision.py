"""Models of vision and language against Transformers' own, called row by row: losses, every gradient, what is refused."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import objective, run_worker, steps
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file
from test_preferences import OBJECTIVES
from test_runs import LORA, assert_same

from dftune_worker import apart, self_check
from dftune_worker.errors import InputError
from dftune_worker.expression import Objective
from dftune_worker.model import PackedModel, build
from dftune_worker.optimizer import AdamWSettings, Optimizer
from dftune_worker.parallel import World, place
from dftune_worker.passes import Passes
from dftune_worker.preferences import mismatched
from dftune_worker.shards import PreparedRows
from dftune_worker.vision import eyes_of
from dftune_worker.weights import checkpoint_name, fill_parameters, weights_of

Image = pytest.importorskip("PIL.Image", reason="no Pillow, which reads pictures")
from tiny_vision import save_tiny_vision  # noqa: E402

CPU = torch.device("cpu")
TYPES = ["qwen2_5_vl", "smolvlm", "qwen2_vl", "idefics3"]
SIZES = [[(20, 28)], [], [(12, 17), (33, 16)], [(16, 16)], [(40, 9)]]
"""Pictures of the first rows; the others have one each."""


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    made = {}

    def folder(model_type: str) -> Path:
        if model_type not in made:
            made[model_type] = save_tiny_vision(model_type, tmp_path_factory.mktemp(model_type) / "model")
        return made[model_type]

    return folder


def processor_of(folder: Path):
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(str(folder), backend="pil")


def image_tokens(folder: Path, config: dict, image) -> list[int]:
    """As many as Transformers' processor makes; what stands around tiles is left out."""
    made = processor_of(folder)(images=[image], return_tensors="pt")
    grid = made.get("image_grid_thw")
    return [config["image_token_id"]] * (
        int(grid.prod()) // 4 if grid is not None else made["pixel_values"].shape[1] * 4
    )


def write_rows(folder: Path, model: Path, rows: int = 16, seed: int = 0) -> Path:
    """A prepared folder of rows with pictures, as TypeScript writes it."""
    random, config = np.random.default_rng(seed), json.loads((model / "config.json").read_text())
    folder.mkdir(parents=True)
    ids, mask, ends, told = [], [], [0], []
    for row in range(rows):
        pictures, own = [], random.integers(32, 127, 3).tolist()
        for i, (width, height) in enumerate(SIZES[row] if row < len(SIZES) else [(18, 13)]):
            image = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
            path = folder / f"{row}-{i}.png"
            image.save(path)
            tokens = image_tokens(model, config, image)
            own += [*tokens, *random.integers(32, 127, 2).tolist()]
            pictures.append({"path": str(path), "sha256": sha_of(path), "width": width, "height": height})
            pictures[-1] |= {"at": 0, "tokens": len(tokens)}
        answer = random.integers(32, 127, random.integers(4, 9)).tolist()
        ids += [*own, *answer]
        mask += [0] * len(own) + [1] * len(answer)
        ends.append(len(ids))
        if pictures:
            told.append(json.dumps({"source": 0, "line": row + 1, "pictures": pictures}) + "\n")
    tensors = {
        "token_ids": np.array(ids, np.int32),
        "loss_mask": np.array(mask, np.uint8),
        "token_class": np.zeros(len(ids), np.uint8),
        "row_offsets": np.array(ends, np.int64),
        "row_source": np.zeros(rows, np.int32),
        "row_line": np.arange(1, rows + 1, dtype=np.int32),
    }
    shard, table = folder / "shard-00000.safetensors", folder / "pictures.jsonl"
    save_file(tensors, str(shard))
    table.write_text("".join(told))
    manifest = {
        **{"version": 2, "key": "vision", "purpose": "supervised", "rows": rows, "tokens": len(ids)},
        "supervised_tokens": sum(mask),
        "sources": [{"path": "train.jsonl", "rows": rows, "dropped": 0, "weight": 1}],
        "shards": [{"file": shard.name, "rows": rows, "tokens": len(ids), "sha256": sha_of(shard)}],
        "pictures_sha256": sha_of(table),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def sha_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def start(folder: Path, rows: PreparedRows, trains_tower: bool = True, adapter: dict | None = None):
    model = PackedModel(build(folder, adapter, trains_tower=trains_tower))
    place(model, World(0, 1, CPU), torch.float32)
    fill_parameters(model, weights_of(folder, model.model_type), 0, None)
    model.eyes = eyes_of(folder, model._plain.config)
    self_check.settle(model, [rows[0], rows[2]], torch.float32, CPU)
    model.join_tied_gradients()
    return model


def one_step(model: PackedModel, rows: PreparedRows, order: np.ndarray, tokens: int = 512):
    """Loss, and each trained parameter's gradient by its name in a checkpoint."""
    optimizer = Optimizer(model, AdamWSettings(0.9, 0.95, 1e-8, 0.01), split=False)
    config = {"micro_batch_tokens": tokens, "data": {"packing": True}, "recompute": "always"}
    config["engine"] = {"dtype": "fp32"}
    passes = Passes(model, None, Objective(objective("dft")), World(0, 1, CPU), config, 1 << 30)
    outcome = passes.train(rows, order, 1, 1, optimizer)
    totals, _, _ = outcome.sums.totals(World(0, 1, CPU))
    names = {id(p): checkpoint_name(name) for name, p in model.named_parameters()}
    pairs = zip(optimizer.parameters, optimizer.gradients(), strict=True)
    gradients = {names[id(p)]: g.clone() for p, g in pairs}
    optimizer.clear()
    return totals["loss_scaled"], gradients


def transformers_step(folder: Path, rows: PreparedRows, order: np.ndarray):
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).train()
    processor, total, tokens = processor_of(folder), 0.0, 0
    for index in order:
        logp = their_logp(model, processor, rows[int(index)])
        total, tokens = total - (logp.exp().detach() * logp).sum(), tokens + len(logp)
    (total / tokens).backward()
    return (total / tokens).item(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def their_logp(model, processor, row) -> torch.Tensor:
    """[S] of a row's supervised tokens."""
    ids = torch.tensor(row.token_ids, dtype=torch.long)[None]
    more = {}
    if row.pictures:
        images = [Image.open(p.path) for p in row.pictures]
        made = processor(images=images if "qwen" in model.config.model_type else [images], return_tensors="pt")
        more = {k: v for k, v in made.items() if k not in ("rows", "cols")}
        if "qwen" in model.config.model_type:
            more["mm_token_type_ids"] = (ids == model.config.image_token_id).int()
    logits = model(input_ids=ids, use_cache=False, **more).logits
    logp = logits[0, :-1].float().log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
    return logp[torch.tensor(row.supervised[1:], dtype=torch.bool)]


@pytest.mark.parametrize("model_type", TYPES)
def test_loss_and_every_gradient_are_transformers_own(model_type, folder_of, tmp_path):
    folder = folder_of(model_type)
    rows, order = PreparedRows(write_rows(tmp_path / "rows", folder)), np.arange(5)
    expected, their_gradients = transformers_step(folder, rows, order)
    model = start(folder, rows)
    assert model.kept_apart == apart.PADDED
    for tokens in (512, 128):  # rows side by side, and one by one
        loss, gradients = one_step(model, rows, order, tokens)
        assert loss == pytest.approx(expected, rel=1e-5)
        assert gradients.keys() == their_gradients.keys()
        for name, theirs in their_gradients.items():
            scale = theirs.abs().max().clamp_min(1e-6)
            assert ((gradients[name] - theirs).abs().max() / scale).item() < 1e-4, name
    towers = [name for name in their_gradients if "visual" in name or "vision" in name]
    assert len(towers) > 20 and all(their_gradients[name].abs().max() > 0 for name in towers[:5])


@pytest.mark.parametrize("model_type", TYPES[:2])
def test_another_picture_under_the_same_text_changes_the_loss(model_type, folder_of, tmp_path):
    folder = folder_of(model_type)
    path = write_rows(tmp_path / "rows", folder)
    losses = []
    for shade in (0, 255):
        picture = path / "0-0.png"
        Image.fromarray(np.full((28, 20, 3), shade, np.uint8)).save(picture)
        table = path / "pictures.jsonl"
        lines = [json.loads(line) for line in table.read_text().splitlines()]
        lines[0]["pictures"][0]["sha256"] = sha_of(picture)
        table.write_text("".join(json.dumps(line) + "\n" for line in lines))
        manifest = json.loads((path / "manifest.json").read_text())
        (path / "manifest.json").write_text(json.dumps(manifest | {"pictures_sha256": sha_of(table)}))
        rows = PreparedRows(path)
        losses.append(one_step(start(folder, rows), rows, np.arange(1))[0])
    assert abs(losses[0] - losses[1]) > 1e-3


def as_pairs(folder: Path) -> Path:
    """The rows as the chosen sides of pairs; the rejected ones say something else of the same pictures."""
    shard = folder / "shard-00000.safetensors"
    own, random = load_arrays(str(shard)), np.random.default_rng(7)
    chosen = own["token_ids"]
    rejected = np.where(own["loss_mask"] == 1, random.integers(32, 127, len(chosen)), chosen).astype(np.int32)
    sides = {"chosen.": chosen, "rejected.": rejected}
    save_file({side + k: v for side, ids in sides.items() for k, v in (own | {"token_ids": ids}).items()}, str(shard))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["shards"][0]["sha256"] = sha_of(shard)
    (folder / "manifest.json").write_text(json.dumps(manifest | {"purpose": "preference"}))
    return folder


def paired_step(model: PackedModel, reference: PackedModel, rows: PreparedRows, order: np.ndarray):
    """What DPO tells of a step, and its gradients as `one_step` has them."""
    optimizer = Optimizer(model, AdamWSettings(0.9, 0.95, 1e-8, 0.01), split=False)
    config = {"micro_batch_tokens": 512, "data": {"packing": True}, "recompute": "auto", "engine": {"dtype": "fp32"}}
    passes = Passes(model, reference, Objective(OBJECTIVES["dpo"]), World(0, 1, CPU), config, 1 << 30)
    passes.paired = True
    told = passes.train(rows, order, 1, 1, optimizer).told
    names = {id(p): checkpoint_name(name) for name, p in model.named_parameters()}
    pairs = zip(optimizer.parameters, optimizer.gradients(), strict=True)
    return told, {names[id(p)]: g.clone() for p, g in pairs}


@pytest.mark.parametrize("model_type", TYPES[:2])
def test_pairs_with_pictures_are_transformers_own(model_type, folder_of, tmp_path):
    from transformers import AutoModelForImageTextToText

    folder, other = folder_of(model_type), save_tiny_vision(model_type, tmp_path / "other", seed=1)
    rows, order = PreparedRows(as_pairs(write_rows(tmp_path / "rows", folder))), np.arange(8)
    assert rows[0].pictures == rows[1].pictures != ()
    itself, _ = paired_step(start(folder, rows), start(folder, rows), rows, order)
    assert itself.loss == pytest.approx(math.log(2), abs=1e-6)
    told, gradients = paired_step(start(folder, rows), start(other, rows), rows, order)
    policy, reference = (
        AutoModelForImageTextToText.from_pretrained(f, dtype=torch.float32).train() for f in (folder, other)
    )
    processor, losses, margins = processor_of(folder), [], []
    for pair in range(len(order) // 2):
        sides = [rows[2 * pair], rows[2 * pair + 1]]
        chosen, rejected = (their_logp(policy, processor, row).sum() for row in sides)
        with torch.no_grad():
            was, was_rejected = (their_logp(reference, processor, row).sum() for row in sides)
        margins.append(0.1 * ((chosen - was) - (rejected - was_rejected)))
        losses.append(-torch.nn.functional.logsigmoid(margins[-1]))
    loss = torch.stack(losses).mean()
    loss.backward()
    assert told.loss == pytest.approx(loss.item(), rel=1e-5)
    mine = {o.sequence: o.reward for o in told.outcomes}
    for pair, margin in enumerate(margins):
        assert mine[2 * pair] - mine[2 * pair + 1] == pytest.approx(margin.item(), abs=1e-4)
    theirs = {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}
    least = 1e-3 * max(g.abs().max() for g in theirs.values())  # a key's bias has no gradient but rounding
    for name, gradient in theirs.items():
        scale = gradient.abs().max().clamp_min(least)
        assert ((gradients[name] - gradient).abs().max() / scale).item() < 1e-4, name
    assert mismatched([rows[0], rows[4]], 512)[0].pictures == rows[0].pictures  # KTO's answers to other prompts


def test_a_frozen_tower_and_an_adapter_train_the_text_alone(folder_of, tmp_path):
    folder = folder_of("smolvlm")  # tower and text have layers of the same names
    rows = PreparedRows(write_rows(tmp_path / "rows", folder))
    _, full = one_step(start(folder, rows, trains_tower=False), rows, np.arange(2))
    assert not [n for n in full if "vision" in n or "connector" in n] and "model.text_model.norm.weight" in full
    adapter = LORA["adapter"]
    _, lora = one_step(start(folder, rows, trains_tower=False, adapter=adapter), rows, np.arange(2))
    assert lora and all("text_model" in name for name in lora)
    _, both = one_step(start(folder, rows, adapter=adapter), rows, np.arange(2))
    assert {"text_model", "vision_model"} <= {name.split(".")[1] for name in both}


@pytest.fixture()
def spec_of(make_spec, folder_of, tmp_path):
    def make(name: str, model_type: str, **more) -> Path:
        folder = folder_of(model_type)
        prepared = tmp_path / f"{model_type}-rows"
        if not prepared.is_dir():
            write_rows(prepared, folder, 40)
        config = {"micro_batch_tokens": 256, "vision_tower": "trained"} | more.pop("config", {})
        return make_spec(
            name, objective("dft"), model=str(folder), prepared=str(prepared), eval=[], config=config, **more
        )

    return make


@pytest.mark.parametrize("model_type", TYPES[:2])
def test_two_processes_are_one_and_the_result_opens(spec_of, folder_of, model_type):
    from transformers import AutoModelForImageTextToText

    one = spec_of("one", model_type)
    found = run_worker(one)
    assert_same(steps(found), steps(run_worker(spec_of("two", model_type), processes=2)))
    result = Path(json.loads(one.read_text())["output_dir"]) / "model"
    start, end = (load_arrays(str(f / "model.safetensors")) for f in (folder_of(model_type), result))
    assert start.keys() == end.keys()
    moved = [name for name in start if not np.array_equal(start[name], end[name])]
    assert any("vis" in name for name in moved) and any("vis" not in name for name in moved)
    AutoModelForImageTextToText.from_pretrained(result)
    assert (result / "preprocessor_config.json").is_file()


def test_an_adapter_resumes_to_the_same_bits(spec_of):
    config = {"save_steps": 10, "vision_tower": "frozen", **LORA}
    whole = spec_of("whole", "qwen2_5_vl", config=config)
    first = run_worker(whole)
    folder = Path(json.loads(whole.read_text())["output_dir"])
    again = spec_of("again", "qwen2_5_vl", config=config, resume=str(folder / "checkpoints" / "step-000010"))
    assert [e["loss"] for e in steps(first)[10:]] == [e["loss"] for e in steps(run_worker(again))]
    names = load_arrays(str(folder / "model" / "adapter_model.safetensors"))
    assert names and not any("visual" in name for name in names)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(b"no picture"), "another picture than the one that was prepared"),
        (lambda path: path.unlink(), "cannot be read"),
    ],
)
def test_a_picture_that_changed_is_refused(folder_of, tmp_path, spoil, message):
    folder = folder_of("qwen2_5_vl")
    path = write_rows(tmp_path / "rows", folder)
    spoil(path / "0-0.png")
    rows = PreparedRows(path)
    with pytest.raises(InputError, match=message):
        start(folder, rows)


def test_image_tokens_that_are_not_the_pictures_are_refused(folder_of, tmp_path):
    folder = folder_of("smolvlm")
    path = write_rows(tmp_path / "rows", folder)
    shard = path / "shard-00000.safetensors"
    tensors = load_arrays(str(shard))
    config = json.loads((folder / "config.json").read_text())
    tensors["token_ids"][np.flatnonzero(tensors["token_ids"] == config["image_token_id"])[0]] = 65
    save_file(tensors, str(shard))
    rows = PreparedRows(path)
    with pytest.raises(InputError, match=r"train\.jsonl:1: has \d+ image tokens"):
        start(folder, rows)

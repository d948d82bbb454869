"""Models of many types against Transformers' own, called row by row: loss and gradient norm of three steps."""

import json
import re

import numpy as np
import pytest
import torch
from conftest import WORKER, objective, write_prepared
from kept_apart import two_rows, way_of
from tiny_types import TYPES, save_tiny

from dftune_worker import apart, self_check
from dftune_worker.errors import InputError
from dftune_worker.expression import Objective
from dftune_worker.model import PackedModel, build
from dftune_worker.optimizer import AdamWSettings, Optimizer
from dftune_worker.parallel import World, place
from dftune_worker.passes import Passes
from dftune_worker.routers import Routers
from dftune_worker.shards import PreparedRows
from dftune_worker.weights import fill_parameters, weights_of

CPU = torch.device("cpu")
STEPS, ROWS, RATE = 3, 5, 1e-3


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return PreparedRows(write_prepared(tmp_path_factory.mktemp("rows") / "train", 16, seed=1))


def ours(folder, rows, packing: bool = True, coefficient: float = 0.0, recompute: str = "auto"):
    model = PackedModel(build(folder, None))
    place(model, World(0, 1, CPU), torch.float32)
    fill_parameters(model, weights_of(folder, model.config.model_type), 0, None)
    self_check.settle(model, [rows[0], rows[1]], torch.float32, CPU)
    if coefficient:
        model.routers = Routers(coefficient, model.config.num_experts_per_tok)
        self_check.settle_routers(model, rows[0], CPU)
    model.join_tied_gradients()
    optimizer = Optimizer(model, AdamWSettings(0.9, 0.95, 1e-8, 0.01), split=False)
    config = {
        "micro_batch_tokens": 48,
        "data": {"packing": packing},
        "recompute": recompute,
        "engine": {"dtype": "fp32"},
    }
    passes = Passes(model, None, Objective(objective("dft")), World(0, 1, CPU), config, 1 << 30)
    numbers = []
    for step in range(1, STEPS + 1):
        order = np.arange(ROWS) + ROWS * (step - 1)
        outcome = passes.train(rows, order, step, STEPS, optimizer)
        totals, _, _ = outcome.sums.totals(World(0, 1, CPU))
        aux = [] if outcome.aux_loss is None else [outcome.aux_loss.item()]
        numbers.append([totals["loss_scaled"], optimizer.square_norm().sqrt().item(), *aux])
        optimizer.update(RATE, 1.0)
        optimizer.clear()
    return numbers, model


def theirs(folder, rows, coefficient: float = 0.0):
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    from dftune_worker.model import without_dropout

    config = AutoConfig.from_pretrained(folder)
    without_dropout(config)
    model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32).train()
    model.get_input_embeddings().padding_idx = None  # which would take a real token's gradient away
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95), eps=1e-8)
    numbers = []
    for step in range(STEPS):
        total, tokens, routed = 0.0, 0, []
        for index in range(ROWS * step, ROWS * (step + 1)):
            row = rows[index]
            ids = torch.tensor(row.token_ids, dtype=torch.long)[None]
            more = {"output_router_logits": True} if coefficient else {}
            out = model(input_ids=ids, use_cache=False, **more)
            logp = out.logits[0, :-1].float().log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
            logp = logp[torch.tensor(row.supervised[1:], dtype=torch.bool)]
            total, tokens = total - (logp.exp().detach() * logp).sum(), tokens + len(logp)
            routed.append(out.router_logits if coefficient else ())
        loss, aux = total / tokens, []
        if coefficient:
            layers = tuple(torch.cat([r.flatten(0, -2) for r in layer]) for layer in zip(*routed, strict=True))
            config = model.config.get_text_config()
            aux = [load_balancing_loss_func(layers, layers[0].shape[-1], config.num_experts_per_tok)]
        (loss + coefficient * sum(aux)).backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        numbers.append([loss.item(), norm.item(), *(a.item() for a in aux)])
        adamw.step()
        adamw.zero_grad()
    return numbers


@pytest.mark.parametrize("model_type", list(TYPES))
def test_three_steps_are_transformers_own_row_by_row(model_type, tmp_path, rows):
    folder = save_tiny(model_type, tmp_path / "model")
    expected = theirs(folder, rows)
    for packing in (True, False):
        found, _ = ours(folder, rows, packing)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(
    "model_type", ["mixtral", "qwen3_moe", "olmoe", "granitemoe", "gpt_oss", "qwen3_next", "jamba"]
)
def test_auxiliary_loss_is_of_the_whole_step(model_type, tmp_path, rows):
    folder = save_tiny(model_type, tmp_path / "model")
    expected = theirs(folder, rows, 0.3)
    for packing, recompute in ((True, "auto"), (True, "always"), (False, "auto")):
        found, _ = ours(folder, rows, packing, 0.3, recompute)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_which_types_are_padded(tmp_path):
    """The list in docs/models.md is made by `kept_apart.py`, and is still right."""
    page = (WORKER.parent / "docs" / "models.md").read_text()
    listed = {way: set(re.findall(r"`(\w+)`", line)) for way, line in re.findall(r"^- (\w+): (.*)$", page, re.M)}
    found = {t: way_of(save_tiny(t, tmp_path / t), two_rows()) for t in TYPES}
    for way in ("Packed", "Padded"):
        packed = way == "Packed"
        assert listed[way] == {t for t, one in found.items() if (one in (apart.OWN, apart.MASK)) == packed}


def test_a_result_is_laid_out_as_the_family_s_checkpoints_are(tmp_path, rows):
    from safetensors.torch import load_file

    from dftune_worker.export import _as_in_files

    for model_type in ("qwen3_moe", "deepseek_v3", "gpt2", "jamba"):
        folder = save_tiny(model_type, tmp_path / model_type)
        model = PackedModel(build(folder, None))
        place(model, World(0, 1, CPU), torch.float32)
        fill_parameters(model, weights_of(folder, model_type), 0, None)
        written = _as_in_files(model, {name: p.detach() for name, p in model.lm.named_parameters()})
        there = load_file(str(folder / "model.safetensors"))
        assert written.keys() == there.keys()
        assert all(torch.equal(written[name], there[name]) for name in there)


def test_code_of_a_model_folder_is_refused(tmp_path):
    folder = save_tiny("gpt2", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModelForCausalLM": "x.Y"}}))
    with pytest.raises(InputError, match="auto_map"):
        build(folder, None)


def test_a_leak_between_rows_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(apart, "choices", lambda model_type: (apart.MASK,))
    with pytest.raises(InputError, match="no way to compute rows"):
        way_of(save_tiny("mamba", tmp_path / "model"), two_rows())

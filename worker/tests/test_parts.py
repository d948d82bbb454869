"""The parts against PyTorch's own: logits whole, autograd through everything, AdamW with float32 parameters."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import VOCABULARY, objective
from torch import nn

from dftune_worker import attention
from dftune_worker.errors import InputError
from dftune_worker.explain import explain
from dftune_worker.expression import Objective
from dftune_worker.head import Head, HeadRequest, Reference, TiedGradient, head_pass
from dftune_worker.model import PackedModel, _embedded, _TiedRows, build
from dftune_worker.optimizer import AdamWSettings, Optimizer, join_master, split_master
from dftune_worker.packing import best_fit, plan_step
from dftune_worker.parallel import World, place, precision_in_words
from dftune_worker.schedule import learning_rate, warmup_steps
from dftune_worker.trainer import settle_micro_batch
from dftune_worker.weights import Weights, fill_parameters


def plain(name, z, targets, ref_z=None):
    """The objectives written with PyTorch, on whole logits: loss per token [n]."""
    logp = z.log_softmax(-1)
    token = logp.gather(-1, targets[:, None])[:, 0]
    if name == "sft":
        return -token
    dft = -token.exp().detach() * token
    if name == "dft":
        return dft
    ref = ref_z.log_softmax(-1)
    return dft + 0.05 * (ref.exp() * (ref - logp)).sum(-1)


@pytest.mark.parametrize("name", ["sft", "dft", "asft"])
@pytest.mark.parametrize("chunk_rows", [3, 1000])
def test_head_is_the_plain_formula(monkeypatch, name, chunk_rows):
    torch.manual_seed(0)
    monkeypatch.setattr("dftune_worker.head.CHUNK_BYTES", {"cpu": 4 * VOCABULARY * chunk_rows})
    hidden, weight = torch.randn(8, 16, requires_grad=True), torch.randn(VOCABULARY, 16, requires_grad=True)
    ref_hidden, targets = torch.randn(8, 16), torch.randint(0, VOCABULARY, (8,))
    expected = plain(name, hidden @ weight.T, targets, ref_hidden @ weight.detach().T).sum() / 8
    expected_gradients = torch.autograd.grad(expected, (hidden, weight))
    made = Objective(objective(name))
    reference = Reference(ref_hidden, Head(weight.detach()), True) if name == "asft" else None
    request = HeadRequest(
        targets, {}, lambda c, part: made(c, {}), torch.full((8,), 1 / 8, dtype=torch.float64), reference=reference
    )
    loss = head_pass(hidden, weight, request)
    gradients = torch.autograd.grad(loss, (hidden, weight))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-7)
    for mine, theirs in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_entropy_reaches_the_model():
    torch.manual_seed(0)
    hidden, weight = torch.randn(5, 16, requires_grad=True), torch.randn(VOCABULARY, 16, requires_grad=True)
    targets = torch.randint(0, VOCABULARY, (5,))
    logp = (hidden @ weight.T).log_softmax(-1)
    expected = torch.autograd.grad((-(logp.exp() * logp).sum(-1)).sum(), (hidden, weight))
    nodes = [{"op": "input", "name": "entropy"}]
    made = Objective({"version": 1, "name": "h", "nodes": nodes, "output": 0})
    request = HeadRequest(targets, {}, lambda c, part: made(c, {}), torch.ones(5, dtype=torch.float64))
    gradients = torch.autograd.grad(head_pass(hidden, weight, request), (hidden, weight))
    for mine, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_token_of_probability_zero_has_no_weight_and_no_nan():
    columns = {"logp": torch.tensor([-math.inf, -1.0], dtype=torch.float64)}
    loss, gradients = Objective(objective("dft"))(columns, {})
    assert loss[0] == 0 and gradients["logp"][0] == 0
    assert gradients["logp"][1] == pytest.approx(-math.exp(-1))


def test_median_is_the_lower_middle_over_all_ranks():
    nodes = [{"op": "input", "name": "logp"}, {"op": "detach", "args": [0]}, {"op": "sequence_mean", "args": [1]}]
    nodes += [{"op": "detach", "args": [2]}, {"op": "batch_median", "args": [3]}, {"op": "mul", "args": [4, 0]}]
    made = Objective({"version": 1, "name": "m", "nodes": nodes, "output": 5})
    logp = torch.tensor([-1.0, -3.0, -5.0, -7.0], dtype=torch.float64)
    other = torch.tensor([-9.0, -11.0], dtype=torch.float64)
    reduced = made.reduce({"logp": logp}, torch.tensor([0, 0, 2, 5]), lambda mine: torch.cat([mine, other]))
    assert reduced[2].tolist() == [-2, -2, -5, -7]
    assert reduced[4].tolist() == [-7] * 4  # of -11, -9, -7, -5, -2


@pytest.mark.parametrize(
    "bad",
    [
        {"op": "input", "name": "eval"},
        {"op": "import", "args": [0]},
        {"op": "exp", "args": [7]},
        {"op": "constant", "value": math.nan},
    ],
)
def test_a_stranger_s_expression_is_checked(bad):
    with pytest.raises(InputError, match=r"nodes\[1\]"):
        Objective({"version": 1, "name": "x", "nodes": [{"op": "input", "name": "logp"}, bad], "output": 1})


def test_packed_rows_are_the_rows_alone(tiny_model):
    from transformers import AutoModelForCausalLM

    model = PackedModel(build(tiny_model, None))
    place(model, World(0, 1, torch.device("cpu")), torch.float32)
    fill_parameters(model, Weights(tiny_model), 0, None)
    theirs = AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation="eager")
    rows = [torch.randint(0, VOCABULARY, (n,)) for n in (7, 1, 12)]
    packing = attention.Packing((7, 1, 12), torch.tensor([0, 7, 8, 20], dtype=torch.int32))
    positions = torch.cat([torch.arange(len(r)) for r in rows])[None]
    packed = model.backbone(
        input_ids=torch.cat(rows)[None], position_ids=positions, use_cache=False, packing=packing
    ).last_hidden_state
    alone = torch.cat([theirs.model(input_ids=r[None]).last_hidden_state for r in rows], 1)
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [None, 4])
def test_flex_attention_is_attention_row_by_row(window):
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 4, 20, 8), torch.randn(1, 2, 20, 8), torch.randn(1, 2, 20, 8)
    packing = attention.Packing((7, 1, 12), torch.tensor([0, 7, 8, 20], dtype=torch.int32))
    flexible = attention._flex(q, k, v, packing, 0.3, window)
    torch.testing.assert_close(flexible, attention._row_by_row(q, k, v, packing, 0.3, window), rtol=1e-4, atol=1e-5)


def test_weight_and_remainder_are_the_float32_master():
    master = torch.cat(
        [torch.randn(10_000) * 10.0 ** torch.randint(-30, 30, (10_000,)), torch.tensor([0.0, -0.0, 1e-40])]
    )
    weight, remainder = split_master(master)
    assert torch.equal(join_master(weight, remainder).view(torch.int32), master.view(torch.int32))
    off = (weight.float() - master).abs() - (master.bfloat16().float() - master).abs()
    assert off.max() == 0  # as near as rounding to nearest


def test_steps_below_half_a_gap_are_kept_and_seen_once_they_make_one():
    """At 0.02 the next bfloat16 number is 1.2e-4 away: the forward sees the seventh step of 1e-5, the master each."""
    layer = torch.nn.Linear(9, 5, bias=False)
    layer.weight.data.copy_(torch.full((5, 9), 0.02).bfloat16())
    start = layer.weight.data.clone()
    optimizer = Optimizer(layer, AdamWSettings(0.9, 0.95, 1e-8, 0.0), True)
    for step in range(1, 13):
        layer.weight.grad = torch.ones_like(layer.weight)
        optimizer.update(1e-5, 1.0)
        master = optimizer.master("weight", layer.weight)
        torch.testing.assert_close(master, start - step * 1e-5, rtol=0, atol=1e-8)
        seen = layer.weight.data.float()
        assert torch.equal(seen, master.bfloat16().float())
        assert torch.equal(seen, start) == (step <= 6)


@pytest.mark.parametrize("kept", ["whole", "split", "split, as on a GPU"])
def test_optimizer_is_pytorch_s_adamw_on_float32(kept):
    torch.manual_seed(0)
    mine, theirs = torch.nn.Linear(9, 5), torch.nn.Linear(9, 5)
    theirs.load_state_dict(mine.state_dict())
    groups = [{"params": [theirs.weight], "weight_decay": 0.1}, {"params": [theirs.bias], "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95), eps=1e-8)
    optimizer = Optimizer(mine, AdamWSettings(0.9, 0.95, 1e-8, 0.1), kept != "whole")
    update = optimizer.update if "GPU" not in kept else torch.no_grad()(optimizer._update_split_masters)
    for _ in range(5):
        for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.float() * 0.5
        update(0.01, 0.5)
        reference.step()
        for (name, p), q in zip(mine.named_parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(optimizer.master(name, p), q.data, rtol=1e-6, atol=1e-7)


def test_learning_rate_is_the_contract_s():
    def rate(k):
        return learning_rate(k, 100, peak=2.0, warmup=10, shape="cosine")

    assert [rate(1), rate(10), rate(55), rate(100)] == pytest.approx([0.2, 2.0, 1.0, 0.0])


def test_schedules_are_transformers():
    golden = json.loads((Path(__file__).parents[2] / "golden" / "schedules.json").read_text())
    for case in golden["cases"]:
        options = {"decay_type": "cosine", **case["options"]}
        options["min_lr_rate"] = options.pop("min_lr_ratio", options.get("min_lr_rate"))
        steps, shape = case["steps"], {"shape": case["schedule"], "options": options}
        rates = [learning_rate(k, steps, peak=2.0, warmup=case["warmup"], **shape) for k in range(1, steps + 1)]
        assert rates == pytest.approx([2 * factor for factor in case["factors"]], rel=1e-14, abs=1e-16)


def test_a_decay_is_a_share_rounded_up_and_leaves_the_warmup():
    options = {"min_lr_rate": 0.0, "num_decay_steps": None, "decay_ratio": 0.25, "decay_type": "linear"}
    wsd = {"peak": 1.0, "shape": "warmup_stable_decay"}
    rates = [learning_rate(k, 5, warmup=1, options=options, **wsd) for k in range(1, 6)]
    assert rates == [1, 1, 1, 0.5, 0]
    late = {**options, "num_decay_steps": 9, "decay_ratio": None}
    assert [learning_rate(k, 4, warmup=2, options=late, **wsd) for k in range(1, 5)] == [0.5, 1, 0.5, 0]
    assert warmup_steps(4, {"warmup_ratio": 0.3, "warmup_steps": None}) == 2


def test_packing_holds_every_row_once_and_fits():
    lengths = np.random.default_rng(0).integers(1, 50, 64)
    for ranks in (1, 2, 3):
        plans = [plan_step(lengths, ranks, rank, 64, True) for rank in range(ranks)]
        assert len({len(plan) for plan in plans}) == 1
        assert sorted(i for plan in plans for b in plan for i in b) == list(range(64))
        assert all(lengths[b].sum() <= 64 for plan in plans for b in plan)
    with pytest.raises(InputError, match="micro_batch_tokens"):
        best_fit(np.array([65]), [0], 64)


def test_auto_micro_batches_are_what_a_gpu_holds_and_what_a_resumed_run_had(tmp_path):
    rows = SimpleNamespace(lengths=np.array([5, 1500]))
    (tmp_path / "trainer.json").write_text('{"micro_batch_tokens": 8192}')

    def settled(device: str, budget: int, given="auto", resume=None) -> int:
        spec = SimpleNamespace(config={"micro_batch_tokens": given}, resume=resume)
        settle_micro_batch(spec, World(0, 1, torch.device(device)), rows, 1000, budget)
        return spec.config["micro_batch_tokens"]

    assert [settled("cuda", budget) for budget in (10**9, 16_384_000, 16_383_999, 1)] == [16384, 16384, 8192, 1500]
    assert settled("cpu", 1) == 4096
    assert settled("cuda", 1, resume=tmp_path) == 8192
    with pytest.raises(InputError, match=r"micro_batch_tokens: 1024 is less than the longest row .1500"):
        settled("cpu", 1, given=1024)


def test_a_tied_weight_has_one_gradient_for_embedding_and_head(tiny_model):
    random = np.random.default_rng(0)
    rows = {
        "token_ids": torch.tensor(random.integers(0, 9, 20))[None],
        "position_ids": torch.arange(20)[None],
        "predicting": torch.arange(4, 19),
    }
    made, found = Objective(objective("sft")), []
    for joined in (False, True):
        model = PackedModel(build(tiny_model, None))
        place(model, World(0, 1, torch.device("cpu")), torch.float32)
        fill_parameters(model, Weights(tiny_model), 0, None)
        if joined:
            model.join_tied_gradients()
        packing = attention.Packing((20,), torch.tensor([0, 20], dtype=torch.int32))
        batch = SimpleNamespace(**rows, lengths=packing.lengths, row_starts=packing.row_starts)
        targets = rows["token_ids"][0, 5:20]
        for _ in range(2):  # gradients of micro-batches add up
            model(
                batch,
                HeadRequest(targets, {}, lambda c, part: made(c, {}), torch.full((15,), 1 / 15, dtype=torch.float64)),
            ).backward()
        found.append({name: p.grad for name, p in model.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-5, atol=1e-7)


def test_a_tied_embedding_keeps_what_its_own_forward_does():
    class Scaled(nn.Embedding):
        def forward(self, token_ids):
            return super().forward(token_ids) * 5

    embedding, tied = Scaled(9, 4, padding_idx=0), TiedGradient()
    token_ids = torch.tensor([[1, 0, 3], [1, 1, 8]])
    plain = embedding(token_ids)
    dy = torch.randn_like(plain)
    tied.head = torch.zeros(9, 4)
    rows = _embedded(embedding, _TiedRows.apply(embedding.weight, token_ids, tied))
    torch.testing.assert_close(rows, plain, rtol=0, atol=0)
    rows.backward(dy)
    expected = torch.zeros(9, 4).index_add(0, token_ids.flatten(), 5 * dy.flatten(0, 1))
    torch.testing.assert_close(embedding.weight.grad, expected)


def test_out_of_memory_says_how_much_was_asked_and_what_lowers_it():
    spec = SimpleNamespace(config={"micro_batch_tokens": 4096})
    try:
        torch.empty(1 << 50)
    except RuntimeError as error:
        kind, message = explain(error, spec)
    assert kind == "memory" and "4503599627370496 bytes" in message
    assert "micro_batch_tokens (now 4096) lowers it" in message
    on_gpu = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total capacity of 79.11 GiB"
    )
    kind, message = explain(on_gpu, spec)
    assert kind == "memory" and "Tried to allocate 2.32 GiB" in message and "recompute: always" in message


def test_a_lost_neighbour_is_told_from_a_fault_of_one_s_own():
    assert explain(RuntimeError("[pair.cc:553] Connection closed by peer [127.0.0.1]:1"), None)[0] == "peer"
    assert explain(RuntimeError("shapes do not fit"), None)[0] == "bug"


def test_what_is_kept_in_which_precision_is_said():
    assert precision_in_words(torch.float32, False, False) == "weights, gradients, moments and computation in float32"
    assert "the float32 master weights as bfloat16 plus 16 bits" in precision_in_words(torch.bfloat16, True, False)
    assert "the frozen base bfloat16; the adapter's float32 master weights" in precision_in_words(
        torch.bfloat16, True, True
    )
    assert "the frozen base float32 in shards" in precision_in_words(torch.bfloat16, False, True)


def test_noise_is_within_what_a_rows_length_allows():
    from dftune_worker.noise import EmbeddingNoise, noisy

    embedding = torch.nn.Embedding(11, 16)
    noise = EmbeddingNoise(embedding, alpha=5.0)
    lengths = (3, 24)
    ids = torch.arange(27) % 11

    class Batch:
        pass

    batch = Batch()
    batch.lengths = lengths
    plain = embedding(ids[None])
    with noisy(noise, batch):
        torch.manual_seed(0)
        packed = (embedding(ids[None]) - plain)[0].detach()
        torch.manual_seed(0)
        assert torch.equal(packed, (embedding(ids[None]) - plain)[0].detach())
        rows = torch.zeros(2, 24, dtype=torch.long)
        padded = (embedding(rows) - embedding.weight[0]).detach()
    assert torch.equal(embedding(ids[None]), plain)
    for row, of_pack, of_pad in ((0, packed[:3], padded[0]), (1, packed[3:], padded[1])):
        bound = 5.0 / (lengths[row] * 16) ** 0.5
        for found in (of_pack, of_pad):
            assert found.abs().max() <= bound * (1 + 1e-5)
            assert found.abs().max() > 0.8 * bound

"""On one NVIDIA GPU what a CPU gives: kernels, head, optimizer, whole runs and samples. Skipped where there is no GPU."""

import pytest
import torch
from conftest import VOCABULARY, objective, run_worker, spec_samples, steps
from test_runs import CASES, LORA, assert_same

from dftune_worker import attention
from dftune_worker.expression import Objective
from dftune_worker.head import Head, HeadRequest, Reference, head_pass
from dftune_worker.optimizer import AdamWSettings, Optimizer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
GPU = {"CUDA_VISIBLE_DEVICES": "0"}


def off_by(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    assert a.shape == b.shape and a.isfinite().all()
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("window", [None, 40])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_kernels_are_attention_row_by_row(window, dtype):
    torch.manual_seed(0)
    lengths = (70, 1, 130)
    tensors = [torch.randn(1, heads, 201, 64, dtype=torch.float64) for heads in (4, 2, 2)]
    upstream = torch.randn(1, 201, 4, 64, dtype=torch.float64)
    packing = attention.Packing(lengths, torch.tensor([0, 70, 71, 201], dtype=torch.int32))
    on_gpu = attention.Packing(lengths, packing.row_starts.cuda())
    found = []
    for of, place in ((packing, lambda t: t.clone()), (on_gpu, lambda t: t.to("cuda", dtype))):
        q, k, v = (place(t).requires_grad_() for t in tensors)
        kernel = attention._row_by_row if of is packing else attention.attend_packed
        out = kernel(q, k, v, of, 0.1, window)
        found.append((out, *torch.autograd.grad(out, (q, k, v), place(upstream))))
    for theirs, mine in zip(*found, strict=True):
        assert off_by(mine, theirs) < (1e-2 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("name", ["sft", "dft", "asft", "own"])
@pytest.mark.parametrize("rows", [7, 1000], ids=["chunks", "whole"])
def test_the_head_is_the_cpu_s(monkeypatch, name, rows):
    torch.manual_seed(0)
    monkeypatch.setattr("dftune_worker.head.CHUNK_BYTES", {"cpu": 1 << 29, "cuda": 4 * VOCABULARY * rows})
    given = [torch.randn(n, 16, dtype=torch.float64) for n in (20, VOCABULARY, 20, VOCABULARY)]
    targets, made, found = torch.randint(0, VOCABULARY, (20,)), Objective(objective(name)), []
    for device in ("cpu", "cuda"):
        hidden, weight, ref_hidden, ref_weight = (t.to(device, torch.float32) for t in given)
        hidden.requires_grad_(), weight.requires_grad_()
        reference = Reference(ref_hidden, Head(ref_weight), True) if name == "asft" else None
        reduced = {}
        if made.needs_first_pass:
            plain = HeadRequest(targets.to(device), {}, None)
            head_pass(hidden.detach(), weight.detach(), plain)
            reduced = made.reduce(plain.columns, torch.arange(20, device=device) // 5, lambda mine: mine)
        scale = torch.full((20,), 0.05, dtype=torch.float64, device=device)
        request = HeadRequest(
            targets.to(device),
            {},
            lambda c, part, r=reduced: made(c, {n: v[part] for n, v in r.items()}),
            scale,
            reference=reference,
        )
        loss = head_pass(hidden, weight, request)
        found.append((loss, *torch.autograd.grad(loss, (hidden, weight))))
    for theirs, mine in zip(*found, strict=True):
        assert off_by(mine, theirs) < 1e-5


def test_split_masters_are_pytorch_s_adamw():
    torch.manual_seed(0)
    mine, theirs = torch.nn.Linear(300, 500).cuda(), torch.nn.Linear(300, 500).cuda()
    theirs.load_state_dict(mine.state_dict())
    groups = [{"params": [theirs.weight], "weight_decay": 0.1}, {"params": [theirs.bias], "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95), eps=1e-8)
    optimizer = Optimizer(mine, AdamWSettings(0.9, 0.95, 1e-8, 0.1), split=True)
    for step in range(5):
        for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.float() * 0.5
        optimizer.update(0.01 / (step + 1), 0.5)
        for group in reference.param_groups:
            group["lr"] = 0.01 / (step + 1)
        reference.step()
        for (name, p), q in zip(mine.named_parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(optimizer.master(name, p), q.data, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "config"), CASES, ids=["sft", "dft", "asft", "own", "dft-lora", "asft-lora"])
def test_a_run_is_the_cpu_s(make_spec, name, config):
    cpu = steps(run_worker(make_spec("cpu", objective(name), config=config)))
    assert_same(cpu, steps(run_worker(make_spec("gpu", objective(name), config=config), env=GPU)), 1e-3)


@pytest.mark.parametrize("config", [{}, LORA], ids=["full", "lora"])
def test_bf16_is_near_float32(make_spec, config):
    exact, rounded = (
        steps(
            run_worker(
                make_spec(
                    f"gpu-{dtype}", objective("dft"), config=config | {"engine": {"name": "torch", "dtype": dtype}}
                ),
                env=GPU,
            )
        )
        for dtype in ("fp32", "bf16")
    )
    for a, b in zip(exact[:5], rounded[:5], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=0.1) and a["nll"] == pytest.approx(b["nll"], rel=0.1)


def test_a_resumed_run_goes_on(make_spec):
    config = {"save_steps": 10, "engine": {"name": "torch", "dtype": "bf16"}}
    spec = make_spec("whole", objective("dft"), config=config)
    whole = steps(run_worker(spec, env=GPU))
    checkpoint = str(spec.parent.parent / "checkpoints" / "step-000010")
    again = steps(run_worker(make_spec("resumed", objective("dft"), config=config, resume=checkpoint), env=GPU))
    assert_same(
        whole[10:], again, 0.02
    )  # attention's gradient is summed in no fixed order there, and bfloat16 keeps 3 digits


@pytest.mark.parametrize("adapter", [{}, LORA], ids=["full", "lora"])
def test_samples_are_the_cpu_s(make_spec, tmp_path, adapter):
    samples = spec_samples(tmp_path, prompts=18, max_new_tokens=6, every=10)
    config, found = (
        adapter | {"learning_rate": 1e-6},
        [],
    )  # the two drift apart by rounding: a nearly equal choice must not turn
    for name, more in (("cpu", {}), ("gpu", {"env": GPU})):
        events = run_worker(make_spec(name, objective("sft"), config=config, samples=samples), **more)
        found.append(
            [[e[k] for k in ("step", "prompt", "completion", "tokens")] for e in events if e["type"] == "sample"]
        )
    assert len(found[0]) == 54 and found[0] == found[1]

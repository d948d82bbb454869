"""Samples made during a run: the full model's greedy choice, whatever is decoded beside, on any number of processes."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from conftest import objective, run_worker, spec_samples
from test_runs import LORA

from dftune_worker.decoding import Decoding, Wanted
from dftune_worker.model import PackedModel, build
from dftune_worker.parallel import World, place
from dftune_worker.samples import Sampler
from dftune_worker.spec import sample_plan
from dftune_worker.uniform import uniform
from dftune_worker.weights import Weights, fill_parameters

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture()
def model(tiny_model):
    made = PackedModel(build(tiny_model, None))
    place(made, ALONE, torch.float32)
    fill_parameters(made, Weights(tiny_model), 0, None)
    return made


def greedy(folder: Path, prompt: tuple[int, ...], count: int) -> tuple[list[int], list[float]]:
    """Transformers' own model over the whole sequence, once a token."""
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    ids, probabilities = list(prompt), []
    for _ in range(count):
        with torch.no_grad():
            p = theirs(torch.tensor([ids])).logits[0, -1].softmax(-1)
        ids.append(int(p.argmax()))
        probabilities.append(float(p.max()))
    return ids[len(prompt) :], probabilities


def test_cached_decoding_is_the_full_model(tmp_path, tiny_model, model):
    plan = sample_plan(spec_samples(tmp_path, prompts=18, max_new_tokens=9))
    events = Sampler(plan, model, ALONE, torch.float32).events()
    assert len(events) == 18
    for prompt, event in zip(plan.prompts, events, strict=True):
        ids, probabilities = greedy(tiny_model, prompt.token_ids, 9)
        assert event["prompt"] == prompt.text
        assert event["tokens"] == [f"<{i}>" for i in ids]
        assert event["completion"] == "".join(f" w{i}" for i in ids)
        assert event["probabilities"] == pytest.approx(probabilities, rel=1e-4)


def test_a_window_is_seen_while_decoding(tmp_path, tiny_model):
    """A model whose layers see four tokens: its config says so, its weights are the tiny model's."""
    config = json.loads((tiny_model / "config.json").read_text())
    config |= {
        "use_sliding_window": True,
        "sliding_window": 4,
        "max_window_layers": 0,
        "layer_types": ["sliding_attention"] * 2,
    }
    folder = tmp_path / "windowed"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").symlink_to(tiny_model / "model.safetensors")
    made = PackedModel(build(folder, None))
    place(made, ALONE, torch.float32)
    fill_parameters(made, Weights(folder), 0, None)
    plan = sample_plan(spec_samples(tmp_path, prompts=3, max_new_tokens=9))
    for prompt, event in zip(plan.prompts, Sampler(plan, made, ALONE, torch.float32).events(), strict=True):
        assert event["tokens"] == [f"<{i}>" for i in greedy(folder, prompt.token_ids, 9)[0]]


def test_a_stop_token_ends_a_completion_and_says_nothing(tmp_path, tiny_model, model):
    samples = spec_samples(tmp_path, prompts=2, max_new_tokens=9)
    ids = greedy(tiny_model, tuple(samples["prompts"][0]["token_ids"]), 9)[0]
    stop = ids[3]
    samples["stop_token_ids"] = [stop]
    first = Sampler(sample_plan(samples), model, ALONE, torch.float32).events()[0]
    end = ids.index(stop)
    assert first["tokens"] == [f"<{i}>" for i in ids[: end + 1]]
    assert first["completion"] == "".join(f" w{i}" for i in ids[:end])


def test_a_completion_ends_with_the_context(tmp_path, model):
    plan = sample_plan(spec_samples(tmp_path, prompts=2, max_new_tokens=500))
    for prompt, event in zip(plan.prompts, Sampler(plan, model, ALONE, torch.float32).events(), strict=True):
        assert len(prompt.token_ids) + len(event["tokens"]) == model.backbone.config.max_position_embeddings
    longer = dataclasses.replace(plan, prompts=(dataclasses.replace(plan.prompts[0], token_ids=(1,) * 64),))
    with pytest.raises(Exception, match="the model's context is 64"):
        Sampler(longer, model, ALONE, torch.float32)


@pytest.mark.parametrize("adapter", [{}, LORA], ids=["full", "lora"])
def test_two_processes_sample_what_one_does(make_spec, tmp_path, adapter):
    """18 prompts are two groups: each of two processes decodes one of them, or one decodes both."""
    samples = spec_samples(tmp_path, prompts=18, max_new_tokens=6, every=8)
    found = []
    for processes in (1, 2):
        spec = make_spec(f"on-{processes}", objective("sft"), config=adapter, samples=samples)
        events = [e for e in run_worker(spec, processes) if e["type"] == "sample"]
        lines = (Path(json.loads(spec.read_text())["output_dir"]) / "samples.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == [{k: v for k, v in e.items() if k != "time"} for e in events]
        found.append(events)
    assert [e["step"] for e in found[0]] == [0] * 18 + [8] * 18 + [16] * 18 + [20] * 18
    for one, two in zip(*found, strict=True):
        assert [one[k] for k in ("step", "prompt", "completion", "tokens")] == [
            two[k] for k in ("step", "prompt", "completion", "tokens")
        ]
        assert one["probabilities"] == pytest.approx(two["probabilities"], rel=1e-3)


def test_bf16_samples_are_repeated_to_the_bit(make_spec, tmp_path):
    samples = spec_samples(tmp_path, prompts=3, max_new_tokens=6, every=20)
    config = {"engine": {"name": "torch", "dtype": "bf16"}}
    runs = [
        run_worker(make_spec(name, objective("sft"), config=config, samples=samples)) for name in ("first", "again")
    ]
    first, again = ([(e["tokens"], e["probabilities"]) for e in events if e["type"] == "sample"] for events in runs)
    assert len(first) == 6 and first == again


def test_uniform_numbers_are_the_local_engine_s():
    """Of src/generate/philox.ts."""
    assert uniform(5 * 2**32 + 7, 3, (2, 9, 1)) == 0.16264494577695754
    assert uniform(123, 0) == 0.0669477462942315
    assert uniform(2**53 - 1, 4096, (4294967295, 1, 0)) == 0.7272345629682013


def test_a_drawn_token_is_the_inverse_of_the_cumulative_distribution(tiny_model, model):
    """Four samples of each of five prompts, some greedy; against Transformers' own model over the whole sequence."""
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation="eager")
    prompts = [(5, 9, 11), (3, 4), (60, 2, 8, 8), (7,), (1, 2, 3)]
    wanted = [
        Wanted(prompt, 6, 0.0 if i == 3 else 0.7, lambda t, p=p, i=i: uniform(p, t, (i, 0, 0)))
        for p, prompt in enumerate(prompts)
        for i in range(4)
    ]
    found = Decoding(model, ALONE, torch.float32, frozenset()).completions(wanted)
    assert len({tuple(one.token_ids) for one in found}) > 10
    for one, done in zip(wanted, found, strict=True):
        ids = list(one.token_ids)
        for t, (id, logprob) in enumerate(zip(done.token_ids, done.logprobs, strict=True)):
            with torch.no_grad():
                logits = theirs(torch.tensor([ids])).logits[0, -1].double()
            p = (logits / (one.temperature or 1)).softmax(-1)
            below = float(p[:id].sum())
            u = one.uniform(t)
            expected = below - 1e-5 <= u <= below + float(p[id]) + 1e-5 if one.temperature else id == int(p.argmax())
            assert expected
            assert logprob == pytest.approx(float(p[id].log()), abs=1e-4)
            ids.append(id)

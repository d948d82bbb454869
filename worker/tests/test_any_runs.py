"""Whole runs of families that go through Transformers' own forward: processes, adapters, resume, bfloat16, samples."""

import json
from pathlib import Path

import pytest
import torch
from conftest import events, objective, run_worker, spec_samples, steps
from safetensors.torch import load_file
from test_runs import LORA, assert_same
from tiny_types import save_tiny


@pytest.fixture()
def spec_of(make_spec, tmp_path):
    def make(name: str, model_type: str, **more) -> Path:
        folder = tmp_path / model_type
        if not folder.is_dir():
            save_tiny(model_type, folder)
        return make_spec(name, objective("dft"), model=str(folder), **more)

    return make


CASES = [
    ("mixtral", {"router_aux_loss_coef": 0.1}, (2, 4)),
    ("jamba", {}, (2,)),
    ("gpt2", LORA, (4,)),
    ("qwen3_next", LORA, (2,)),
    ("zamba2", {}, (2,)),  # layers that share their weights
]


@pytest.mark.parametrize(("model_type", "config", "processes"), CASES, ids=[c[0] for c in CASES])
def test_several_processes_are_one(spec_of, model_type, config, processes):
    one = run_worker(spec_of("one", model_type, config=config))
    for count in processes:
        several = run_worker(spec_of(f"of-{count}", model_type, config=config), processes=count)
        assert_same(steps(one), steps(several))
        assert {e["code"] for e in one if e["type"] == "warning"} == {
            e["code"] for e in several if e["type"] == "warning"
        }
    assert ("aux_loss" in steps(one)[0]) == (model_type == "mixtral")


def test_experts_resume_with_another_number_of_processes(spec_of):
    config = {"save_steps": 10, "router_aux_loss_coef": 0.1}
    whole = spec_of("whole", "qwen3_moe", config=config)
    first = run_worker(whole, processes=2)
    folder = Path(json.loads(whole.read_text())["output_dir"])
    checkpoint = folder / "checkpoints" / "step-000010"
    for processes in (1, 4):
        name = f"resumed-{processes}"
        again = spec_of(name, "qwen3_moe", config=config, resume=str(checkpoint))
        assert_same(steps(first)[10:], steps(run_worker(again, processes)))
    result, start = load_file(str(folder / "model/model.safetensors")), folder.parent / "qwen3_moe"
    assert result.keys() == load_file(str(start / "model.safetensors")).keys()


def test_a_resumed_run_has_the_same_bits(spec_of):
    config = {"save_steps": 10, "engine": {"name": "torch", "dtype": "bf16"}}
    whole = spec_of("whole", "jamba", config=config)
    run_worker(whole)
    folder = Path(json.loads(whole.read_text())["output_dir"])
    again = spec_of("resumed", "jamba", config=config, resume=str(folder / "checkpoints" / "step-000010"))
    resumed = run_worker(again)
    assert [e["loss"] for e in steps(events(whole))[10:]] == [e["loss"] for e in steps(resumed)]


def test_samples_are_the_model_s_greedy_choice(spec_of, tmp_path):
    from transformers import AutoModelForCausalLM

    samples = spec_samples(tmp_path, prompts=3, max_new_tokens=5)
    for processes in (1, 2):
        spec = spec_of(f"sampled-{processes}", "bamba", samples=samples)
        found = [e for e in run_worker(spec, processes) if e["type"] == "sample" and e["step"] > 0]
        folder = Path(json.loads(spec.read_text())["output_dir"]) / "model"
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        assert len(found) == 3
        for prompt, event in zip(samples["prompts"], found, strict=True):
            ids = list(prompt["token_ids"])
            for _ in range(5):
                ids.append(int(theirs(torch.tensor([ids])).logits[0, -1].argmax()))
            assert event["tokens"] == [f"<{i}>" for i in ids[-5:]]

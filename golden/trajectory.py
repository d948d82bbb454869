"""20 AdamW steps as docs/training.md states them, of tiny models (three of them under five objectives), and LoRA through PEFT.
Usage: python golden/trajectory.py [NAME...]   (after models.py)"""
import math, os, sys
import torch
from peft import PeftModel
from tiny import HERE, MODELS, load, losses, sampled, versions, write_json

STEPS, ROWS_PER_STEP, ROWS = 20, 4, 12
SETTINGS = {"steps": STEPS, "batch_size": ROWS_PER_STEP, "learning_rate": 0.005, "adam_beta1": 0.9, "adam_beta2": 0.95, "adam_epsilon": 1e-8,
            "weight_decay": 0.01, "max_grad_norm": 1.0, "warmup_steps": 2, "lr_scheduler": "cosine"}


def factor(step, steps):
    """Step from 1: step / warmup, then the cosine from 1 to 0 over the remaining steps."""
    warmup = math.ceil(steps / 10)
    if step <= warmup: return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def rows_and_order(model, steps):
    rows = []
    for seed in range(ROWS):
        prompt = 3 + seed % 4
        ids = sampled(model, 100 + seed, prompt, 8 + (5 * seed) % 9, temperature=0.5)
        rows.append({"token_ids": ids, "loss_mask": [int(t >= prompt) for t in range(len(ids))]})
    generator = torch.Generator().manual_seed(5)
    order = []
    while len(order) < steps * ROWS_PER_STEP: order += torch.randperm(ROWS, generator=generator).tolist()
    return rows, order[: steps * ROWS_PER_STEP]


def adamw(model):
    """The parameters that train, and what updates them; the rate is set step by step."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": [p for p in trained if p.ndim >= 2], "weight_decay": SETTINGS["weight_decay"]}, {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(SETTINGS["adam_beta1"], SETTINGS["adam_beta2"]), eps=SETTINGS["adam_epsilon"])
    return trained, optimizer


def train(model, rows, order, objective, steps):
    """Loss, NLL and gradient norm are before the update; the norm is before clipping."""
    trained, optimizer = adamw(model)
    record = []
    for step in range(1, steps + 1):
        rate = SETTINGS["learning_rate"] * factor(step, steps)
        for group in optimizer.param_groups: group["lr"] = rate
        batch = [rows[i] for i in order[(step - 1) * ROWS_PER_STEP: step * ROWS_PER_STEP]]
        optimizer.zero_grad()
        loss, nll, _ = losses(model, batch, objective)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, SETTINGS["max_grad_norm"])
        optimizer.step()
        record.append({"loss": float(loss), "nll": float(nll.mean()), "grad_norm": float(norm), "learning_rate": rate, "supervised_tokens": len(nll)})
    with torch.no_grad(): final = float(losses(model, rows, "sft")[0])
    print(objective, "nll %.3f -> %.3f, norm %.2f" % (record[0]["nll"], record[-1]["nll"], record[0]["grad_norm"]))
    return {"steps": record, "final_nll_of_all_rows": final}


def main():
    folder = os.path.join(HERE, "trajectory")
    os.makedirs(folder, exist_ok=True)
    wanted = sys.argv[1:] or [n for n in sorted(os.listdir(MODELS)) if os.path.exists(os.path.join(MODELS, n, "adapter"))]
    for name in wanted:
        whole = name in ("qwen2", "llama", "qwen3")  # the others: fewer steps of fewer objectives
        steps = STEPS if whole else 6
        rows, order = rows_and_order(load(name), steps)
        runs = {objective: train(load(name), rows, order, objective, steps) for objective in (("sft", "dft", "power", "threshold", "alpha") if whole else ("dft",))}
        adapter = os.path.join(MODELS, name, "adapter")
        lora = {objective: train(PeftModel.from_pretrained(load(name), adapter, is_trainable=True), rows, order, objective, steps) for objective in (("sft", "dft") if whole else ("dft",))}
        write_json(os.path.join(folder, f"{name}.json"), {"versions": versions(), "settings": {**SETTINGS, "steps": steps, "warmup_steps": math.ceil(steps / 10)}, "rows": rows, "order": order, "full": runs, "lora": lora})


if __name__ == "__main__":
    main()

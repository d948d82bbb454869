"""Six AdamW steps of the mixtures of experts with the routers' auxiliary loss, by Transformers' own model on padded rows with an attention mask,
in full and with LoRA through PEFT. Rows, order and settings are the trajectories'. Usage: python golden/routers.py   (after trajectory.py)"""
import json, os
import torch
import torch.nn.functional as F
from peft import PeftModel
from tiny import HERE, MODELS, OBJECTIVES, load, versions, write_json
from trajectory import SETTINGS, adamw, factor

COEFFICIENT = 0.3  # large, so that the gradient's norm feels it


def step_losses(model, rows, objective):
    """Transformers pads, and leaves what fills up out of its aux_loss."""
    longest = max(len(row["token_ids"]) for row in rows)
    padded = lambda values: torch.tensor([v + [0] * (longest - len(v)) for v in values])
    ids, learnt = padded([row["token_ids"] for row in rows]), padded([row["loss_mask"] for row in rows])
    attended = padded([[1] * len(row["token_ids"]) for row in rows])
    out = model(input_ids=ids, attention_mask=attended, output_router_logits=True, use_cache=False)
    nll = F.cross_entropy(out.logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    nll = nll[learnt[:, 1:].flatten().bool()]
    return OBJECTIVES[objective](nll).sum() / len(nll), nll, out.aux_loss


def train(model, rows, order, steps, objective="dft"):
    trained, optimizer = adamw(model)
    record = []
    for step in range(1, steps + 1):
        rate = SETTINGS["learning_rate"] * factor(step, steps)
        for group in optimizer.param_groups: group["lr"] = rate
        optimizer.zero_grad()
        loss, nll, aux = step_losses(model, [rows[i] for i in order[4 * (step - 1): 4 * step]], objective)
        (loss + COEFFICIENT * aux).backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, SETTINGS["max_grad_norm"])
        optimizer.step()
        record.append({"loss": float(loss), "nll": float(nll.mean()), "aux_loss": float(aux), "grad_norm": float(norm), "learning_rate": rate})
    print([round(s["aux_loss"], 4) for s in record], [round(s["grad_norm"], 3) for s in record])
    return record


def main():
    found = {}
    for name in ("qwen3_moe", "olmoe"):
        with open(os.path.join(HERE, "trajectory", f"{name}.json")) as file: known = json.load(file)
        rows, order, steps = known["rows"], known["order"], known["settings"]["steps"]
        adapted = PeftModel.from_pretrained(load(name), os.path.join(MODELS, name, "adapter"), is_trainable=True)
        found[name] = {"full": train(load(name), rows, order, steps), "lora": train(adapted, rows, order, steps)}
    write_json(os.path.join(HERE, "routers.json"), {"versions": versions(), "router_aux_loss_coef": COEFFICIENT, "objective": "dft", "steps": found})


if __name__ == "__main__":
    main()

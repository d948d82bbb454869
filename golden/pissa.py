"""PiSSA as PEFT starts, trains and converts it, over golden/models/qwen2; see README.md. Usage: python golden/pissa.py"""
import json, os, tempfile
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from models import sequences_of, stored_name
from tiny import MODELS, load, losses, versions, write_json

FOLDER = os.path.join(MODELS, "qwen2", "pissa")
STEPS, RATE = 5, 1e-2
OPTIONS = dict(r=3, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "k_proj", "up_proj", "down_proj"])


def main():
    os.makedirs(FOLDER, exist_ok=True)
    torch.manual_seed(0)
    sequences = sequences_of(load("qwen2"))
    model = get_peft_model(load("qwen2"), LoraConfig(task_type="CAUSAL_LM", init_lora_weights="pissa", **OPTIONS))
    tensors = {}
    for name, module in model.named_modules():
        if hasattr(module, "lora_A"):
            key = name.removeprefix("base_model.model.")
            a, b = module.lora_A["default"].weight.detach(), module.lora_B["default"].weight.detach()
            tensors[f"update.{key}"] = (module.scaling["default"] * b @ a).contiguous()
            tensors[f"base.{key}"] = module.base_layer.weight.detach().clone()
    with tempfile.TemporaryDirectory() as start:
        model.peft_config["default"].init_lora_weights = True  # as PEFT's guide has it
        model.save_pretrained(start)
        model.peft_config["default"].init_lora_weights = "pissa"
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.95), eps=1e-8, weight_decay=0)
        steps = []
        for _ in range(STEPS):
            loss, _, _ = losses(model, sequences, "sft")
            optimizer.zero_grad()
            loss.backward()
            norms = {stored_name(n): float("%.7g" % p.grad.norm()) for n, p in model.named_parameters() if p.requires_grad}
            steps.append({"loss": float("%.9g" % loss.detach()), "gradient_norms": norms})
            optimizer.step()
        after, _, _ = losses(model, sequences, "sft")
        with tempfile.TemporaryDirectory() as out:
            model.save_pretrained(out, path_initial_model_for_weight_conversion=start)
            config = json.load(open(os.path.join(out, "adapter_config.json")))
            converted = PeftModel.from_pretrained(load("qwen2"), out)
            again, _, _ = losses(converted, sequences, "sft")
            merged = converted.merge_and_unload().state_dict()
    assert abs(again - after) < 1e-5, (again, after)
    keep = {f"merged.{k}": merged[f"{k}.weight"].contiguous() for k in [n.removeprefix("update.") for n in tensors if n.startswith("update.")]}
    save_file(tensors | keep, os.path.join(FOLDER, "golden.safetensors"))
    os.chmod(os.path.join(FOLDER, "golden.safetensors"), 0o644)
    written = {k: config[k] for k in ["r", "lora_alpha", "use_rslora", "init_lora_weights"]}
    write_json(os.path.join(FOLDER, "golden.json"), {"versions": versions(), "options": OPTIONS, "learning_rate": RATE, "sequences": sequences, "steps": steps, "loss_after": float("%.9g" % after), "written": written})
    print(written, [s["loss"] for s in steps], float(after))


main()

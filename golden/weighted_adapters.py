"""Two adapters over qwen2, added with weights by PEFT (add_weighted_adapter, cat) and merged: writes weighted_adapters.safetensors
beside this file.

    python golden/weighted_adapters.py   (after models.py)
"""

import pathlib

import torch
from peft import PeftModel
from safetensors.torch import save_file
from tiny import MODELS, load

FOLDER = pathlib.Path(MODELS) / "qwen2"
model = PeftModel.from_pretrained(load("qwen2"), str(FOLDER / "adapter"), adapter_name="one")
model.load_adapter(str(FOLDER / "adapter-rslora"), adapter_name="two")
model.add_weighted_adapter(["one", "two"], [0.75, 0.5], "both", combination_type="cat")
model.set_adapter("both")
merged = model.merge_and_unload().state_dict()
names = [f"model.layers.{i}.{m}.weight" for i, m in ((0, "self_attn.q_proj"), (1, "self_attn.v_proj"), (1, "mlp.down_proj"))]
save_file({name: merged[name].contiguous().float() for name in names}, str(pathlib.Path(__file__).with_suffix(".safetensors")))

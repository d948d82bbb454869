"""Tiny random models of vision and language, each a whole folder: weights, tokenizer, template, processor."""

import json
from pathlib import Path

import torch

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.2,
}
PLACES = "{% for c in m.content %}{% if c.type == 'image' %}PLACE{% else %}{{ c.text }}{% endif %}{% endfor %}"
QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}"
    + PLACES.replace("PLACE", "<|vision_start|><|image_pad|><|vision_end|>")
    + "{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SMOL_TEMPLATE = (
    "<|im_start|>{% for m in messages %}{{ m.role | capitalize }}"
    "{% if m.content[0].type == 'image' %}:{% else %}: {% endif %}"
    + PLACES.replace("PLACE", "<image>")
    + "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
QWEN_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
QWEN_TOKENS += ["<|video_pad|>"]
SMOL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>"]
SMOL_TOKENS += ["<global-img>", *(f"<row_{r}_col_{c}>" for r in range(1, 4) for c in range(1, 4))]
QWEN_SIZE = {"shortest_edge": 8 * 8, "longest_edge": 64 * 64}
QWEN_PICTURES = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2, "size": QWEN_SIZE}
SMOL_PICTURES = {"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 16}}
SMOL_TILE_TOKENS = 4  # (16 / 4)^2 patches, 2 x 2 of them to a token


def save_tiny_vision(model_type: str, folder: Path, seed: int = 0) -> Path:
    """`qwen2_vl`, `qwen2_5_vl`, `smolvlm` or `idefics3`."""
    is_qwen = model_type.startswith("qwen")
    ids = save_tokenizer(folder, QWEN_TOKENS if is_qwen else SMOL_TOKENS, is_qwen)
    torch.manual_seed(seed)
    model = (_qwen if is_qwen else _smol)(model_type, ids)
    model.save_pretrained(folder)
    name = {"smolvlm": "SmolVLM", "idefics3": "Idefics3"}.get(model_type, "Qwen2VL")
    pictures = {"image_processor_type": f"{name}ImageProcessor", **(QWEN_PICTURES if is_qwen else SMOL_PICTURES)}
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    if not is_qwen:
        (folder / "processor_config.json").write_text(json.dumps({"image_seq_len": SMOL_TILE_TOKENS}))
    return folder


def save_tokenizer(folder: Path, special: list[str], is_qwen: bool) -> dict[str, int]:
    """Every byte is a token, and so is each special one; returns their ids."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": special[2], "pad_token": special[0]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text(QWEN_TEMPLATE if is_qwen else SMOL_TEMPLATE)
    return {t: made.token_to_id(t) for t in special}


def _qwen(model_type: str, ids: dict[str, int]):
    from transformers import AutoConfig, AutoModelForImageTextToText

    tower = {"depth": 2, "num_heads": 2, "in_channels": 3, "patch_size": 4, "spatial_merge_size": 2}
    tower |= {"temporal_patch_size": 2, "initializer_range": 0.2}
    if model_type == "qwen2_vl":
        tower |= {"embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2}
    else:
        tower |= {"hidden_size": 16, "intermediate_size": 24, "out_hidden_size": 32, "window_size": 16}
        tower |= {"fullatt_block_indexes": [1]}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
    text = {**TEXT, "vocab_size": 256 + len(ids), "rope_parameters": rope, "rope_scaling": rope}
    config = AutoConfig.for_model(
        model_type,
        text_config=text,
        vision_config=tower,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )
    config.eos_token_id = config.text_config.eos_token_id = ids["<|im_end|>"]
    return AutoModelForImageTextToText.from_config(config)


def _smol(model_type: str, ids: dict[str, int]):
    from transformers import AutoConfig, AutoModelForImageTextToText

    tower = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    tower |= {"image_size": 16, "patch_size": 4, "initializer_range": 0.2}
    config = AutoConfig.for_model(
        model_type,
        text_config={"model_type": "llama", **TEXT, "vocab_size": 256 + len(ids)},
        vision_config=tower,
        image_token_id=ids["<image>"],
        scale_factor=2,
        pad_token_id=ids["<|endoftext|>"],
        tie_word_embeddings=True,
    )
    config.eos_token_id = config.text_config.eos_token_id = ids["<end_of_utterance>"]
    return AutoModelForImageTextToText.from_config(config)

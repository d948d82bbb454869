"""What Transformers' processors make of pictures and chats with them: token ids, for src/data/pictures.

Writes pictures/rows.parquet, and pictures/<model type>/: the tokenizer, template and processor of a tiny model (without weights), and pictures.json:
for each size the ids of its picture, and for each chat the ids of the whole (`processor(text, images)`).
Needs Pillow and num2words besides torch and transformers. Video processors are left out: they need torchvision.
"""

import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

import transformers
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "worker" / "tests"))
from tiny_vision import save_tiny_vision

TEXTS = [
    [["user", ["IMAGE", "What is it?"]], ["assistant", ["A cat."]]],
    [["system", ["Be brief."]], ["user", ["Look:", "IMAGE", " and ", "IMAGE", "\n\nWhich?"]], ["assistant", ["é."]]],
    [
        ["user", ["Hi"]],
        ["assistant", ["Hello"]],
        ["user", ["IMAGE"]],
        ["assistant", ["A dog\n"]],
        ["user", ["Sure?", "IMAGE"]],
        ["assistant", ["Yes"]],
    ],
]
CLASSES = {
    "qwen2_vl": "Qwen2VLProcessor",
    "qwen2_5_vl": "Qwen2_5_VLProcessor",
    "smolvlm": "SmolVLMProcessor",
    "idefics3": "Idefics3Processor",
}


def processor_of(model_type: str, folder: Path):
    from transformers import AutoImageProcessor, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    images = AutoImageProcessor.from_pretrained(str(folder), backend="pil")
    made = getattr(transformers, CLASSES[model_type])
    more = {} if model_type.startswith("qwen") else {"image_seq_len": 4}
    if model_type != "idefics3":
        made.check_argument_for_proper_class = lambda *_: None  # no video processor is given
        more["video_processor"] = None
    return made(images, tokenizer, chat_template=tokenizer.chat_template, **more)


def blank(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height))


def write_parquet(path: Path) -> None:
    """Two rows as the datasets library keeps pictures: bytes beside a name that is no file."""
    import io

    import pyarrow
    import pyarrow.parquet

    rows = []
    for shade in (10, 200):
        file = io.BytesIO()
        Image.new("RGB", (20, 28), (shade, 0, 0)).save(file, "PNG")
        image = {"bytes": file.getvalue(), "path": "of-somebody-else.png"}
        rows.append({"question": "What?", "answer": f"Red {shade}.", "image": image})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def main() -> None:
    write_parquet(HERE / "pictures" / "rows.parquet")
    for model_type in CLASSES:
        out = HERE / "pictures" / model_type
        shutil.rmtree(out, ignore_errors=True)
        with tempfile.TemporaryDirectory() as scratch:
            folder = save_tiny_vision(model_type, Path(scratch) / "model")
            (folder / "model.safetensors").unlink()
            shutil.copytree(folder, out)
        processor, draw = processor_of(model_type, out), random.Random(0)
        sizes = [(1, 1), (8, 8), (16, 16), (17, 16), (64, 64), (200, 30), (20, 28), (12, 4), (4096, 31), (90, 91)]
        sizes += [(draw.randint(1, 120), draw.randint(1, 120)) for _ in range(60)]
        token = processor.image_token
        pictures = [
            {"width": w, "height": h, "ids": processor(text=token, images=[blank(w, h)])["input_ids"][0]}
            for w, h in sizes
        ]
        chats = []
        for turns in TEXTS:
            messages = [
                {
                    "role": role,
                    "content": [{"type": "image"} if p == "IMAGE" else {"type": "text", "text": p} for p in parts],
                }
                for role, parts in turns
            ]
            count = sum(p == "IMAGE" for _, parts in turns for p in parts)
            seen = sizes[6 : 6 + count]
            text = processor.tokenizer.apply_chat_template(messages, tokenize=False)
            ids = processor(text=text, images=[[blank(w, h) for w, h in seen]])["input_ids"][0]
            chats.append({"messages": messages, "sizes": seen, "ids": ids})
        told = {"versions": {"transformers": transformers.__version__}, "pictures": pictures, "chats": chats}
        (out / "pictures.json").write_text(json.dumps(told) + "\n")
        print(model_type, len(pictures), "sizes,", len(chats), "chats")


main()

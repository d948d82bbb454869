"""Small row files as PyArrow writes them, for readers that are tried with damaged ones: rows/."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

OUT = Path(__file__).parent / "rows"

ROWS = [
    {
        "id": i,
        "messages": [
            {"role": "user", "content": f"what is {i} + {i}?"},
            {"role": "assistant", "content": str(2 * i) if i % 5 else None},
        ],
        "score": i / 3 if i % 4 else None,
        "tags": ["sum"] * (i % 3),
        "good": i % 2 == 0,
    }
    for i in range(24)
]


def parquet(table: pa.Table) -> None:
    for codec in ["none", "snappy", "gzip", "zstd", "brotli", "lz4"]:
        pq.write_table(table, OUT / f"{codec}.parquet", compression=codec, row_group_size=12)
    pq.write_table(table, OUT / "pages-v2.parquet", compression="snappy", data_page_version="2.0")
    texts = table.select(["id", "good"]).append_column(
        "text", pa.array([None if i % 6 == 0 else f"prefix shared by all {i}" for i in range(24)])
    )
    for encoding in ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"]:
        pq.write_table(
            texts,
            OUT / f"{encoding.lower().replace('_', '-')}.parquet",
            use_dictionary=False,
            compression="none",
            data_page_version="2.0",
            column_encoding={"id": "DELTA_BINARY_PACKED", "text": encoding, "good": "RLE"},
        )


def arrow(table: pa.Table) -> None:
    dictionary = table.append_column("kind", pa.array(["a", "b"] * 12).dictionary_encode())
    for name, writer, options in [
        ("file", pa.ipc.new_file, None),
        ("stream", pa.ipc.new_stream, None),
        ("packed", pa.ipc.new_file, pa.ipc.IpcWriteOptions(compression="zstd")),
    ]:
        with writer(str(OUT / f"{name}.arrow"), dictionary.schema, options=options) as out:
            out.write_table(dictionary, max_chunksize=12)


def calls() -> None:
    """Arguments of typed columns: floats that are whole, integers past 2^53, keys that others have."""
    given = [
        {"id": 1234567890123456789, "p": 2.0, "q": 0.5, "list": [1.0, 2.5], "small": 3},
        {"id": 4, "p": None, "q": -0.0, "list": [], "small": None},
        {"id": 5, "p": 1e22, "q": 1e-7, "list": None, "small": 7},
    ]
    rows = [
        {
            "messages": [
                {"role": "user", "content": "Q", "tool_calls": None},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"function": {"name": "f", "arguments": a}}],
                },
            ],
            "tools": [{"name": "f", "parameters": {"most": 2.0}}],
        }
        for a in given
    ]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, OUT / "calls.parquet")
    with pa.ipc.new_file(str(OUT / "calls.arrow"), table.schema) as out:
        out.write_table(table)


def lines() -> None:
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    packed = pa.compress(text.encode(), codec="zstd", asbytes=True)
    (OUT / "rows.jsonl.zst").write_bytes(packed)


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    rows = pa.Table.from_pylist(ROWS)
    parquet(rows)
    arrow(rows)
    lines()
    calls()
    print(f"pyarrow {pa.__version__}")

"""Rows of our own under the columns and types that the hub's parquet files of three suites have.

    python3 golden/suites.py

google-research-datasets/mbpp (sanitized), ChilleD/SVAMP and MU-NLPC/Calc-mawps. Written with
pyarrow 26.0.1.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = Path(__file__).parent / "suites"

texts = pa.list_(pa.string())
MBPP = pa.schema(
    [
        ("source_file", pa.string()),
        ("task_id", pa.int32()),
        ("prompt", pa.string()),
        ("code", pa.string()),
        ("test_imports", texts),
        ("test_list", texts),
    ]
)
SVAMP = pa.schema(
    [
        (name, pa.string())
        for name in ("ID", "Body", "Question", "Equation", "Answer", "Type", "question_concat")
    ]
)
MAWPS = pa.schema(
    [
        ("id", pa.string()),
        ("question", pa.string()),
        ("chain", pa.string()),
        ("result", pa.string()),
        ("result_float", pa.float64()),
        ("equation", pa.string()),
        ("expression", pa.string()),
    ]
)

ROWS = {
    "mbpp": (
        MBPP,
        [
            {
                "source_file": "made up",
                "task_id": 9001,
                "prompt": "Write a function that adds up the halves of a list's numbers.",
                "code": "def halve(x):\n    return x / 2\n\ndef halves(xs):\n    return sum(halve(x) for x in xs)",
                "test_imports": ["import math"],
                "test_list": [
                    "assert halves([2, 4]) == 3",
                    "assert math.isclose(halves([1, 1, 1]), 1.5)",
                    "assert halves([]) == 0",
                ],
            },
            {
                "source_file": "made up",
                "task_id": 9002,
                "prompt": "Write a function that turns a text round.",
                "code": "def turned(text):\n    return text[::-1]",
                "test_imports": [],
                "test_list": ["assert turned('abc') == 'cba'", 'assert turned("") == ""'],
            },
        ],
    ),
    "svamp": (
        SVAMP,
        [
            {
                "ID": "chal-9001",
                "Body": "Ann has 7 pens and gives 3 away.",
                "Question": "How many pens has she left?",
                "Equation": "( 7.0 - 3.0 )",
                "Answer": "4.0",
                "Type": "Subtraction",
                "question_concat": "Ann has 7 pens and gives 3 away. How many pens has she left?",
            }
        ],
    ),
    "mawps": (
        MAWPS,
        [
            {
                "id": "mawps__made-up",
                "question": "Two bags hold 1200 beans each. How many beans are there?",
                "chain": '<gadget id="calculator">2 * 1200</gadget>\n<output>2_400</output>\n<result>2_400</result>',
                "result": "2_400",
                "result_float": 2400.0,
                "equation": "x=2*1200",
                "expression": "2 * 1200",
            }
        ],
    ),
}

FOLDER.mkdir(exist_ok=True)
for name, (schema, rows) in ROWS.items():
    pq.write_table(pa.Table.from_pylist(rows, schema), FOLDER / f"{name}.parquet")

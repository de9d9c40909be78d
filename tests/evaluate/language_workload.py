"""A small workload of source texts with a tokenizer, as curation writes one."""

import pyarrow as pa

from winnow.curate.byte_pairs import encode, train_byte_pairs
from winnow.pipeline.tables import write_parquet
from winnow.workloads import load_workload
from winnow.workloads.text_tables import TextMeta

VOCABULARY, CONTEXT = 280, 24


def document(number, lines=12):
    return "".join(f"def one_{number}_{line}(x):\n    return x * {line} + {number}\n" for line in range(lines))


def write_workload(folder, documents=6):
    """The splits train, valid, test and held_out of so many documents each."""
    texts = {
        split: [document(10 * at + number) for number in range(documents)]
        for at, split in enumerate(("train", "valid", "test", "held_out"))
    }
    tokenizer = train_byte_pairs(texts["train"], VOCABULARY)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str())
    for split, found in texts.items():
        sizes = pa.array([len(text.encode()) for text in found], pa.int64())
        table = pa.table(
            {"text": pa.array(found, pa.large_string()), "tokens": encode(tokenizer, found), "bytes": sizes}
        )
        write_parquet(table, folder / f"{split}.parquet", metadata=TextMeta(VOCABULARY, CONTEXT, "w").encode())
    return load_workload(folder)

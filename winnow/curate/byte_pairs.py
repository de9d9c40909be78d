"""Byte-level byte-pair encoding: any text as numbers below the size of a vocabulary, and back without loss.

Gage, "A New Algorithm for Data Compression", C Users Journal, 1994; Sennrich, Haddow and Birch, "Neural Machine
Translation of Rare Words with Subword Units", ACL 2016; over bytes as in Radford et al., "Language Models are
Unsupervised Multitask Learners", 2019.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from winnow.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END = "<|end|>"
"""The token, number 0, that ends a document."""
SMALLEST = 257
"""Of a vocabulary: 256 bytes and the end of a document."""
LARGEST = 1 << 16


def train_byte_pairs(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A tokenizer of exactly `vocabulary` tokens, merged by frequency in the texts.

    The same texts in the same order give the same tokenizer. Raises InputError for a vocabulary below 257 or above
    65,536, and for one that the texts are too small for.
    """
    if not SMALLEST <= vocabulary <= LARGEST:
        raise InputError(f"vocabulary: is {vocabulary}; give {SMALLEST} to {LARGEST} tokens")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a job has one core
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=alphabet, special_tokens=[END], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    found = tokenizer.get_vocab_size()
    if found != vocabulary:
        raise InputError(f"vocabulary: is {vocabulary}, and the texts have no more than {found} tokens; lower it")
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[str]) -> pa.LargeListArray:
    """Tokens large_list<uint16> of each text, ended by the token 0.

    A text that spells out the end token is encoded as its letters.
    """
    tokenizer.encode_special_tokens = True
    parts = [np.array([*found.ids, 0], np.uint16) for found in tokenizer.encode_batch(texts)]
    return pa.array(parts, pa.large_list(pa.uint16()))


def load_tokenizer(path: Path | str) -> Tokenizer:
    """The tokenizer of a JSON file; a damaged or absent one is an InputError."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(Path(path).read_text(encoding="utf-8"))
    except Exception as error:  # the library raises bare exceptions
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: is no tokenizer ({reason}); run the curate stage again") from error

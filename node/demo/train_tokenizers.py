"""Tokenizers of the demo checkpoints: sentencepiece over the phrases that a model is trained on."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sentencepiece
from transformers import SiglipTokenizer


def siglip_tokenizer(folder: Path, phrases: Iterable[str], pieces: int, **more: Any) -> Any:
    """A SiglipTokenizer of about so many pieces, with ``spiece.model`` in ``folder``; ``more`` is sentencepiece's."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(phrases),
        model_writer=written,
        vocab_size=pieces,
        model_type="unigram",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        hard_vocab_limit=False,
        normalization_rule_name="identity",  # without the 240 KB table of Unicode forms
        num_threads=1,
        minloglevel=2,
        **more,
    )
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "spiece.model"
    file.write_bytes(written.getvalue())
    return SiglipTokenizer(vocab_file=str(file), model_max_length=64)

"""The tiny MedGemma stand-in before training: tokenizer, chat template, processor and configuration.

A real Gemma3ForConditionalGeneration; no vocabulary or template of the real model is used.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessorPil,
    Gemma3Processor,
    GemmaTokenizer,
    SiglipModel,
)

from node.demo.dataset import GRID, PATCH, SIZE

WIDTH = 128
#: The 12 x 12 patches reach the decoder averaged two by two.
IMAGE_TOKENS = (GRID // 2) ** 2

SPECIAL = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<mask>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "<end_of_image>",
    "<image_soft_token>",
)
SPACE = "\u2581"

#: Turns as Gemma writes them: a system text opens the first user turn, images stand where the message puts them.
CHAT_TEMPLATE = """\
{%- set ns = namespace(opening='') -%}
{{ bos_token }}
{%- for message in messages -%}
{%- if message.content is string -%}{%- set parts = [{'type': 'text', 'text': message.content}] -%}
{%- else -%}{%- set parts = message.content -%}{%- endif -%}
{%- if message.role == 'system' -%}
{%- for part in parts -%}{%- set ns.opening = ns.opening + part.text -%}{%- endfor -%}
{%- set ns.opening = ns.opening + '\n\n' -%}
{%- else -%}
{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\n' + ns.opening }}
{%- set ns.opening = '' -%}
{%- for part in parts -%}
{{ '<start_of_image>' if part.type == 'image' else part.text | trim }}
{%- endfor -%}
{{ '<end_of_turn>\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}
"""


def build_tokenizer(corpus: list[str], size: int = 700) -> Any:
    """Byte-pair pieces that are words or runs of punctuation, never both.

    GemmaTokenizer has no pre-tokenizer of its own, so the merges must already keep words and punctuation apart: a piece
    that swallowed half an answer would leave constrained decoding nothing to constrain.
    """
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(SPACE, "merged_with_next"), pre_tokenizers.Punctuation("contiguous")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))],
        initial_alphabet=[*(chr(code) for code in range(33, 127)), SPACE, "\n"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    return GemmaTokenizer(
        vocab=learned["vocab"],
        merges=[tuple(pair) for pair in learned["merges"]],
        model_max_length=1024,
        chat_template=CHAT_TEMPLATE,
        extra_special_tokens={
            "image_token": "<image_soft_token>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "sot_token": "<start_of_turn>",
            "eot_token": "<end_of_turn>",
        },
    )


def build_processor(tokenizer: Any) -> Any:
    """Images to SIZE x SIZE in -1..1, IMAGE_TOKENS placeholders each."""
    images = Gemma3ImageProcessorPil(
        size={"height": SIZE, "width": SIZE}, image_mean=[0.5] * 3, image_std=[0.5] * 3, resample=2, do_convert_rgb=True
    )
    return Gemma3Processor(
        image_processor=images, tokenizer=tokenizer, chat_template=CHAT_TEMPLATE, image_seq_length=IMAGE_TOKENS
    )


def build_model(tokenizer: Any, triage_checkpoint: Path) -> Any:
    """1.8 M parameters; the vision tower starts as the triage model's."""
    ids = tokenizer.get_vocab()
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 3 * WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "query_pre_attn_scalar": 32,
        "sliding_window": 512,
        "sliding_window_pattern": 2,
        "max_position_embeddings": 1024,
        "pad_token_id": ids["<pad>"],
        "eos_token_id": ids["<eos>"],
        "bos_token_id": ids["<bos>"],
    }
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": SIZE,
        "patch_size": PATCH,
        "vision_use_head": False,
    }
    ends = [ids["<eos>"], ids["<end_of_turn>"]]
    model = Gemma3ForConditionalGeneration(
        Gemma3Config(
            text_config=text,
            vision_config=vision,
            mm_tokens_per_image=IMAGE_TOKENS,
            boi_token_index=ids["<start_of_image>"],
            eoi_token_index=ids["<end_of_image>"],
            image_token_index=ids["<image_soft_token>"],
            eos_token_id=ends,
            tie_word_embeddings=True,
        )
    )
    model.generation_config.eos_token_id = ends
    model.generation_config.pad_token_id = ids["<pad>"]
    model.generation_config.do_sample = False
    _take_vision(model, triage_checkpoint)
    return model


def _take_vision(model: Any, triage_checkpoint: Path) -> None:
    """Copy the trained tower without its pooling head, which Gemma has not."""
    trained = SiglipModel.from_pretrained(triage_checkpoint, dtype="float32").vision_model.state_dict()
    tower = model.model.vision_tower
    tower = getattr(tower, "vision_model", tower)
    tower.load_state_dict({name: tensor for name, tensor in trained.items() if not name.startswith("head.")})

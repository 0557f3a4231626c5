"""Tiny real checkpoints (hidden size 32), built once per test session, and the files and images around them.

A test module takes them with ``pytest_plugins = ["tests.unit.tiny_models"]``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
import yaml
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch.nn import functional
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessorPil,
    Gemma3Processor,
    GemmaTokenizer,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    SiglipProcessor,
    SiglipTokenizer,
)

from node.domain import FindingsPrompt, ModelImage, PromptSet
from node.inference.prompt_sets import load_findings_prompt, load_prompt_set

SIDE = 32
ANSWER = (
    '{"findings":[{"finding":"pleural effusion","presence":"present","side":"left","certainty":"probable"}],'
    '"impression":"Left pleural effusion.","recommendation":"Follow-up radiograph."}'
)
_HALF = [0.5] * 3


def prompt_set_values() -> dict[str, Any]:
    """A valid prompt set of two findings, to be changed and written by a test."""
    site = {"scheme": "SCT", "code": "39607008", "meaning": "Lung"}
    words = {"effusion": ("60046008", "HIGH"), "pneumothorax": ("36118008", "STAT")}
    return {
        "name": "tiny",
        "version": "1",
        "demo": True,
        "description": "for tests",
        "eligibility": {"modalities": ["DX"], "body_parts": ["CHEST"], "views": ["PA"], "minimum_age_years": 18},
        "preprocessing": {"resize": "tf"},
        "aggregate": "max",
        "findings": [
            {
                "key": key,
                "concept": {"scheme": "SCT", "code": code, "meaning": key.capitalize()},
                "site": site,
                "lateralised": True,
                "priority": priority,
                "positive": [f"{key} present", f"there is {key}"],
                "negative": [f"no {key}", f"{key} absent"],
                "nominal": {"present_above": 0.6, "absent_below": 0.4},
            }
            for key, (code, priority) in words.items()
        ],
    }


def written(folder: Path, values: dict[str, Any]) -> Path:
    """``values`` as a YAML file."""
    file = folder / f"{values['name']}.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


def image(seed: int = 0, side: int = 48) -> ModelImage:
    """Grey noise as a model image."""
    grey = np.random.default_rng(seed).integers(0, 256, (side, side, 1), np.uint8)
    return ModelImage(
        pixels=np.repeat(grey, 3, axis=2), sop_class_uid="1.2", sop_instance_uid=f"1.2.{seed}", series_instance_uid="1"
    )


@pytest.fixture
def prompt_set(tmp_path: Path) -> PromptSet:
    return load_prompt_set(str(written(tmp_path, prompt_set_values())))


@pytest.fixture
def findings_prompt(tmp_path: Path) -> FindingsPrompt:
    values = {"name": "tiny", "version": "1", "demo": True, "system": None, "max_new_tokens": 160}
    return load_findings_prompt(str(written(tmp_path, values | {"instruction": "Report."})))


@pytest.fixture(scope="session")
def medsiglip_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SigLIP whose scores differ between images."""
    folder = tmp_path_factory.mktemp("medsiglip-tiny")
    tokenizer = _siglip_tokenizer(folder)
    common = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    positions = {"vocab_size": len(tokenizer), "max_position_embeddings": 16, "projection_size": 32}
    torch.manual_seed(3)
    model = SiglipModel(
        SiglipConfig(
            text_config=common | positions | special, vision_config=common | {"image_size": SIDE, "patch_size": 8}
        )
    )
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
        model.logit_bias.fill_(-1.0)
    model.half().save_pretrained(folder)
    processor = SiglipImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_mean=_HALF, image_std=_HALF, resample=2
    )
    SiglipProcessor(image_processor=processor, tokenizer=tokenizer).save_pretrained(folder)
    (folder / "ainode.json").write_text(json.dumps({"name": "medsiglip-tiny", "version": "0", "demo": True}))
    return folder


def _siglip_tokenizer(folder: Path) -> Any:
    findings = prompt_set_values()["findings"]
    corpus = [prompt for finding in findings for prompt in (*finding["positive"], *finding["negative"])]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_writer=model, vocab_size=60, model_type="unigram", hard_vocab_limit=False,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, normalization_rule_name="identity", minloglevel=2,
    )
    file = folder / "spiece.model"
    file.write_bytes(model.getvalue())
    return SiglipTokenizer(vocab_file=str(file), model_max_length=16)


_SPECIAL = (
    "<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>",
    "<start_of_image>", "<end_of_image>", "<image_soft_token>", "<unused94>", "<unused95>",
)
_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<start_of_image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


@pytest.fixture(scope="session")
def medgemma_random(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Gemma 3 with random weights: left alone it would write noise without end."""
    return _save_gemma(tmp_path_factory.mktemp("medgemma-random"), lambda *_: None)


@pytest.fixture(scope="session")
def medgemma_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Gemma 3 that has learnt one answer by heart."""
    return _save_gemma(tmp_path_factory.mktemp("medgemma-tiny"), _learn_by_heart)


def _save_gemma(folder: Path, train: Callable[[Any, Any], None]) -> Path:
    tokenizer = _gemma_tokenizer()
    picture = Gemma3ImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_mean=_HALF, image_std=_HALF, resample=2, do_convert_rgb=True
    )
    processor = Gemma3Processor(
        image_processor=picture, tokenizer=tokenizer, chat_template=_TEMPLATE, image_seq_length=4
    )
    torch.manual_seed(0)
    model = Gemma3ForConditionalGeneration(_gemma_config(tokenizer))
    model.generation_config.eos_token_id = [1, tokenizer.convert_tokens_to_ids("<end_of_turn>")]
    model.generation_config.pad_token_id = 0
    train(model, processor)
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "ainode.json").write_text(json.dumps({"name": "medgemma-tiny", "version": "0", "demo": True}))
    return folder


def _gemma_tokenizer() -> Any:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    pieces = [pre_tokenizers.Split("\u2581", "merged_with_next"), pre_tokenizers.Punctuation("isolated")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(pieces)
    trainer = trainers.BpeTrainer(
        vocab_size=460, special_tokens=[*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))], show_progress=False,
        initial_alphabet=[*map(chr, range(33, 127)), "\u2581", "\n"],
    )
    tokenizer.train_from_iterator([ANSWER] * 5, trainer)
    learnt = json.loads(tokenizer.to_str())["model"]
    named = {"image": "<image_soft_token>", "boi": "<start_of_image>", "eoi": "<end_of_image>"}
    return GemmaTokenizer(
        vocab=learnt["vocab"], merges=[tuple(merge) for merge in learnt["merges"]], model_max_length=512,
        extra_special_tokens={f"{name}_token": token for name, token in named.items()}, chat_template=_TEMPLATE,
    )


def _gemma_config(tokenizer: Any) -> Gemma3Config:
    ids = tokenizer.get_vocab()
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "query_pre_attn_scalar": 16,
        "sliding_window": 512, "sliding_window_pattern": 2, "max_position_embeddings": 512,
        "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
    }
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": SIDE, "patch_size": 8, "vision_use_head": False,
    }
    return Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4, boi_token_index=ids["<start_of_image>"],
        eoi_token_index=ids["<end_of_image>"], image_token_index=ids["<image_soft_token>"],
        eos_token_id=[1, ids["<end_of_turn>"]],
    )


def _learn_by_heart(model: Any, processor: Any) -> None:
    """Descend on one prompt with one answer until greedy decoding repeats it."""
    content = [{"type": "image", "image": Image.new("RGB", (SIDE, SIDE))}, {"type": "text", "text": "Report."}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
    )
    target = processor.tokenizer(ANSWER + "<end_of_turn>", add_special_tokens=False, return_tensors="pt")["input_ids"]
    ids = torch.cat([inputs["input_ids"], target], dim=1)
    types = torch.cat([inputs["token_type_ids"], torch.zeros_like(target)], dim=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(200):
        logits = model(
            input_ids=ids, token_type_ids=types, attention_mask=torch.ones_like(ids),
            pixel_values=inputs["pixel_values"],
        ).logits
        loss = functional.cross_entropy(logits[0, -target.shape[1] - 1 : -1], target[0])
        if loss < 0.02:
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    raise AssertionError(f"the tiny model did not learn its answer (loss {loss.item():.3f})")

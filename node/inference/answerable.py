"""Whether a checkpoint can answer a findings prompt at all; told from its files, without its weights."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoConfig, AutoProcessor, GenerationConfig

from node.domain import FindingsPrompt
from node.errors import ModelUnavailable
from node.inference import wording
from node.inference.answer import schema
from node.inference.chat_prompt import ChatPrompt
from node.inference.checkpoints import manifest
from node.inference.gemma import LONGEST
from node.inference.medgemma import BLANK, untaught
from node.inference.torch_runtime import loading


def needed_tokens(directory: Path, prompt: FindingsPrompt) -> str:
    """How much of its context the longest question of a prompt takes, with its answer, in words.

    Raises:
        ModelUnavailable: it is more than the checkpoint reads, or the checkpoint was not taught such prompts.
    """
    told = manifest(directory)
    if reason := untaught(told.name, told.demo, prompt):
        raise ModelUnavailable(reason)
    with loading(directory):
        processor = AutoProcessor.from_pretrained(directory, backend="pil", local_files_only=True)
        config = AutoConfig.from_pretrained(directory, local_files_only=True)
        generation = GenerationConfig.from_pretrained(directory, local_files_only=True)
    longest = min(LONGEST, config.text_config.max_position_embeddings)
    most = prompt.images.at_most
    asked = wording.asked(prompt, [BLANK] * most, schema(prompt.vocabulary, prompt.answer), prompt.max_new_tokens)
    needed = ChatPrompt(processor, generation).length(asked) + prompt.max_new_tokens
    if needed > longest:
        raise ModelUnavailable(
            f"prompt {prompt.name!r} cannot be answered by {told.name}: {most} images, question and reply need "
            f"{needed} tokens, it reads {longest}; lower images.at_most or max_new_tokens in a copy of the prompt")
    return f"{needed} of {longest} tokens"

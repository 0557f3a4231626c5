"""MedSigLIP: scores images against the prompts of a prompt set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoImageProcessor, SiglipVisionModel

from node.config import TriageModelSection
from node.domain import ImageScore, ModelIdentity, ModelImage, OperatingPoint, Priority, PromptSet, RelevanceMethod
from node.errors import ModelOutputError
from node.inference import operating_points
from node.inference.batching import Turn
from node.inference.checkpoints import ModelKind, manifest, resolve_checkpoint
from node.inference.explainer import SigLIPExplainer
from node.inference.forms import quickest_on_cuda
from node.inference.identity import model_identity, scorer_sha256
from node.inference.operating_points import Calibration
from node.inference.preprocessing import model_pixels, square_side
from node.inference.prompt_vectors import PromptVectors, prompt_vectors
from node.inference.self_test import check_probes, probes
from node.inference.torch_runtime import (
    choose_batch,
    choose_device,
    choose_dtype,
    is_large,
    load_weights,
    loading,
    working_device,
)
from node.inference.tower import Forward, Squares, VisionTower


class MedSigLIP:
    """A SigLIP vision tower with the vectors of one prompt set; implements ``interfaces.TriageModel``.

    A score is the sigmoid of logit(positive) - logit(negative): a rank within its finding, not a probability.
    """

    prompt_set: PromptSet
    identity: ModelIdentity
    operating_points: Mapping[str, OperatingPoint]
    shadow_reason: str
    unvalidated: bool
    takes: int

    def __init__(
        self,
        *,
        tower: Any,
        image_processor: Any,
        vectors: PromptVectors,
        prompt_set: PromptSet,
        identity: ModelIdentity,
        calibration: Calibration,
        max_batch: int,
        forward: Forward | None = None,
        explains: RelevanceMethod | None = RelevanceMethod.OCCLUSION,
    ) -> None:
        self.prompt_set = prompt_set
        self.identity = identity
        self.operating_points = calibration.points
        self.shadow_reason = calibration.shadow_reason
        self.unvalidated = calibration.unvalidated
        self.demo = identity.demo
        self._explains = explains
        self._tower = tower
        self._keys = vectors.keys
        self._contrast = vectors.contrast.cpu()
        # A demo model knows drawn chests and nothing else, so it cannot tell them from other pictures.
        self._gate_keys = () if self.demo or vectors.gate is None else vectors.gate_keys
        self._gate = vectors.gate_logits.cpu() if self._gate_keys else None
        self._side = square_side(image_processor.size)
        self.takes = self._side if prompt_set.resize == "tf" else 0
        mean, std = torch.tensor(image_processor.image_mean), torch.tensor(image_processor.image_std)
        self._vision = VisionTower(tower, mean=mean, std=std, max_batch=max_batch, forward=forward,
                                   name=identity.name)

    @classmethod
    def load(
        cls, section: TriageModelSection, prompt_set: PromptSet, cache_dir: Path, allow_unvalidated: bool
    ) -> MedSigLIP:
        """The configured checkpoint, ready to score. The text tower is loaded only if its vectors are not cached.

        Raises:
            ModelUnavailable: the checkpoint is missing or unusable.
            PromptSetRefused: the prompts do not work with this checkpoint.
            ConfigurationError: device or operating points cannot work.
        """
        directory = resolve_checkpoint(section.checkpoint, ModelKind.TRIAGE)
        described = manifest(directory)
        device = choose_device(section.device, "models.triage.device")
        scorer = scorer_sha256(directory, prompt_set.sha256, cache_dir)
        calibration = operating_points.load(
            directory, prompt_set, scorer, allow_unvalidated, section.operating_points)
        vectors = prompt_vectors(directory, prompt_set, scorer, cache_dir, device)
        with loading(directory):
            image_processor = AutoImageProcessor.from_pretrained(directory, backend="pil", local_files_only=True)
        dtype = choose_dtype(section.dtype, device, directory)
        tower, max_batch = load_weights(SiglipVisionModel, directory, dtype, device), choose_batch(device, directory)
        model = cls(
            tower=tower,
            image_processor=image_processor,
            vectors=vectors,
            prompt_set=prompt_set,
            identity=model_identity(described, scorer, calibration.points),
            calibration=calibration,
            max_batch=max_batch,
            forward=_form(tower, square_side(image_processor.size), max_batch) if is_large(directory) else None,
            explains=described.explain if _explains(section, device, directory) else None,
        )
        if (shown := probes(prompt_set.probes)) is not None:
            check_probes(prompt_set, shown.shows, model.score(shown.images()))
        return model

    def score(self, images: Sequence[ModelImage], priority: Priority = Priority.ROUTINE) -> list[dict[str, float]]:
        """Per image, a score in 0..1 by finding key; raises what :meth:`scored` raises."""
        return [dict(one.scores) for one in self.scored(images, priority)]

    def scored(
        self, images: Sequence[ModelImage], _priority: Priority = Priority.ROUTINE, *,
        acquired_at: float = 0.0, sender: str = "",  # noqa: ARG002 - the order among callers is the batcher's
    ) -> list[ImageScore]:
        """Per image, scores, embedding and gate. Thread-safe. Order among callers is the batcher's concern.

        Raises:
            Undecodable: an image is not a uint8 RGB square.
            ModelOutputError: the model answered with something that is no number.
            DeviceLost: the accelerator does not work any more in this process.
        """
        return self.start([self.prepare(image) for image in images])()

    @property
    def max_batch(self) -> int:
        """How many images fit the device at once; smaller after its memory did not suffice."""
        return self._vision.max_batch

    @property
    def ahead(self) -> int:
        """How many batches may be started while one runs."""
        return self._vision.ahead

    def explainer(self, method: RelevanceMethod | None = None, turn: Turn = nullcontext) -> SigLIPExplainer | None:
        """Relevance maps by the same weights; by the method the checkpoint states, else by occlusion.

        None where ``models.triage.heat_maps`` wants none and no method is asked for.
        """
        chosen = method or self._explains
        return None if chosen is None else SigLIPExplainer(
            vision=self._vision, keys=self._keys, contrast=self._contrast, side=self._side,
            resize=self.prompt_set.resize, identity=self.identity, method=chosen,
            points=self.operating_points, turn=turn,
        )

    def prepare(self, image: ModelImage) -> NDArray[np.uint8]:
        """uint8 (side, side, 3) as the tower takes it; for the caller's own thread, while the device computes.

        Raises:
            Undecodable: the image is not a uint8 RGB square.
        """
        return model_pixels(image, self._side, self.prompt_set.resize)

    def start(self, squares: Squares) -> Callable[[], list[ImageScore]]:
        """Begin to score prepared images; what is given back waits for the answers and raises what they raise."""
        pending = self._vision.start(squares)
        return lambda: self._answers(pending())

    @torch.inference_mode()
    def _answers(self, vectors: Tensor) -> list[ImageScore]:
        """Of normalised float32 image vectors (N, D) on the CPU."""
        if not len(vectors):
            return []
        logits = vectors @ self._contrast
        self._check(logits, vectors)
        gates = self._gate_scores(vectors)
        embeddings = vectors.numpy().astype("<f2")
        return [
            ImageScore(scores=dict(zip(self._keys, row, strict=True)), embedding=embedding.tobytes(), gate=gate)
            for row, embedding, gate in zip(torch.sigmoid(logits).tolist(), embeddings, gates, strict=True)
        ]

    def _gate_scores(self, vectors: Tensor) -> list[dict[str, float]]:
        """Per image, what kind of picture it looks like: 0..1 by domain key, sum 1; empty without a gate."""
        if self._gate is None:
            return [{} for _ in vectors]
        rows = torch.softmax(vectors @ self._gate, dim=-1).cpu().tolist()
        return [dict(zip(self._gate_keys, row, strict=True)) for row in rows]

    def _check(self, logits: Tensor, vectors: Tensor) -> None:
        """What is no number, or no direction, is a failure and never a rank."""
        lengths = vectors.norm(dim=-1)
        if not torch.isfinite(logits).all() or not ((lengths - 1).abs() < 0.01).all():  # NaN fails both
            raise ModelOutputError(f"{self.identity.name}: a score is not a number; set models.triage.dtype to float32")


def _explains(section: TriageModelSection, device: torch.device, directory: Path) -> bool:
    """A map takes hundreds of forward passes: of a large model on a CPU each takes seconds."""
    if section.heat_maps == "auto":
        return device.type != "cpu" or not is_large(directory)
    return section.heat_maps == "always"


def _form(tower: Any, side: int, max_batch: int) -> Forward | None:
    """How a large tower runs quickest on its device; plainly on a CPU, where compiling takes longer than it saves."""
    if tower.device.type != "cuda":
        return None
    with working_device("the trial of forms"):
        return quickest_on_cuda(tower, side, max_batch).forward

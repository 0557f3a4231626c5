"""An accelerator that failed for good ends the process, and the job waits for the next one."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
import torch

from node.domain import JSON
from node.errors import DeviceLost
from node.inference.torch_runtime import working_device
from node.jobs import Queue, Stage, _guarded


def test_an_accelerator_error_is_a_lost_device() -> None:
    with pytest.raises(DeviceLost, match="medsiglip-demo: the device failed"), working_device("medsiglip-demo"):
        raise torch.AcceleratorError("device-side assert triggered\nmore")


def test_a_lost_device_ends_the_process_and_stays_retryable() -> None:
    ended = Mock()

    def work(_arguments: JSON) -> JSON:
        raise DeviceLost("gone")

    stage = Stage(name="triage", queue=Queue.TRIAGE, work=work, commit=Mock(), failed=Mock())
    with pytest.raises(DeviceLost):
        _guarded(stage, ended)({})
    ended.assert_called_once_with()

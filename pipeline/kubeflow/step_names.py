"""Names that the compiled definition and the container of a step share."""

from __future__ import annotations

ENTRY_POINT = ("python", "-m", "pipeline.kubeflow.step")
"""What every container runs."""

IMAGE = "image"
TRAINER_IMAGE = "trainer_image"
"""Parameters of a run."""

CHANNEL = "pipelinechannel--"
"""Begins the name under which KFP's compiler hands a parameter on to a container's image."""

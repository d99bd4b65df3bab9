"""What every Beam step is given: the configuration's options, and where workers find ctnet."""

from __future__ import annotations

from pipeline.config import RunConfig

LOCAL_IMAGE = "ctnet"
"""What deploy/Dockerfile's image is called where it was built; in-process workers need none."""

_CODE_OPTIONS = (
    "--extra_package",
    "--setup_file",
    "--requirements_file",
    "--worker_harness_container_image",
    "--sdk_container_image",
)


def beam_args(config: RunConfig, image: str = LOCAL_IMAGE) -> list[str]:
    """The options, always with one that says where a worker's code comes from.

    Where none is given, TFX packs itself up anew for each step: a second, and 50 MB in the
    temporary folder that nobody removes. A worker needs ctnet as well, and the image has both.

    Args:
      config: checked.
      image: of workers that run in containers.
    """
    given = list(config.beam.args)
    if any(option.startswith(_CODE_OPTIONS) for option in given):
        return given
    return [*given, f"--sdk_container_image={image}"]

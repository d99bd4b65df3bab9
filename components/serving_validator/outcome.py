"""What came of a validation, beside its blessing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from transform.whole_file import write_whole

FILE_NAME = "serving_validation.json"


@dataclasses.dataclass(frozen=True)
class ServingOutcome:
    """The outcome.

    Attributes:
      reason: why the model may not be served, one line; None where it may.
      questions: slices that it was asked about.
      largest_difference: between a served probability and the evaluation's, None where none came.
      median_ms: time of one slice's request, None where none was timed.
    """

    reason: str | None
    questions: int
    largest_difference: float | None = None
    median_ms: float | None = None

    def write(self, folder: str) -> None:
        """Write it whole.

        Raises:
          StorageError: the folder cannot be written.
        """
        write_whole(
            f"{folder}/{FILE_NAME}", json.dumps(dataclasses.asdict(self), indent=1).encode()
        )


def read_outcome(folder: Path) -> ServingOutcome:
    """The outcome in a blessing's folder."""
    return ServingOutcome(**json.loads((folder / FILE_NAME).read_text()))

"""From a file to a stored slice: which reader a file gets is told by its bytes, not its name."""

from transform.reading.slice_file import read_slice
from transform.reading.unusable import Reason, UnusableSliceError

__all__ = ["Reason", "UnusableSliceError", "read_slice"]

"""From a path to stored slices: which reader a file gets is told by its bytes, not its name."""

from transform.reading.found_slice import FileFacts, FoundSlice, ReadingSettings, SliceReading
from transform.reading.slice_pick import SlicePick, parse_slice_pick
from transform.reading.slice_reader import SliceReader, read_slice
from transform.reading.slice_source import find_slices
from transform.reading.unusable import (
    MachineFaultError,
    Reason,
    UnusableSeriesError,
    UnusableSliceError,
)

__all__ = [
    "FileFacts",
    "FoundSlice",
    "MachineFaultError",
    "ReadingSettings",
    "Reason",
    "SlicePick",
    "SliceReader",
    "SliceReading",
    "UnusableSeriesError",
    "UnusableSliceError",
    "find_slices",
    "parse_slice_pick",
    "read_slice",
]

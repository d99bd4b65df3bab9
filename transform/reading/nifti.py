"""Read the axial slices of a NIfTI volume, laid out as DICOM lays them out."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from isal import igzip

from transform.ct_example import StoredSlice
from transform.reading.found_slice import FileFacts, SliceReading
from transform.reading.nifti_header import HEADER_BYTES, NiftiHeader, parse_nifti_header
from transform.reading.plausibility import refuse_implausible
from transform.reading.unusable import MachineFaultError, Reason, UnusableSliceError

GZIP_MAGIC = b"\x1f\x8b"
# So many first bytes of a volume hold its header, compressed or not.
HEAD_BYTES = 4096

# What a compressed volume may take of the disk while its slices are read.
MAX_UNPACKED_BYTES = 16 * 2**30
# RFC 1951: no deflate stream grows to more than this when it is unpacked.
_MAX_DEFLATE_RATIO = 1032
_CHUNK_BYTES = 2**22
# What may follow the voxels of a compressed volume; reading on checks the stream's sum.
_MAX_TAIL_BYTES = 2**20

# Where axial slices do not lie one after another, the file is read once for this many bytes of
# them, and that in blocks of the same size.
_SLAB_BYTES = 2**25

_LARGEST_STORED = int(np.iinfo(np.uint16).max)
# Exact in binary, and 65536 of them hold what a CT spans.
_FINE_STEP = 1 / 16

# Air stands around every patient and in every lung. A slice without anything below fat holds grey
# levels, scaled values, or stored values whose intercept was lost.
NO_AIR_ABOVE_HU = -200.0


def unpacked_head(head: bytes) -> bytes:
    """The first bytes of what a gzip file holds, as far as `head` (its first bytes) tells them.

    Empty where these are no gzip.
    """
    with contextlib.suppress(zlib.error):
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(head, HEADER_BYTES)
    return b""


def _cut_off(path: Path) -> UnusableSliceError:
    return UnusableSliceError(
        Reason.UNREADABLE,
        f"{path} is damaged or cut off: it holds fewer voxels than its header says",
    )


def _skip(source: BinaryIO, count: int) -> None:
    while count > 0 and (chunk := source.read(min(count, _CHUNK_BYTES))):
        count -= len(chunk)


def _unpack(path: Path, header: NiftiHeader) -> BinaryIO:
    """The voxels of a gzipped volume in an unnamed temporary file, which closing removes.

    The header bounds what is written, whatever else the file holds.
    """
    needed = header.voxel_bytes
    if header.offset + needed > _MAX_DEFLATE_RATIO * path.stat().st_size:
        raise _cut_off(path)
    if needed > MAX_UNPACKED_BYTES:
        raise UnusableSliceError(
            Reason.TOO_LARGE, f"{path} unpacks to {needed / 2**30:.0f} GiB, more than a CT volume"
        )
    folder = tempfile.gettempdir()
    if needed > shutil.disk_usage(folder).free:
        raise MachineFaultError(
            f"{path} unpacks to {needed / 2**20:.0f} MiB, and {folder} has no room for them; let "
            "TMPDIR name a folder that has"
        )
    # Closed by whoever closes the volume.
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        with igzip.open(path) as source:
            _skip(source, header.offset)
            left = needed
            while left and (chunk := source.read(min(left, _CHUNK_BYTES))):
                unpacked.write(chunk)
                left -= len(chunk)
            if left:
                raise _cut_off(path)
            _skip(source, _MAX_TAIL_BYTES)
        unpacked.flush()
    except BaseException:
        unpacked.close()
        raise
    return unpacked


def _stored_from_integers(values: np.ndarray) -> tuple[np.ndarray, int] | None:
    """Integers as uint16 and what was taken off them; None where they span more than 16 bit."""
    lowest, highest = int(values.min()), int(values.max())
    base = lowest if lowest < 0 or highest > _LARGEST_STORED else 0
    if highest - base > _LARGEST_STORED or max(-lowest, highest) >= 2**62:
        return None
    return (values.astype(np.int64) - base).astype(np.uint16), base


def _stored_from_hounsfield(hounsfield: np.ndarray, path: Path) -> tuple[np.ndarray, float, float]:
    """Float HU as uint16 with a slope and an intercept, rounded by at most half the slope.

    Whole numbers stay exact; up to a span of 6553 HU the rounding is at most 0.05 HU.
    """
    if not np.isfinite(hounsfield).all():
        raise UnusableSliceError(
            Reason.NOT_FINITE, f"{path} has values that are not finite in the slice"
        )
    base = float(np.floor(hounsfield.min()))
    span = float(hounsfield.max()) - base
    if span > _LARGEST_STORED:
        raise UnusableSliceError(
            Reason.UNSUPPORTED_PIXELS,
            f"{path} has values from {base:g} to {base + span:g}, more than 16 bit",
        )
    whole = bool((hounsfield == np.rint(hounsfield)).all())
    step = 1.0 if whole else max(_FINE_STEP, span / _LARGEST_STORED)
    return np.rint((hounsfield - base) / step).astype(np.uint16), step, base


def _stored_slice(values: np.ndarray, header: NiftiHeader, path: Path) -> StoredSlice:
    slope, intercept = header.slope, header.intercept
    shifted = _stored_from_integers(values) if values.dtype.kind in "iu" else None
    if shifted is not None:
        stored, base = shifted
        intercept += slope * base
    else:
        with np.errstate(all="ignore"):
            hounsfield = values.astype(np.float64) * slope + intercept
        stored, slope, intercept = _stored_from_hounsfield(hounsfield, path)
    return StoredSlice(stored, slope, intercept, calibrated=True, spacing=header.spacing)


def _refuse_without_air(stored_slice: StoredSlice, path: Path) -> None:
    ends = (
        float(end) * stored_slice.slope + stored_slice.intercept
        for end in (stored_slice.stored.min(), stored_slice.stored.max())
    )
    lowest, highest = sorted(ends)
    if lowest > NO_AIR_ABOVE_HU:
        raise UnusableSliceError(
            Reason.NOT_RESCALED,
            f"{path} has values from {lowest:g} to {highest:g} in the slice; in Hounsfield units "
            "air is -1000, so these are others",
        )


class NiftiVolume:
    """One NIfTI volume, whose slices are read one at a time.

    Slices count from the feet to the head, whatever the order in the file. A compressed volume is
    unpacked once, to a temporary file, when its first slice is read.
    """

    def __init__(self, path: Path):
        """Read the header.

        Args:
          path: a .nii or .nii.gz file, told apart by its bytes.

        Raises:
          UnusableSliceError: as `parse_nifti_header`, or the file is cut off.
          OSError: the file cannot be opened.
        """
        self.path = path
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        self._packed = head.startswith(GZIP_MAGIC)
        self._file_bytes = path.stat().st_size
        self.header = parse_nifti_header(unpacked_head(head) if self._packed else head, path)
        if not self._packed and self.header.offset + self.header.voxel_bytes > self._file_bytes:
            raise _cut_off(path)
        self._voxels: BinaryIO | None = None
        self._failure: UnusableSliceError | None = None
        self._slab = (0, np.empty((0, 0, 0)))
        series = hashlib.sha256(str(path.resolve()).encode(errors="surrogateescape"))
        self._series = series.hexdigest()[:16]

    @property
    def slices(self) -> int:
        """Number of axial slices."""
        return self.header.slices

    def close(self) -> None:
        """Close the file, and remove what was unpacked."""
        if self._voxels is not None:
            self._voxels.close()
            self._voxels = None
        self._slab = (0, np.empty((0, 0, 0)))

    def read(self, index: int) -> SliceReading:
        """Read one axial slice, its rows from front to back, its columns from right to left.

        Integers keep their values; floats are rounded as little as 16 bits allow, by 0.05 HU at
        most where the slice spans less than 6553 HU.

        Args:
          index: 0 (at the feet) to `slices` - 1.

        Raises:
          UnusableSliceError: unreadable, too_large, not_finite, unsupported_pixels, too_small,
            constant, implausible_hu or not_rescaled.
        """
        voxels = self._opened()
        stored_slice = _stored_slice(self._plane(voxels, index), self.header, self.path)
        refuse_implausible(stored_slice, self.path)
        _refuse_without_air(stored_slice, self.path)
        facts = FileFacts(
            format="nifti",
            mode=self.header.dtype.name,
            bytes=self._file_bytes,
            series=self._series,
        )
        return SliceReading(stored_slice, facts)

    def _opened(self) -> BinaryIO:
        """The file that holds the voxels."""
        if self._voxels is not None:
            return self._voxels
        # Unpacking a damaged volume again for each of its slices would end in the same.
        if self._failure is not None:
            raise UnusableSliceError(self._failure.reason, self._failure.detail)
        try:
            self._voxels = _unpack(self.path, self.header) if self._packed else self.path.open("rb")
        except UnusableSliceError as error:
            self._failure = error
            raise
        except MachineFaultError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise MachineFaultError(f"no room to unpack {self.path}; see TMPDIR") from error
            self._failure = UnusableSliceError.damaged(self.path, error)
            raise self._failure from error
        return self._voxels

    def _plane(self, voxels: BinaryIO, index: int) -> np.ndarray:
        """Stored values of an axial slice, [rows, columns]."""
        column_axis, row_axis, slice_axis = self.header.axes
        columns_reversed, rows_reversed, slices_reversed = self.header.reversed
        if slices_reversed:
            index = self.slices - 1 - index
        if slice_axis == 2:
            plane = next(self._blocks(voxels, index, 1))[0]
        else:
            plane = self._plane_across(voxels, index, axis=2 - slice_axis)
        # What is left has the axis that is stored slower first.
        if column_axis > row_axis:
            plane = plane.T
        return plane[:: -1 if rows_reversed else 1, :: -1 if columns_reversed else 1]

    def _plane_across(self, voxels: BinaryIO, index: int, axis: int) -> np.ndarray:
        """Stored values at a place along the second or third axis of what `_blocks` yields."""
        first, slab = self._slab
        if not first <= index < first + slab.shape[axis]:
            depth = max(1, _SLAB_BYTES * self.slices // self.header.voxel_bytes)
            first = index // depth * depth
            shape = list(self.header.shape[::-1])
            shape[axis] = min(depth, self.slices - first)
            slab = np.empty(shape, self.header.dtype)
            part = [slice(None)] * 2
            part[axis - 1] = slice(first, first + depth)
            filled = 0
            for block in self._blocks(voxels, 0, self.header.shape[2]):
                slab[filled : filled + len(block)] = block[:, part[0], part[1]]
                filled += len(block)
            self._slab = (first, slab)
        return np.take(slab, index - first, axis=axis)

    def _blocks(self, voxels: BinaryIO, first: int, count: int) -> Iterator[np.ndarray]:
        """Stored values along the third, second and first stored axis, a few of the third each.

        Args:
          voxels: the file.
          first: place along the third stored axis where to begin.
          count: how many places of it to read.
        """
        fast, slow, _ = self.header.shape
        plane = fast * slow
        plane_bytes = plane * self.header.dtype.itemsize
        begin = 0 if self._packed else self.header.offset
        step = max(1, _SLAB_BYTES // plane_bytes)
        for start in range(first, first + count, step):
            depth = min(step, first + count - start)
            voxels.seek(begin + start * plane_bytes)
            values = np.fromfile(voxels, self.header.dtype, depth * plane)
            if values.size < depth * plane:
                raise _cut_off(self.path)
            yield values.reshape(depth, slow, fast)

"""What a NIfTI header says: where the voxels are, what they mean, how they lie in the patient.

NIfTI-1 (nifti1.h of the NIfTI DFWG, 2007) and NIfTI-2 (nifti2.h, 2011), single files only. No text
of a header is read: `descrip`, `aux_file`, `db_name` and extensions may name the patient.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.orientations import io_orientation

from transform.reading.unusable import Reason, UnusableSliceError

# Enough of a file for the header of either version.
HEADER_BYTES = 544

_NIFTI1_MAGIC, _NIFTI1_MAGIC_AT = b"n+1\x00", 344
_NIFTI2_MAGIC, _NIFTI2_MAGIC_AT = b"n+2\x00\r\n\x1a\n", 4
# A header, and the four bytes that say whether extensions follow.
_SMALLEST_OFFSET = {Nifti1Header: 352, Nifti2Header: 544}

# The largest CT matrices are 2048 x 2048; a whole body at 0.2 mm has fewer slices than this.
MAX_SIDE = 4096
MAX_SLICES = 10_000

# Across one pixel of a slice that was cut from a coronal or sagittal acquisition lie many of the
# other direction; what is learned from square pixels does not hold for it.
_MAX_PIXEL_ASPECT = 2.0

# A wider pixel would make a chest of 512 of them 25 m wide.
_MAX_SPACING_MM = 50.0

_REAL_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_OTHER_TYPES = {
    1: "single bits",
    32: "complex numbers",
    128: "RGB colours",
    1536: "128-bit numbers",
    1792: "complex numbers",
    2048: "complex numbers",
    2304: "RGBA colours",
}
# NIfTI-1 `xyzt_units`, the low three bits; 0 (unknown) is millimetres in practice.
_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}

# Axes of nibabel's canonical orientation, and of an axial slice.
_LEFT_RIGHT, _BACK_FRONT, _FEET_HEAD = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class NiftiHeader:
    """A volume that can be read, as its header describes it.

    Attributes:
      shape: voxels along the three axes as they are stored, the first the fastest.
      dtype: of a stored voxel, with its byte order.
      offset: bytes before the first voxel.
      slope: HU per stored value (`scl_slope`).
      intercept: HU of stored value 0 (`scl_inter`).
      axes: which stored axis runs across the columns, the rows, and the slices.
      reversed: which of these run against the order of DICOM's axial slices: columns towards the
        patient's left, rows towards the back, slices towards the head (LPS, PS3.3 C.7.6.2.1.1).
      spacing: mm from one pixel of a slice to the next, the mean of both directions; None where the
        header says what no scanner has.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int
    slope: float
    intercept: float
    axes: tuple[int, int, int]
    reversed: tuple[bool, bool, bool]
    spacing: float | None

    @property
    def slices(self) -> int:
        """Number of axial slices."""
        return self.shape[self.axes[2]]

    @property
    def voxel_bytes(self) -> int:
        """Bytes that all voxels take."""
        return math.prod(self.shape) * self.dtype.itemsize


def is_nifti(head: bytes) -> bool:
    """Whether an uncompressed file that begins with these (348) bytes is a NIfTI volume."""
    return _header_class(head) is not None


def _header_class(head: bytes) -> type[Nifti1Header] | None:
    if head[_NIFTI1_MAGIC_AT : _NIFTI1_MAGIC_AT + len(_NIFTI1_MAGIC)] == _NIFTI1_MAGIC:
        return Nifti1Header
    if head[_NIFTI2_MAGIC_AT : _NIFTI2_MAGIC_AT + len(_NIFTI2_MAGIC)] == _NIFTI2_MAGIC:
        return Nifti2Header
    return None


def _damaged(path: Path, what: str) -> UnusableSliceError:
    return UnusableSliceError(Reason.UNREADABLE, f"{path} is damaged: {what}")


def _shape(header: Nifti1Header, path: Path) -> tuple[int, int, int]:
    dim = [int(size) for size in header["dim"]]
    axes = dim[0]
    if not 1 <= axes <= 7 or any(size < 1 for size in dim[1 : axes + 1]):
        raise _damaged(path, f"its header has the dimensions {dim}")
    sizes = dim[1 : axes + 1] + [1] * (3 - axes)
    if math.prod(sizes[3:]) != 1:
        raise UnusableSliceError(
            Reason.UNSUPPORTED_PIXELS,
            f"{path} holds {math.prod(sizes[3:])} volumes; give each as a file of its own",
        )
    return sizes[0], sizes[1], sizes[2]


def _dtype(header: Nifti1Header, path: Path) -> np.dtype:
    code = int(header["datatype"])
    if code in _REAL_TYPES:
        return np.dtype(_REAL_TYPES[code]).newbyteorder(header.endianness)
    raise UnusableSliceError(
        Reason.UNSUPPORTED_PIXELS,
        f"{path} holds {_OTHER_TYPES.get(code, f'voxels of the unknown type {code}')}; CT has one "
        "integer or floating-point number a voxel",
    )


def _offset(header: Nifti1Header, path: Path) -> int:
    smallest = _SMALLEST_OFFSET[type(header)]
    offset = float(header["vox_offset"])
    if offset == 0:
        return smallest
    if not smallest <= offset <= 2**40 or not offset.is_integer():
        raise _damaged(path, f"its header says that the voxels begin at byte {offset:g}")
    return int(offset)


def _rescale(header: Nifti1Header, path: Path) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    # A slope of 0 says that there is no scaling; nibabel writes NaN for the same.
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0
    if not math.isfinite(intercept):
        raise UnusableSliceError(
            Reason.NOT_RESCALED,
            f"{path} has scl_slope {slope:g} and scl_inter {intercept:g}, so its Hounsfield units "
            "are unknown",
        )
    return slope, intercept


def _affine(header: Nifti1Header, path: Path) -> np.ndarray:
    """Millimetres in the patient (RAS) of a stored index, float64 [4, 4]."""
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        raise UnusableSliceError(
            Reason.NOT_AXIAL,
            f"{path} does not say how it lies in the patient (sform_code and qform_code are 0), "
            "so its axial slices are unknown",
        )
    units = int(header["xyzt_units"]) & 0b111
    scale = np.diag([*[_MILLIMETRES.get(units, 1.0)] * 3, 1.0])
    try:
        return scale @ header.get_best_affine()
    # A quaternion of no rotation.
    except ValueError as error:
        raise _damaged(path, "its quaternion (qform) is no rotation") from error


def parse_nifti_header(head: bytes, path: Path) -> NiftiHeader:
    """Read a header, and refuse what no CT volume says.

    Args:
      head: the first `HEADER_BYTES` of the (uncompressed) file.
      path: the file, for messages.

    Raises:
      UnusableSliceError: unreadable, unsupported_pixels, too_large, not_rescaled or not_axial.
    """
    header_class = _header_class(head)
    if header_class is None or len(head) < header_class.template_dtype.itemsize:
        raise _damaged(path, "it has no whole NIfTI header")
    # nibabel's own checks log what they find, and mend it.
    header = header_class(head[: header_class.template_dtype.itemsize], check=False)
    shape = _shape(header, path)
    dtype = _dtype(header, path)
    slope, intercept = _rescale(header, path)
    with np.errstate(all="ignore"):
        affine = _affine(header, path)
        orientation = (
            io_orientation(affine) if np.isfinite(affine).all() else np.full((3, 2), math.nan)
        )
        voxel_sizes = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if not np.isfinite(orientation).all() or not np.isfinite(voxel_sizes).all():
        raise UnusableSliceError(
            Reason.NOT_AXIAL,
            f"{path} has an affine that maps its voxels to no volume, so its axial slices are "
            "unknown",
        )
    canonical = [int(axis) for axis in orientation[:, 0]]
    axes = (
        canonical.index(_LEFT_RIGHT),
        canonical.index(_BACK_FRONT),
        canonical.index(_FEET_HEAD),
    )
    # nibabel's canonical axes run to the right, the front and the head.
    towards = [orientation[axis, 1] > 0 for axis in axes]
    reversed_ = (bool(towards[0]), bool(towards[1]), not towards[2])
    width, height, slices = (shape[axis] for axis in axes)
    if max(width, height) > MAX_SIDE or slices > MAX_SLICES:
        raise UnusableSliceError(
            Reason.TOO_LARGE,
            f"{path} has {slices} slices of {width} x {height} pixels, more than a CT volume",
        )
    across, along = (float(voxel_sizes[axis]) for axis in axes[:2])
    if max(across, along) > _MAX_PIXEL_ASPECT * min(across, along):
        raise UnusableSliceError(
            Reason.NOT_AXIAL,
            f"{path} has axial slices with pixels of {across:.3g} x {along:.3g} mm: it was not "
            "acquired as axial slices",
        )
    return NiftiHeader(
        shape=shape,
        dtype=dtype,
        offset=_offset(header, path),
        slope=slope,
        intercept=intercept,
        axes=axes,
        reversed=reversed_,
        spacing=(across + along) / 2 if max(across, along) < _MAX_SPACING_MM else None,
    )

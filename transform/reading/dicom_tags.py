"""The allowlist: the only elements of a DICOM header that are ever read.

Every other element is stepped over by its length alone, so no name, date, number or free text of
a patient can come from here. Tags and clauses are those of DICOM PS3.3 and PS3.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Union

TRANSFER_SYNTAX_UID = 0x00020010

IMAGE_TYPE = 0x00080008
FRAME_TYPE = 0x00089007
MODALITY = 0x00080060
PATIENT_ID = 0x00100020
SERIES_INSTANCE_UID = 0x0020000E
INSTANCE_NUMBER = 0x00200013
IMAGE_POSITION = 0x00200032
IMAGE_ORIENTATION = 0x00200037
SAMPLES_PER_PIXEL = 0x00280002
PHOTOMETRIC_INTERPRETATION = 0x00280004
NUMBER_OF_FRAMES = 0x00280008
ROWS = 0x00280010
COLUMNS = 0x00280011
PIXEL_SPACING = 0x00280030
BITS_ALLOCATED = 0x00280100
BITS_STORED = 0x00280101
PIXEL_REPRESENTATION = 0x00280103
PIXEL_PADDING_VALUE = 0x00280120
PIXEL_PADDING_RANGE_LIMIT = 0x00280121
BURNED_IN_ANNOTATION = 0x00280301
RESCALE_INTERCEPT = 0x00281052
RESCALE_SLOPE = 0x00281053
RESCALE_TYPE = 0x00281054
MODALITY_LUT = 0x00283000
LUT_DESCRIPTOR = 0x00283002
MODALITY_LUT_TYPE = 0x00283004
LUT_DATA = 0x00283006

SHARED_GROUPS = 0x52009229
PER_FRAME_GROUPS = 0x52009230
PIXEL_MEASURES = 0x00289110
PLANE_POSITION = 0x00209113
PLANE_ORIENTATION = 0x00209116
PIXEL_VALUE_TRANSFORMATION = 0x00289145
CT_FRAME_TYPE = 0x00189329

EXTENDED_OFFSET_TABLE = 0x7FE00001
FLOAT_PIXEL_DATA = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA = 0x7FE00009
PIXEL_DATA = 0x7FE00010

# What is read of a data set, and what of the items of each sequence; None for a plain element.
Allowlist = Mapping[int, Union["Allowlist", None]]

_RESCALE: Allowlist = {RESCALE_INTERCEPT: None, RESCALE_SLOPE: None, RESCALE_TYPE: None}
_LUT: Allowlist = {LUT_DESCRIPTOR: None, MODALITY_LUT_TYPE: None, LUT_DATA: None}

# PS3.3 C.7.6.16: the functional groups of an Enhanced CT image, or of a legacy converted one.
_FUNCTIONAL_GROUPS: Allowlist = {
    PIXEL_MEASURES: {PIXEL_SPACING: None},
    PLANE_POSITION: {IMAGE_POSITION: None},
    PLANE_ORIENTATION: {IMAGE_ORIENTATION: None},
    PIXEL_VALUE_TRANSFORMATION: {**_RESCALE, MODALITY_LUT: _LUT},
    CT_FRAME_TYPE: {FRAME_TYPE: None},
}

META: Allowlist = {TRANSFER_SYNTAX_UID: None}

DATA_SET: Allowlist = {
    IMAGE_TYPE: None,
    MODALITY: None,
    PATIENT_ID: None,
    SERIES_INSTANCE_UID: None,
    INSTANCE_NUMBER: None,
    IMAGE_POSITION: None,
    IMAGE_ORIENTATION: None,
    SAMPLES_PER_PIXEL: None,
    PHOTOMETRIC_INTERPRETATION: None,
    NUMBER_OF_FRAMES: None,
    ROWS: None,
    COLUMNS: None,
    PIXEL_SPACING: None,
    BITS_ALLOCATED: None,
    BITS_STORED: None,
    PIXEL_REPRESENTATION: None,
    PIXEL_PADDING_VALUE: None,
    PIXEL_PADDING_RANGE_LIMIT: None,
    BURNED_IN_ANNOTATION: None,
    **_RESCALE,
    MODALITY_LUT: _LUT,
    SHARED_GROUPS: _FUNCTIONAL_GROUPS,
    PER_FRAME_GROUPS: _FUNCTIONAL_GROUPS,
    EXTENDED_OFFSET_TABLE: None,
}

# Enough to order the slices of a folder.
SERIES_PLACE: Allowlist = {
    IMAGE_TYPE: None,
    MODALITY: None,
    SERIES_INSTANCE_UID: None,
    INSTANCE_NUMBER: None,
    IMAGE_POSITION: None,
    IMAGE_ORIENTATION: None,
    NUMBER_OF_FRAMES: None,
    SHARED_GROUPS: _FUNCTIONAL_GROUPS,
    PER_FRAME_GROUPS: _FUNCTIONAL_GROUPS,
}

# Enough to tell how many frames a file holds, without walking through their functional groups.
FRAME_COUNT: Allowlist = {NUMBER_OF_FRAMES: None}

# For messages: an element is called by its name, and its value is never repeated.
NAMES: Mapping[int, str] = {
    IMAGE_POSITION: "ImagePositionPatient",
    IMAGE_ORIENTATION: "ImageOrientationPatient",
    SAMPLES_PER_PIXEL: "SamplesPerPixel",
    NUMBER_OF_FRAMES: "NumberOfFrames",
    INSTANCE_NUMBER: "InstanceNumber",
    ROWS: "Rows",
    COLUMNS: "Columns",
    PIXEL_SPACING: "PixelSpacing",
    BITS_ALLOCATED: "BitsAllocated",
    BITS_STORED: "BitsStored",
    PIXEL_REPRESENTATION: "PixelRepresentation",
    PIXEL_PADDING_VALUE: "PixelPaddingValue",
    PIXEL_PADDING_RANGE_LIMIT: "PixelPaddingRangeLimit",
    RESCALE_INTERCEPT: "RescaleIntercept",
    RESCALE_SLOPE: "RescaleSlope",
    LUT_DESCRIPTOR: "LUTDescriptor",
    LUT_DATA: "LUTData",
    EXTENDED_OFFSET_TABLE: "ExtendedOffsetTable",
}

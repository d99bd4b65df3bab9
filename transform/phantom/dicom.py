"""A rendered slice as a DICOM CT Image Storage file (PS3.3 A.3), the same bytes every time."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from transform.phantom.patient import Patient, Scanner
from transform.phantom.render import level_of, pixel_spacing

# Every UID is a UUID under 2.25 (PS3.5 B.2), so no organisation's root is borrowed.
_NAMESPACE = uuid.UUID("6f1d0c52-6c55-5c0e-9a53-1f4c7f0c7a11")
_DESCRIPTION = "SYNTHETIC CT PHANTOM, NOT A PATIENT"


def _uid(*parts: object) -> UID:
    number = uuid.uuid5(_NAMESPACE, "/".join(str(part) for part in parts)).int
    return UID(f"2.25.{number}")


class SeriesWriter:
    """Writes the slices of one patient's series.

    What all slices share is set once; only the position and the pixels change.
    """

    def __init__(self, patient: Patient, slices: int, size: int):
        """Prepare the series.

        Args:
          patient: whose series.
          slices: how many slices it has.
          size: rows and columns of each.
        """
        self._patient = patient
        self._slices = slices
        self._size = size
        # Pixels differ with each of these, and two different images never share a UID.
        self._name = (patient.seed, patient.number, patient.severity, slices, size)
        self._dataset = _series(patient, size, self._name)

    def write(self, path: Path, index: int, hu: np.ndarray) -> None:
        """Write one slice as Explicit VR Little Endian.

        Args:
          path: the file, replaced where it exists.
          index: 0 (nearest the head) to `slices` - 1.
          hu: int16 [size, size], HU within -1024..3071.

        Raises:
          ValueError: `hu` has another shape.
          OSError: the file cannot be written.
        """
        if hu.shape != (self._size, self._size):
            raise ValueError(f"hu is {hu.shape}, the series {self._size} x {self._size}")
        dataset, body = self._dataset, self._patient.anatomy
        spacing = pixel_spacing(body, self._size)
        corner = -0.5 * (self._size - 1) * spacing
        height = -level_of(index, self._slices) * body.lung_height
        instance = _uid("instance", *self._name, index)
        dataset.file_meta.MediaStorageSOPInstanceUID = instance
        dataset.SOPInstanceUID = instance
        dataset.InstanceNumber = index + 1
        dataset.ImagePositionPatient = [round(corner, 4), round(corner, 4), round(height, 4)]
        dataset.SliceLocation = round(height, 4)
        dataset.PixelData = stored_values(hu, self._patient.scanner).tobytes()
        dataset.save_as(path, enforce_file_format=True)


def stored_values(hu: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Undo the modality LUT, stored = HU - intercept with a slope of 1 (PS3.3 C.11.1.1.2).

    Args:
      hu: int16, HU within -1024..3071.
      scanner: how the patient's slices are stored.

    Returns:
      little-endian int16 where the scanner stores signed values, else uint16; the shape of `hu`.
    """
    return (hu - np.int16(scanner.intercept)).astype("<i2" if scanner.signed else "<u2")


def _series(patient: Patient, size: int, name: tuple[object, ...]) -> Dataset:
    scanner, body = patient.scanner, patient.anatomy
    dataset = Dataset()
    dataset.file_meta = _file_meta()

    dataset.SpecificCharacterSet = "ISO_IR 100"
    # Not made from other images, but not of a patient either: no reader may take it for ORIGINAL.
    dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    dataset.SOPClassUID = CTImageStorage
    dataset.SyntheticData = "YES"
    date = patient.study_date.strftime("%Y%m%d")
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = date
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "120000"
    dataset.AccessionNumber = ""
    dataset.Modality = "CT"
    dataset.Manufacturer = "ctnet (synthetic phantom)"
    dataset.ManufacturerModelName = "transform.phantom"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = _DESCRIPTION
    dataset.SeriesDescription = _DESCRIPTION
    dataset.DerivationDescription = "Drawn by ctnet phantom from a random seed"

    dataset.PatientName = f"Phantom^{patient.number:05d}"
    dataset.PatientID = patient.id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = patient.sex
    dataset.PatientAge = f"{patient.age:03d}Y"

    dataset.BodyPartExamined = "CHEST"
    dataset.SliceThickness = scanner.slice_thickness
    dataset.KVP = scanner.kvp
    dataset.ConvolutionKernel = scanner.kernel
    dataset.PatientPosition = "HFS"

    dataset.StudyInstanceUID = _uid("study", *name)
    dataset.SeriesInstanceUID = _uid("series", *name)
    dataset.StudyID = "1"
    dataset.SeriesNumber = 1
    dataset.AcquisitionNumber = 1
    dataset.FrameOfReferenceUID = _uid("frame", *name)
    dataset.PositionReferenceIndicator = ""
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]

    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = dataset.Columns = size
    spacing = round(pixel_spacing(body, size), 6)
    dataset.PixelSpacing = [spacing, spacing]
    dataset.BitsAllocated = 16
    dataset.BitsStored = scanner.bits_stored
    dataset.HighBit = scanner.bits_stored - 1
    dataset.PixelRepresentation = int(scanner.signed)
    dataset.BurnedInAnnotation = "NO"
    dataset.RescaleIntercept = scanner.intercept
    dataset.RescaleSlope = 1
    dataset.RescaleType = "HU"
    dataset.WindowCenter = -300
    dataset.WindowWidth = 1400
    dataset.LossyImageCompression = "00"
    return dataset


def _file_meta() -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    # Ours and not pydicom's, whose version would change the bytes.
    meta.ImplementationClassUID = _uid("implementation")
    meta.ImplementationVersionName = "CTNET_PHANTOM"
    return meta

"""What an ingestion leaves for an inspection, small, with real files."""

import json

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from pipeline.inspection import gather


class Job:
    """The folder of an ingestion, filled line by line."""

    def __init__(self, folder):
        self.folder = folder / "job"
        self.files = folder / "files"
        self.folder.mkdir()
        self.files.mkdir()
        for name in ("accepted", "quarantine", "duplicates", "leaks"):
            (self.folder / f"{name}.jsonl").touch()

    def _line(self, name, values):
        with (self.folder / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def accept(self, name, **values):
        row = {
            "id": name,
            "path": name,
            "frame": None,
            "label": 1,
            "split": "train",
            "patient_id": "p",
            "source": "",
            "format": "png",
            "mode": "L",
            "bytes": 1000,
            "height": 64,
            "width": 64,
            "spacing": None,
            "calibrated": False,
            "min_hu": -1000.0,
            "mean_hu": -400.0,
            "max_hu": 400.0,
            "std_hu": 300.0,
            "lung_fraction": 0.3,
            "sharpness": 1.0,
            "noise": 1.0,
        }
        self._line("accepted", row | values)

    def quarantine(self, name, reason, detail="", **values):
        row = {"id": name, "path": name, "reason": reason, "detail": detail}
        self._line("quarantine", row | values)

    def duplicate(self, names, labels=None, splits=None, patients=None):
        labels = labels or ["1"] * len(names)
        self._line(
            "duplicates",
            {
                "ids": names,
                "paths": names,
                "frames": [None] * len(names),
                "labels": labels,
                "splits": splits or ["train"] * len(names),
                "patients": patients or ["p"] * len(names),
                "conflict": len(set(labels)) > 1,
            },
        )

    def leak(self, patients, bound_by="patient", **slices):
        values = {
            "bound_by": bound_by,
            "splits": sorted(slices),
            "patients": patients,
            "slices": slices,
            "first_ids": {},
        }
        self._line("leaks", values)

    def accept_all_classes_and_splits(self):
        for split in ("train", "eval", "test"):
            for label in (0, 1):
                name = f"{split}{label}"
                self.accept(name, split=split, label=label, patient_id=name)

    def picture(self, name, colour=None):
        grey = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
        image = Image.fromarray(grey)
        if colour:
            image = image.convert("RGB")
            image.paste(colour, (20, 10, 44, 34))
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, format="PNG")
        return name

    def dicom(self, name):
        dataset = pydicom.Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
        dataset.Modality, dataset.PhotometricInterpretation = "CT", "MONOCHROME2"
        dataset.PatientName = "PLANTED^NAME"
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 48, 64, 1
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 1
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
        # Air on the left, bone on the right.
        stored = np.tile(np.repeat(np.array([-1000, 400], np.int16), 32), (48, 1))
        dataset.PixelData = stored.tobytes()
        dataset.save_as(self.files / name, enforce_file_format=True)
        return name

    def gather(self, **values):
        settings = {"window": (-1000.0, 400.0), "base": self.files} | values
        return gather(self.folder, **settings)


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path)

"""What `ctnet predict` does: ask about slices, write results as they come, draw overlays."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, TextIO

from components.ct_example_gen.patient_ids import ENVIRONMENT, KEY_BYTES, load_key, pseudonym
from pipeline.ingest_settings import KEY_VARIABLE
from pipeline.prediction.output import (
    OVERLAY,
    OutputFormat,
    Record,
    patient_writer,
    slice_writer,
)
from pipeline.prediction.results_file import Results, results_file
from serving.client import Client
from serving.client_tls import Tls
from serving.overlay import OverlayFolder
from serving.patient import Patient
from serving.patient_result import PatientMeans, PatientResult
from serving.slice_result import ExplainedSlice, SliceResult
from transform.errors import ConfigError
from transform.printable import printable
from transform.reading import SlicePick


@dataclasses.dataclass(frozen=True)
class PredictRequest:
    """What is asked, of whom, and where the answers go.

    Attributes:
      inputs: files, folders and volumes.
      server: host:port.
      model_name: the model to ask for.
      version: which version of it; None leaves it to the server.
      version_label: the same by the label that the server's configuration gives it.
      slices: which slices of a volume or series.
      batch_size: the most slices a request.
      timeout: seconds a request, retries included.
      retries: of a request that was answered with UNAVAILABLE.
      tls: how to encrypt; None for no encryption.
      form: an OutputFormat, or `output.JSON`.
      patients: whether patients' results are wanted: below the slices in a table, else instead.
      keep_patient_ids: whether DICOM patient ids are written as they are, not as hashes.
      explain: the folder of overlays; None to predict only.
      output: the file of the results; None for standard output.
    """

    inputs: Sequence[Path]
    server: str
    model_name: str
    slices: SlicePick
    batch_size: int
    timeout: float
    retries: int
    version: int | None = None
    version_label: str | None = None
    tls: Tls | None = None
    form: str = OutputFormat.TABLE
    patients: bool = False
    keep_patient_ids: bool = False
    explain: Path | None = None
    output: Path | None = None


class Watcher(Protocol):
    """Is told how it goes."""

    def found(self, slices: int) -> None:
        """So many more slices are going to be asked about."""

    def answered(self) -> None:
        """One slice more is done, predicted or not."""

    def asked_all(self) -> None:
        """No more slices come."""

    def warned(self, line: str) -> None:
        """A slice failed, or there is something else that whoever reads the results should know."""


class PatientNames:
    """What patients are called in results.

    An id of a DICOM header becomes the hash that ctnet's own artifacts have for it under the key
    in CTNET_PATIENT_KEY; without that key, one that holds for this run only.
    """

    def __init__(self, *, keep: bool):
        """Fetch the key.

        Args:
          keep: whether ids stay as they are.

        Raises:
          ConfigError: the key is too short.
        """
        self._keep = keep
        given = bool(os.environ.get(KEY_VARIABLE))
        # Ids of hospitals are few enough to be guessed, were they hashed without a key.
        self._key = (
            load_key(ENVIRONMENT + KEY_VARIABLE) if given else secrets.token_bytes(KEY_BYTES)
        )

    def of(self, patient: Patient) -> str:
        """The name of one patient."""
        if patient.in_header and not self._keep:
            return pseudonym(patient.id, self._key)
        return _encodable(patient.id)


def _encodable(text: str) -> str:
    """Text that every stream can hold: a byte of a file's name that is no UTF-8 is coded."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _slice_record(result: SliceResult, names: PatientNames) -> dict[str, str | int | float | None]:
    prediction = result.prediction
    return {
        "path": _encodable(str(result.path)),
        "slice": result.number,
        "patient": names.of(result.patient) if result.patient else None,
        "probability": prediction.probability if prediction else None,
        "decision": prediction.decision if prediction else None,
        "threshold": prediction.threshold if prediction else None,
        "error": _encodable(result.error) if result.error else None,
    }


def _patient_record(result: PatientResult, names: PatientNames) -> Record:
    return {
        "path": _encodable(str(result.path)),
        "patient": names.of(result.patient),
        "probability": result.probability,
        "decision": result.decision,
        "threshold": result.threshold,
        "slices": result.slices,
        "failed": result.failed,
        "series": result.series,
    }


def _is_within(path: Path, folder: Path) -> bool:
    """Whether a path is a folder, or lies in it, by whatever names; a file has nothing within."""
    try:
        return folder.is_dir() and path.resolve().is_relative_to(folder.resolve())
    except OSError:
        return False


def _check_overlay_folder(explain: Path, inputs: Sequence[Path]) -> None:
    """Refuse overlays where slices are looked for: another run would take them for some.

    Raises:
      ConfigError: the folder is one of the inputs, or in one.
    """
    for folder in inputs:
        if _is_within(explain, folder):
            raise ConfigError(
                f"{explain}: is in {folder}, where overlays would be taken for slices to predict; "
                "name a folder elsewhere with --explain"
            )


def _answers(client: Client, request: PredictRequest, watcher: Watcher) -> Iterator[ExplainedSlice]:
    def warned(line: str) -> None:
        watcher.warned(printable(_encodable(line)))

    if request.explain is not None:
        return client.explain_files(
            request.inputs,
            request.batch_size,
            slices=request.slices,
            found=watcher.found,
            warned=warned,
        )
    predicted = client.predict_files(
        request.inputs,
        request.batch_size,
        slices=request.slices,
        found=watcher.found,
        warned=warned,
    )
    return (ExplainedSlice(result) for result in predicted)


def _write_patients(
    results: Sequence[PatientResult],
    request: PredictRequest,
    stream: TextIO,
    names: PatientNames,
    watcher: Watcher,
) -> None:
    writer = patient_writer(request.form, stream)
    if request.form == OutputFormat.TABLE:
        stream.write("\n")
    for result in results:
        writer.add(_patient_record(result, names))
        if result.patient.in_header and result.series > 1:
            name = printable(names.of(result.patient))
            watcher.warned(
                f"patient {name}: slices of {result.series} series were averaged; where they are of"
                " several people or days, ask about each series alone"
            )
    writer.finish()
    mixed = [one for one in results if one.pictures > 1 and not one.patient.in_header]
    if mixed:
        others = f"; so were those of {len(mixed) - 1} more" if len(mixed) > 1 else ""
        watcher.warned(
            f"{printable(_encodable(str(mixed[0].path)))}: its {mixed[0].pictures} pictures name "
            f"no patient and were averaged as one{others}"
        )


def predict(request: PredictRequest, watcher: Watcher) -> bool:
    """Ask about all slices, and write every result.

    Where the run ends early, the slices that were answered are written first: to standard output,
    or to the unfinished file that `results_file` keeps. Patients' results are not, because slices
    would be missing from them.

    Args:
      request: what to ask.
      watcher: is told how it goes.

    Returns:
      Whether every slice was predicted.

    Raises:
      ConfigError: the address, the files of TLS, the output or the folder of overlays cannot be
        used.
      CtnetError: the server cannot answer, or the model cannot explain.
    """
    names = PatientNames(keep=request.keep_patient_ids)
    only_patients = request.patients and request.form != OutputFormat.TABLE
    means = PatientMeans()
    asked = failed = 0
    with (
        Client(
            request.server,
            model_name=request.model_name,
            version=request.version,
            version_label=request.version_label,
            timeout=request.timeout,
            tls=request.tls,
            retries=request.retries,
        ) as client,
        contextlib.ExitStack() as stack,
    ):
        if request.explain is not None:
            _check_overlay_folder(request.explain, request.inputs)
        results = Results(sys.stdout)
        if request.output is not None:
            results = stack.enter_context(
                results_file(request.output, lambda line: watcher.warned(printable(line)))
            )
        overlays = OverlayFolder(request.explain) if request.explain is not None else None
        writer = slice_writer(
            request.form,
            results.stream,
            explained=overlays is not None,
            patients=request.patients,
        )
        try:
            for one in _answers(client, request, watcher):
                record = _slice_record(one.result, names)
                if overlays is not None:
                    drawn = overlays.write(one)
                    record[OVERLAY] = _encodable(str(drawn)) if drawn else None
                if not only_patients:
                    writer.add(record)
                if request.patients:
                    means.add(one.result)
                asked += 1
                if one.result.error:
                    failed += 1
                    watcher.warned(printable(_encodable(one.result.error)))
                else:
                    results.answered += 1
                watcher.answered()
        # What was answered before the server, or the user's patience, went away is worth having.
        except BaseException:
            watcher.asked_all()
            if results.answered and not only_patients:
                with contextlib.suppress(OSError):
                    writer.finish()
            raise
        watcher.asked_all()
        if not only_patients:
            writer.finish()
        if request.patients:
            _write_patients(means.results(), request, results.stream, names, watcher)
    if request.explain is not None and failed < asked:
        watcher.warned(f"the overlays are in {printable(_encodable(str(request.explain)))}")
    if failed:
        were = "was" if failed == 1 else "were"
        watcher.warned(f"{failed} of {asked} slices {were} not predicted")
    return not failed

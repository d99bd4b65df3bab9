"""COVID-CT (Zhao, Zhang, He, Xie 2020, arXiv 2003.13865): from its folders to a manifest.

What the data set says is kept, and two things in it deserve to be known before a model is judged
by it: `CT_COVID` also holds slices that its own captions call controls (bacterial pneumonia,
tuberculosis, heart failure, scans of 2017), and at least two pictures stand in it twice, as
`kjr-21-e24-p5-29.png` and `-31.png` (positive, test) and as `71%0.jpg` and `71%1.jpg` (negative,
train).
"""

import csv
import io
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from transform.errors import ConfigError

_COLUMNS = ("path", "label", "patient_id", "split", "age", "sex", "source")
_SPLITS = {"train": "train", "eval": "val", "test": "test"}
_SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}
_NO_PATIENT = {"", "?", "-", "na", "n/a", "nan", "none", "null", "unknown"}
_OLDEST = 120

_IMAGE_SUFFIX = re.compile(r"\.(png|jpe?g)$", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)
_DOI = re.compile(r"(?:https?://(?:dx\.)?doi\.org/|doi:)?(10\.\d{4,9}/\S+)", re.IGNORECASE)
# bioRxiv and medRxiv name a paper's file by the end of its DOI; pNN is the page it was cut from.
_PREPRINT = re.compile(r"(\d{4}\.\d{2}\.\d{2}\.\d{6,8})-p\d+", re.ASCII)
_COLLECTION = re.compile(r"(.+)_patient_\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Prepared:
    """What `prepare_covid_ct` wrote.

    Attributes:
        manifest: the CSV that was written.
        rows: how many slices it lists.
        by_split_and_label: slices by `train`, `eval`, `test` and `positive`, `negative`.
        patients: patients by `positive`, `negative`.
        notes: a line for each thing that could not be read or that contradicts itself, with the
            file and the row (the header is row 1).
    """

    manifest: Path
    rows: int
    by_split_and_label: dict[str, dict[str, int]]
    patients: dict[str, int]
    notes: list[str]


@dataclass(frozen=True)
class _Group:
    """Where the slices of one label are, and what the columns of their table are called."""

    name: str
    label: int
    folder: str
    lists: str
    table: str
    file_column: str
    patient_column: str
    other_columns: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        return self.lists.rsplit("/", 1)[-1].casefold()

    def list_of(self, split: str) -> str:
        return f"{self.lists}/{_SPLITS[split]}{self.folder.rsplit('/', 1)[-1]}.txt"


_GROUPS = (
    _Group(
        name="positive",
        label=1,
        folder="images/CT_COVID",
        lists="splits/COVID",
        table="COVID-CT-MetaInfo.csv",
        file_column="File name",
        patient_column="Patient ID",
        other_columns=("Age", "Gender", "DOI"),
    ),
    _Group(
        name="negative",
        label=0,
        folder="images/CT_NonCOVID",
        lists="splits/NonCOVID",
        table="NonCOVID-CT-MetaInfo.csv",
        file_column="image name",
        patient_column="patient id",
    ),
)


@dataclass(frozen=True)
class _Listed:
    """A line of a split's list; `where` names the file and the row for a note."""

    name: str
    split: str
    where: str


@dataclass(frozen=True)
class _Record:
    """A row of a patient table, its cells by column without padding."""

    where: str = ""
    cells: dict[str, str] = field(default_factory=dict)


def prepare_covid_ct(root: Path, out: Path) -> Prepared:
    """Writes the manifest of the COVID-CT data set with its official split.

    The manifest's columns are `path,label,patient_id,split,age,sex,source`:

    - `path`: relative to the manifest's folder where `root` lies inside it, so that both can be
      moved together; else absolute, so that it holds through symbolic links.
    - `label`: 1 for `CT_COVID`, 0 for `CT_NonCOVID`, as the data set says.
    - `patient_id`: the data set's own name, folded to lower case and `_`, after `covid/` or
      `noncovid/` so that the two tables cannot name the same person by accident:
      `covid/patient_1`, `noncovid/medpix_patient_2`. An image without a patient in its table
      becomes a patient of its own, `covid/image/NAME`, with a note.
    - `split`: `train`, `eval` (the data set's `val`) or `test`.
    - `age` in years, `sex` as M or F; empty where the table does not say or cannot be read.
    - `source`: the DOI of the paper that a slice was cut from, out of the table or, for a
      preprint, out of the file name; for negatives the collection in the patient's name
      (`crawled`, `medpix`); else empty.

    Names in the lists, in the tables and on disk may differ in padding, case and extension. A
    listed image that is not on disk keeps its row, so that ingestion quarantines it; an image in
    no list is left out. Both get a note.

    Args:
        root: the folder with `images/`, `splits/` and the two patient tables.
        out: the CSV to write; it is replaced as a whole or not at all.

    Returns:
        What was written and what could not be read.

    Raises:
        ConfigError: `root` lacks the layout or cannot be read, or `out` cannot be written.
    """
    root, out = Path(root), Path(out)
    if out.is_dir():
        raise ConfigError(f"cannot write {out}: it is a folder; name a CSV file with --out")
    _require_layout(root)
    notes: list[str] = []
    rows: list[dict[str, str]] = []
    counts = {split: {group.name: 0 for group in _GROUPS} for split in _SPLITS}
    patients = {}
    base = _path_from(out.parent, root)
    try:
        for group in _GROUPS:
            found = _rows_of(group, root, base, notes)
            rows += found
            for row in found:
                counts[row["split"]][group.name] += 1
            patients[group.name] = len({row["patient_id"] for row in found})
    except OSError as error:
        raise ConfigError(
            f"cannot read {error.filename}: {error.strerror}; make it readable and try again"
        ) from error
    if not rows:
        raise ConfigError(
            f"the lists in {root / 'splits'} name no image; copy them from the data set again"
        )
    _write(rows, out)
    return Prepared(out, len(rows), counts, patients, notes)


def _require_layout(root: Path) -> None:
    missing = [] if root.is_dir() else ["the folder itself"]
    if not missing:
        for group in _GROUPS:
            if not (root / group.folder).is_dir():
                missing.append(f"{group.folder}/")
            files = [group.table, *(group.list_of(split) for split in _SPLITS)]
            missing += [name for name in files if not (root / name).is_file()]
    if missing:
        raise ConfigError(
            f"{root} is not the COVID-CT data set: it lacks {', '.join(missing)}; get "
            "UCSD-AI4H/COVID-CT from GitHub, unpack the archives in its Images-processed as "
            "images/, put its Data-split as splits/, and the two patient tables as CSV beside them"
        )


def _path_from(folder: Path, root: Path) -> Path:
    here, there = Path(os.path.realpath(folder)), Path(os.path.realpath(root))
    # A path through ".." means another place when the manifest's folder is reached by a link.
    return there.relative_to(here) if there.is_relative_to(here) else there


def _rows_of(group: _Group, root: Path, base: Path, notes: list[str]) -> list[dict[str, str]]:
    listed = _listed(group, root, notes)
    on_disk = [path.name for path in (root / group.folder).iterdir() if path.is_file()]
    files = _match(listed, on_disk)
    records = _records(group, root, notes)
    described = _match(listed, records)

    rows = []
    for name, entry in listed.items():
        file = files.get(name)
        if file is None:
            notes.append(
                f"{entry.where}: {name!r} is not in {group.folder}: "
                "its row is kept, so that ingestion quarantines it"
            )
        elif _folded(file) != _folded(name):
            notes.append(f"{entry.where}: {name!r} is not in {group.folder}: took {file!r}")
        record = records[described[name]] if name in described else _Record()
        if record.where and _folded(described[name]) != _folded(name):
            notes.append(f"{record.where}: {described[name]!r} was read as {name!r}")
        rows.append(
            {
                "path": (base / group.folder / (file or name)).as_posix(),
                "label": str(group.label),
                "patient_id": _patient(name, record, group, notes),
                "split": entry.split,
                "age": _age(record, notes),
                "sex": _sex(record, notes),
                "source": _source(name, record, group, notes),
            }
        )
    for name in sorted(set(on_disk) - set(files.values())):
        if _IMAGE_SUFFIX.search(name.strip()) and not name.startswith("."):
            notes.append(f"{group.folder}/{name!r} is in no list of {group.lists}: left out")
    _note_contradictions(rows, group, notes)
    return rows


def _listed(group: _Group, root: Path, notes: list[str]) -> dict[str, _Listed]:
    listed: dict[str, _Listed] = {}
    for split in _SPLITS:
        file = group.list_of(split)
        for number, line in enumerate(io.StringIO(_text(root, file, notes), newline=None), start=1):
            name, where = line.strip(), f"{file} row {number}"
            if not name:
                continue
            if "/" in name or "\0" in name:
                notes.append(f"{where}: {name!r} is not the name of a file: left out")
            elif name in listed:
                first = listed[name].where
                notes.append(f"{where}: {name!r} stands in {first} already: left out here")
            else:
                listed[name] = _Listed(name, split, where)
    return listed


def _records(group: _Group, root: Path, notes: list[str]) -> dict[str, _Record]:
    table = csv.reader(io.StringIO(_text(root, group.table, notes), newline=""))
    try:
        lines = list(table)
    except csv.Error as error:
        raise ConfigError(
            f"{root / group.table} line {table.line_num} cannot be read as CSV ({error}); "
            "copy it from the data set again"
        ) from error
    header = [_folded(cell) for cell in lines[0]] if lines else []
    places = {}
    for column in (group.file_column, group.patient_column, *group.other_columns):
        if _folded(column) in header:
            places[column] = header.index(_folded(column))
        elif column in group.other_columns:
            notes.append(f"{group.table} row 1: there is no column {column!r}: left empty")
        else:
            raise ConfigError(
                f"{root / group.table} has no column {column!r}; copy it from the data set again"
            )

    records: dict[str, _Record] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in line):
            continue
        cells = {
            column: " ".join(line[place].split()) if place < len(line) else ""
            for column, place in places.items()
        }
        where, name = f"{group.table} row {number}", cells[group.file_column]
        if not name:
            notes.append(f"{where}: there is no file name: left out")
        elif name in records:
            notes.append(f"{where}: {name!r} stands in {records[name].where} already: left out")
        else:
            records[name] = _Record(where, cells)
    return records


def _text(root: Path, name: str, notes: list[str]) -> str:
    data = (root / name).read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        notes.append(f"{name} row {row}: it is not UTF-8: the file was read as Latin-1")
        return data.decode("latin-1")


def _match(wanted: Iterable[str], present: Iterable[str]) -> dict[str, str]:
    """Pairs names with the names they mean; a looser reading only takes what is still free.

    `14.jpg` and `14.png` can be two different slices, so an extension is overlooked last and only
    where one name alone is left on each side.
    """
    left, free = list(wanted), list(present)
    pairs: dict[str, str] = {}
    readings: tuple[Callable[[str], str], ...] = (str, _folded, _without_suffix)
    for reading in readings:
        candidates = defaultdict(list)
        for name in free:
            candidates[reading(name)].append(name)
        asked = Counter(map(reading, left))
        for name in left:
            meant = candidates.get(reading(name), [])
            if len(meant) == 1 and asked[reading(name)] == 1:
                pairs[name] = meant[0]
        taken = set(pairs.values())
        left = [name for name in left if name not in pairs]
        free = [name for name in free if name not in taken]
    return pairs


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", " ".join(name.split())).casefold()


def _without_suffix(name: str) -> str:
    return _IMAGE_SUFFIX.sub("", _folded(name))


def _patient(name: str, record: _Record, group: _Group, notes: list[str]) -> str:
    cell = _folded(record.cells.get(group.patient_column, ""))
    if cell not in _NO_PATIENT:
        return f"{group.prefix}/{cell.replace(' ', '_')}"
    what = "has no patient" if record.where else f"has no row for {name!r}"
    notes.append(f"{record.where or group.table}: it {what}: the image is a patient of its own")
    return f"{group.prefix}/image/{name}"


def _age(record: _Record, notes: list[str]) -> str:
    cell = record.cells.get("Age", "")
    if not cell:
        return ""
    if not _NUMBER.fullmatch(cell):
        notes.append(f"{record.where}: age {cell!r} is not a number: left empty")
        return ""
    if float(cell) > _OLDEST:
        notes.append(f"{record.where}: age {cell!r} is over {_OLDEST}: left empty")
        return ""
    return f"{float(cell):g}"


def _sex(record: _Record, notes: list[str]) -> str:
    cell = record.cells.get("Gender", "")
    if cell and cell.casefold() not in _SEXES:
        notes.append(f"{record.where}: sex {cell!r} is neither M nor F: left empty")
    return _SEXES.get(cell.casefold(), "")


def _source(name: str, record: _Record, group: _Group, notes: list[str]) -> str:
    cell = record.cells.get("DOI", "")
    # Some DOIs of the table were broken by a blank after the slash.
    if doi := _DOI.fullmatch(cell.replace(" ", "")):
        return doi[1]
    if cell:
        notes.append(f"{record.where}: {cell!r} is not a DOI: it is not used as the source")
    if preprint := _PREPRINT.match(name):
        return f"10.1101/{preprint[1]}"
    patient = record.cells.get(group.patient_column, "")
    if collection := _COLLECTION.fullmatch(patient):
        return collection[1].casefold()
    if record.where:
        notes.append(f"{record.where}: nothing says where {name!r} is from: source left empty")
    return ""


def _note_contradictions(rows: list[dict[str, str]], group: _Group, notes: list[str]) -> None:
    by_patient = defaultdict(list)
    for row in rows:
        by_patient[row["patient_id"]].append(row)
    for patient, slices in by_patient.items():
        ages = sorted({float(row["age"]) for row in slices if row["age"]})
        sexes = sorted({row["sex"] for row in slices if row["sex"]})
        # A patient followed over a birthday is one year older in later slices.
        if len(sexes) > 1 or (ages and ages[-1] - ages[0] > 1):
            said = ", ".join([*(f"{age:g}" for age in ages), *sexes])
            notes.append(
                f"{group.table}: {patient!r} has more than one age or sex ({said}): "
                "perhaps several people, kept as one patient"
            )
        splits = [split for split in _SPLITS if any(row["split"] == split for row in slices)]
        if len(splits) > 1:
            notes.append(
                f"{group.lists}: {patient!r} is in {' and '.join(splits)}: a run stops at a "
                "patient in two splits, so correct the lists"
            )


def _write(rows: list[dict[str, str]], out: Path) -> None:
    partial = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}; choose another --out") from error

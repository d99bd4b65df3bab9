"""Groups: patients, bound together by near-identical slices; no split may cut one.

Slices in quarantine bind nothing. One picture under two labels is a conflict: as a rule all its
slices go to quarantine first, so that they bind no patients either.

A reference set is the test split whatever the data is: no slice of the data moves one of it out,
and of a group with a patient in it only the reference set stays.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

import apache_beam as beam

from components.ct_example_gen import outcome
from components.ct_example_gen.augmented_copies import MakeCopies
from components.ct_example_gen.findings import DuplicateGroup, Leak
from components.ct_example_gen.near_duplicates.clusters import ClusterPairs
from components.ct_example_gen.settings import (
    DROP_FROM_TRAIN,
    QUARANTINE,
    IngestSettings,
    SplitBy,
)
from components.ct_example_gen.slice_record import (
    COUNTED,
    QUARANTINED,
    SliceRecord,
    to_quarantine,
)
from components.ct_example_gen.splitting import hashed_split
from transform.reading import Reason

DUPLICATES = "duplicates"
"""Tag of the DuplicateGroups."""

LEAKS = "leaks"
"""Tag of the Leaks."""

_SHOWN_A_SPLIT = 3


def _cluster_of(record: SliceRecord, clusters: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    if record.id in clusters:
        yield clusters[record.id], record


def _conflicting(cluster_and_labels: tuple[str, Iterable[str]]) -> Iterator[str]:
    cluster, labels = cluster_and_labels
    if len(set(labels) - {""}) > 1:
        yield cluster


def _find_conflicts(clustered: beam.PCollection, label: str) -> beam.pvalue.AsSingleton:
    """Clusters, of (cluster, SliceRecord), that stand under two labels."""
    return _as_set(
        clustered
        | f"LabelOf{label}" >> beam.MapTuple(lambda cluster, one: (cluster, one.label))
        | f"DistinctLabelsOf{label}" >> beam.Distinct()
        | f"LabelsOf{label}" >> beam.GroupByKey()
        | f"Conflicting{label}" >> beam.FlatMap(_conflicting),
        f"ConflictsOf{label}",
    )


def _take_conflicts_out(
    record: SliceRecord, clusters: Mapping[str, str], conflicts: Set[str], of_reference: bool
) -> Iterator[SliceRecord | beam.pvalue.TaggedOutput]:
    """Pass a slice of the data, or of the reference set, unless its cluster is in conflict."""
    if record.reference is not of_reference:
        return
    cluster = clusters.get(record.id)
    if cluster in conflicts:
        other = f" (see {cluster})" if cluster != record.id else ""
        detail = (
            f"the same picture stands under the other label too{other}; duplicates.jsonl lists "
            "all of them"
        )
        yield to_quarantine(record.id, record.path, Reason.CONFLICTING_LABEL, detail, record.frame)
    else:
        yield record


def _neighbours(cluster_and_patients: tuple[str, Iterable[str]]) -> Iterator[tuple[str, str]]:
    """Pairs that chain the patients of one cluster."""
    patients = sorted(set(cluster_and_patients[1]))
    yield from itertools.pairwise(patients)


def group_names(bound: Mapping[str, str]) -> dict[str, str]:
    """The group of each patient that is bound to another.

    A group falls into the split of one of its patients. Which one must not depend on where the
    patients' digests lie (the smallest would always pull groups into training), nor on the order
    of the input.

    Args:
      bound: a representative by patient digest, the same for patients of one group.

    Returns:
      The digest of the patient whose split is the group's, by patient digest.
    """
    members = collections.defaultdict(list)
    for patient, representative in bound.items():
        members[representative].append(patient)
    names = {}
    for patients in members.values():
        leader = min(patients, key=lambda one: hashlib.sha256(f"group {one}".encode()).digest())
        names.update(dict.fromkeys(patients, leader))
    return names


def _with_split(
    record: SliceRecord, groups: Mapping[str, str], settings: IngestSettings, by: SplitBy
) -> tuple[str, SliceRecord]:
    """A record with its split filled in, keyed by its group."""
    group = groups.get(record.patient_digest, record.patient_digest)
    if by is not SplitBy.HASH or record.reference:
        return group, record
    split = hashed_split(
        group, record.id, settings.split, test_apart=settings.reference is not None
    )
    return group, dataclasses.replace(record, split=split)


def _patients_of_reference(
    group_and_members: tuple[str, Iterable[tuple[bool, str]]],
) -> Iterator[tuple[str, frozenset[str]]]:
    """Of a group in the data and in the reference set: who of it is in the latter."""
    group, members = group_and_members
    sides = collections.defaultdict(set)
    for in_reference, patient in members:
        sides[in_reference].add(patient)
    if len(sides) == 2:
        yield group, frozenset(sides[True])


def _keep_reference_apart(
    group_and_record: tuple[str, SliceRecord], held: Mapping[str, Set[str]]
) -> Iterator[tuple[str, SliceRecord] | beam.pvalue.TaggedOutput]:
    group, record = group_and_record
    if record.reference or group not in held:
        yield group_and_record
        return
    detail = (
        f"patient {record.patient_id} is in the reference set"
        if record.patient_id in held[group]
        else f"patient {record.patient_id} has a picture in common with a patient of the "
        "reference set, or with one who has"
    )
    yield to_quarantine(record.id, record.path, Reason.IN_REFERENCE, detail, record.frame)


class _Sides(beam.CombineFn):
    """In which splits the patients of a group stand: {(split, patient): (count, first ids)}."""

    def create_accumulator(self) -> dict[tuple[str, str], tuple[int, list[str]]]:
        return {}

    def add_input(self, sides: dict, record: SliceRecord) -> dict:
        key = (record.split, record.patient_id)
        count, shown = sides.get(key, (0, []))
        sides[key] = (count + 1, sorted([*shown, record.id])[:_SHOWN_A_SPLIT])
        return sides

    def merge_accumulators(self, all_sides: Iterable[dict]) -> dict:
        merged: dict[tuple[str, str], tuple[int, list[str]]] = {}
        for sides in all_sides:
            for key, (count, shown) in sides.items():
                before, shown_before = merged.get(key, (0, []))
                merged[key] = (before + count, sorted([*shown_before, *shown])[:_SHOWN_A_SPLIT])
        return merged

    def extract_output(self, sides: dict) -> dict:
        return sides


def _find_leak(group_and_sides: tuple[str, dict]) -> Iterator[tuple[str, Leak]]:
    group, sides = group_and_sides
    splits = sorted({split for split, _ in sides})
    if len(splits) < 2:
        return
    of_patient = collections.Counter(patient for _, patient in sides)
    first_ids = {
        split: sorted(
            one for (where, _), (_, shown) in sides.items() if where == split for one in shown
        )[:_SHOWN_A_SPLIT]
        for split in splits
    }
    yield (
        group,
        Leak(
            bound_by=outcome.BY_PATIENT if max(of_patient.values()) > 1 else outcome.BY_DUPLICATES,
            splits=splits,
            patients=sorted(of_patient),
            slices={
                split: sum(count for (where, _), (count, _) in sides.items() if where == split)
                for split in splits
            },
            first_ids=first_ids,
        ),
    )


def _judge_leak(
    group_and_record: tuple[str, SliceRecord], leaks: Mapping[str, Leak], on_leak: str
) -> Iterator[SliceRecord | beam.pvalue.TaggedOutput]:
    group, record = group_and_record
    leak = leaks.get(group)
    # The operating point and early stopping are fitted on eval, so that for test eval is training.
    if leak is None or on_leak != DROP_FROM_TRAIN or record.split == leak.kept_split:
        yield record
        return
    others = " and ".join(split for split in leak.splits if split != record.split)
    if leak.bound_by == outcome.BY_PATIENT and len(leak.patients) == 1:
        reason, detail = Reason.LEAKED_PATIENT, f"patient {record.patient_id} also stands in"
    else:
        reason = Reason.LEAKED_GROUP
        detail = (
            f"patient {record.patient_id} has a picture in common with another, and their group "
            "also stands in"
        )
    yield to_quarantine(record.id, record.path, reason, f"{detail} {others}", record.frame)


def _duplicate_group(
    cluster_and_found: tuple[str, Mapping[str, Iterable[SliceRecord]]], conflicts: Set[str]
) -> DuplicateGroup:
    cluster, found = cluster_and_found
    in_order = sorted(found["all"], key=lambda one: one.id)
    placed = {one.id: one.split for one in found["placed"]}
    return DuplicateGroup(
        ids=[one.id for one in in_order],
        paths=[one.path for one in in_order],
        frames=[one.frame for one in in_order],
        labels=[one.label for one in in_order],
        splits=[placed.get(one.id, "") for one in in_order],
        given_splits=[one.split for one in in_order],
        patients=[one.patient_id for one in in_order],
        conflict=cluster in conflicts,
    )


def _count_leak(leak: Leak) -> tuple[str, str, str]:
    return outcome.LEAK, "+".join(leak.splits), leak.bound_by


def _count_duplicates(group: DuplicateGroup) -> tuple[str, str, str]:
    return outcome.DUPLICATES, "conflict" if group.conflict else "", ""


def _conflicts_in_reference(
    clustered: beam.PCollection, pairs: beam.PCollection
) -> tuple[beam.pvalue.AsSingleton, beam.pvalue.AsSingleton]:
    """Clusters of the reference set by itself, and those of them under two labels.

    Two of its slices may be joined by one of the data only; what it holds must not depend on that.
    """
    own = clustered | "OfReference" >> beam.Filter(lambda one: one[1].reference)
    ids = _as_set(own | "IdsOfReference" >> beam.Map(lambda one: one[1].id), "ReferenceIds")
    clusters = beam.pvalue.AsSingleton(
        pairs
        | "PairsOfReference" >> beam.Filter(lambda pair, ids: ids.issuperset(pair), ids)
        | "ClustersOfReference" >> beam.CombineGlobally(ClusterPairs())
    )
    reclustered = (
        own
        | "RecordsOfReference" >> beam.Values()
        | "ReferenceClustered" >> beam.FlatMap(_cluster_of, clusters)
    )
    return clusters, _find_conflicts(reclustered, "ReferenceCluster")


def _as_set(values: beam.PCollection, label: str) -> beam.pvalue.AsSingleton:
    return beam.pvalue.AsSingleton(values | label >> beam.combiners.ToSet())


def decide(
    records: beam.PCollection,
    pairs: beam.PCollection,
    settings: IngestSettings,
    split_by: SplitBy,
    *,
    examples_per_class: int | None = None,
) -> dict[str, beam.PCollection]:
    """Decide of every readable slice: which split, or quarantine.

    What stands in memory of one worker is the slices that have a near-duplicate, the patients that
    share one, the groups that leak, and those of the data that are in the reference set too: ids
    only, and few in data that is worth training on.

    Args:
      records: SliceRecord.
      pairs: (id, id) of near-identical slices.
      settings: of the ingestion.
      split_by: where the splits come from.
      examples_per_class: make copies of the slices up to this number before they are split, as in
        `augmented_copies`; None makes none.

    Returns:
      By tag: "records" (SliceRecord with its split, one a slice or one a copy), QUARANTINED,
      COUNTED, DUPLICATES, LEAKS.
    """
    clusters = beam.pvalue.AsSingleton(pairs | "Clusters" >> beam.CombineGlobally(ClusterPairs()))
    clustered = records | "Clustered" >> beam.FlatMap(_cluster_of, clusters)
    conflicts = _find_conflicts(clustered, "Cluster")
    kept_records, conflicting = records, []
    if settings.on_conflict == QUARANTINE:
        taken = [
            records
            | "TakeConflictsOut"
            >> beam.FlatMap(_take_conflicts_out, clusters, conflicts, False).with_outputs(
                QUARANTINED, main="records"
            )
        ]
        if settings.reference is not None:
            own = _conflicts_in_reference(clustered, pairs)
            taken.append(
                records
                | "TakeConflictsOutOfReference"
                >> beam.FlatMap(_take_conflicts_out, *own, True).with_outputs(
                    QUARANTINED, main="records"
                )
            )
        kept_records = [one.records for one in taken] | "Unconflicting" >> beam.Flatten()
        conflicting = [one[QUARANTINED] for one in taken]
    bound = (
        kept_records
        | "KeptClustered" >> beam.FlatMap(_cluster_of, clusters)
        | "PatientOfCluster" >> beam.MapTuple(lambda cluster, one: (cluster, one.patient_digest))
        | "DistinctPatients" >> beam.Distinct()
        | "PatientsOfCluster" >> beam.GroupByKey()
        | "Neighbours" >> beam.FlatMap(_neighbours)
        | "BoundPatients" >> beam.CombineGlobally(ClusterPairs())
        | "GroupNames" >> beam.Map(group_names)
    )
    to_split, counted_slices = kept_records, []
    if examples_per_class is not None:
        to_split = kept_records | "MakeCopies" >> MakeCopies(examples_per_class)
        counted_slices = [
            kept_records | "CountCopied" >> beam.Map(lambda one: (outcome.COPIED, one.label, ""))
        ]
    grouped = to_split | "WithSplit" >> beam.Map(
        _with_split, beam.pvalue.AsSingleton(bound), settings, split_by
    )
    held = []
    if settings.reference is not None:
        apart = grouped | "KeepReferenceApart" >> beam.FlatMap(
            _keep_reference_apart,
            beam.pvalue.AsDict(
                grouped
                | "PatientOfGroup"
                >> beam.MapTuple(lambda group, one: (group, (one.reference, one.patient_id)))
                | "DistinctPatientsOfGroup" >> beam.Distinct()
                | "PatientsOfGroup" >> beam.GroupByKey()
                | "PatientsOfReference" >> beam.FlatMap(_patients_of_reference)
            ),
        ).with_outputs(QUARANTINED, main="records")
        grouped, held = apart.records, [apart[QUARANTINED]]
    leaks = (
        grouped | "Sides" >> beam.CombinePerKey(_Sides()) | "FindLeaks" >> beam.FlatMap(_find_leak)
    )
    judged = grouped | "JudgeLeaks" >> beam.FlatMap(
        _judge_leak, beam.pvalue.AsDict(leaks), settings.on_leak_under(split_by)
    ).with_outputs(QUARANTINED, main="records")
    found_leaks = leaks | "Leaks" >> beam.Values()
    placed = judged.records | "PlacedClustered" >> beam.FlatMap(_cluster_of, clusters)
    duplicates = (
        {"placed": placed, "all": clustered}
        | "ByCluster" >> beam.CoGroupByKey()
        | "DuplicateGroups" >> beam.Map(_duplicate_group, conflicts)
    )
    counted = (
        found_leaks | "CountLeaks" >> beam.Map(_count_leak),
        duplicates | "CountDuplicates" >> beam.Map(_count_duplicates),
        *counted_slices,
    ) | "CountedGroups" >> beam.Flatten()
    quarantined = (
        *conflicting,
        *held,
        judged[QUARANTINED],
    ) | "QuarantinedByGroup" >> beam.Flatten()
    return {
        "records": judged.records,
        QUARANTINED: quarantined,
        COUNTED: counted,
        DUPLICATES: duplicates,
        LEAKS: found_leaks,
    }

"""Ways in which a configuration lets test data leak into training, in words for the report."""

from collections.abc import Mapping

from pipeline.config import RunConfig


def describe_leaks(config: RunConfig, *, split_given: bool) -> list[str]:
    """One sentence for each leak that a run allows.

    Args:
      config: of the run.
      split_given: whether the manifest gives the split, so that `split` does not count.
    """
    leaks = []
    drawn = config.split.ignore_manifest or not split_given
    copies = config.split.augment_first
    if copies is not None:
        leaks.append(
            f"Slices were augmented to {copies.examples_per_class} copies of each class before the "
            "split, as in the paper (split.augment_first): copies of one slice are trained on and "
            "tested on, so the figures say little about slices not seen before."
        )
    if config.split.by == "image" and drawn:
        leaks.append(
            "Slices were split by image, as in the paper (split.by: image): one patient's slices "
            "fall on both sides, so the figures are too good."
        )
    if config.ingest.on_leak == "report" and not drawn:
        leaks.append(
            "A patient whom the manifest puts into two splits is kept in both "
            "(ingest.on_leak: report)."
        )
    return leaks


def name_leaks(patients: Mapping[str, int], groups: Mapping[str, int]) -> list[str]:
    """One sentence for each pair of splits that share patients or pictures.

    Args:
      patients: how many patients stand in splits, by the splits ("test+train").
      groups: likewise, groups of different patients with a picture in common.
    """
    sentences = []
    for splits, count in patients.items():
        what = "1 patient stands" if count == 1 else f"{count} patients stand"
        sentences.append(f"{what} in {splits.replace('+', ' and ')}.")
    for splits, count in groups.items():
        what = "1 group" if count == 1 else f"{count} groups"
        sentences.append(
            f"{what} of patients with a picture in common {'stands' if count == 1 else 'stand'} "
            f"in {splits.replace('+', ' and ')}."
        )
    return sentences

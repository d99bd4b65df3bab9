"""Ways in which a configuration lets test data leak into training, in words for the report."""

from pipeline.config import RunConfig


def describe_leaks(config: RunConfig, *, split_given: bool) -> list[str]:
    """One sentence for each leak that a run makes whatever its data; ingestion finds the others.

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
    return leaks

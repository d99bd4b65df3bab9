"""Ways in which a configuration lets test data leak into training, in words for the report."""

from pipeline.config import RunConfig


def describe_leaks(config: RunConfig, *, split_given: bool) -> list[str]:
    """One sentence for each leak that a run allows.

    Args:
      config: of the run.
      split_given: whether the manifest gives the split, so that `split` does not count.
    """
    leaks = []
    if config.split.by == "image" and not split_given:
        leaks.append(
            "Slices were split by image, as in the paper (split.by: image): one patient's slices "
            "fall on both sides, so the figures are too good."
        )
    if config.ingest.on_leak == "report" and split_given:
        leaks.append(
            "A patient whom the manifest puts into two splits is kept in both "
            "(ingest.on_leak: report)."
        )
    return leaks

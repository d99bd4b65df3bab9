"""Ways in which a configuration lets test data leak into training, in words for the report."""

from pipeline.config import RunConfig


def describe_leaks(config: RunConfig) -> list[str]:
    """One sentence for each leak that the configuration allows."""
    leaks = []
    if config.split.by == "image":
        leaks.append(
            "Slices were split by image, as in the paper (split.by: image): one patient's slices "
            "fall on both sides, so the figures are too good."
        )
    if config.ingest.on_leak == "report":
        leaks.append(
            "Patients that the manifest puts into two splits were kept (ingest.on_leak: report)."
        )
    return leaks

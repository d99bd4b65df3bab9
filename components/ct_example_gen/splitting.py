"""Which split a slice belongs to when the manifest does not say it."""

from __future__ import annotations

import dataclasses
import hashlib

from transform.ct_example import EVAL, TEST, TRAIN


@dataclasses.dataclass(frozen=True)
class SplitShares:
    """The share of each split, adding up to 1, and what is kept together.

    Attributes:
      train: share of the training split.
      eval: share of the validation split.
      test: share of the test split.
      by: "patient" keeps a patient's slices together; "image" splits every slice for itself, as
        the paper did, and lets one patient's slices fall on both sides.
    """

    train: float
    eval: float
    test: float
    by: str = "patient"


def split_digest(key: str) -> str:
    """What the split of a patient (or an image) is drawn from: SHA-256 in hex.

    It has no seed and no key: a patient who comes back in a later span, or under another key of
    the patient ids, falls into the same split.
    """
    return hashlib.sha256(key.encode()).hexdigest()


def _split_of_digest(digest: str, shares: SplitShares, test_apart: bool) -> str:
    """The split that a `split_digest` falls into."""
    # 53 bits, so that the division is exact.
    position = (int(digest[:16], 16) >> 11) / 2**53
    learnt_from = shares.train + shares.eval
    if test_apart and position >= learnt_from:
        # Only who would be tested is drawn again, so that a run that begins to use a reference set
        # leaves everybody else in the split that earlier models were trained or validated on.
        position = (position - learnt_from) / (1.0 - learnt_from) * learnt_from
    if position < shares.train:
        return TRAIN
    return EVAL if test_apart or position < learnt_from else TEST


def hashed_split(
    patient_digest: str, image_id: str, shares: SplitShares, *, test_apart: bool = False
) -> str:
    """The split of a slice, by the digest of its patient (or of the image), the same in every run.

    Args:
      patient_digest: `split_digest` of the patient, or of who stands for the patient's group.
      image_id: of the slice.
      shares: of the splits.
      test_apart: the test split comes from elsewhere; its share goes to train and eval, in
        proportion.
    """
    digest = patient_digest if shares.by == "patient" else split_digest(image_id)
    return _split_of_digest(digest, shares, test_apart)

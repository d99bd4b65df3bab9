"""A patient's result: the mean of the slices, and nothing lost or hidden."""

from pathlib import Path

import pytest

from serving.patient import Patient, patient_of
from serving.patient_result import patient_results
from serving.slice_result import Prediction, SliceResult

SERIES = Path("scans/7")


def predicted(probability, *, threshold=0.5, source=SERIES, patient=None, series="s"):
    decision = int(probability >= threshold)
    prediction = Prediction(probability, decision, threshold)
    return SliceResult(
        source / "x", source, prediction, patient=patient or patient_of(source), series=series
    )


def failed(*, source=SERIES, patient=None):
    return SliceResult(source / "x", source, None, "damaged", patient=patient)


def test_the_mean_is_decided_at_the_threshold():
    (low,) = patient_results([predicted(0.9), predicted(0.0), predicted(0.3)])
    assert low.probability == pytest.approx(0.4)
    assert (low.decision, low.threshold, low.slices, low.failed) == (0, 0.5, 3, 0)
    (high,) = patient_results([predicted(0.6, threshold=0.4), predicted(0.3, threshold=0.4)])
    assert (high.decision, high.threshold) == (1, 0.4)


@pytest.mark.parametrize("count", [1, 3, 7, 49, 1000])
def test_slices_that_all_lie_at_the_threshold_make_a_positive_patient(count):
    # A float32 as TensorFlow gives it; a sum that rounds could end just below.
    at = 0.10000000149011612
    (one,) = patient_results([predicted(at, threshold=at)] * count)
    assert (one.probability, one.decision) == (at, 1)


def test_patients_come_in_the_order_of_their_first_slices():
    a, b = Patient("a", in_header=True), Patient("b", in_header=True)
    results = patient_results(
        [predicted(0.1, patient=b), predicted(0.2, patient=a), predicted(0.3, patient=b)]
    )
    assert [one.patient for one in results] == [b, a]
    assert [one.slices for one in results] == [2, 1]


def test_a_path_is_never_taken_for_a_patient_id_of_the_same_text():
    header = Patient(str(SERIES), in_header=True)
    assert len(patient_results([predicted(0.1), predicted(0.2, patient=header)])) == 2


def test_a_slice_that_could_not_be_read_counts_for_its_folders_one_patient():
    header = Patient("P1", in_header=True)
    (one,) = patient_results([failed(), predicted(0.2, patient=header), failed()])
    assert (one.patient, one.slices, one.failed) == (header, 1, 2)


def test_a_slice_that_could_not_be_read_is_no_ones_among_several_patients():
    a, b = Patient("a", in_header=True), Patient("b", in_header=True)
    results = patient_results([predicted(0.1, patient=a), predicted(0.2, patient=b), failed()])
    assert [(one.patient.id, one.failed) for one in results] == [
        ("a", 0),
        ("b", 0),
        (str(SERIES), 1),
    ]


def test_a_patient_without_a_predicted_slice_has_no_result_but_is_there():
    (one,) = patient_results([failed(), failed(patient=patient_of(SERIES))])
    assert (one.probability, one.decision, one.threshold) == (None, None, None)
    assert (one.slices, one.failed) == (0, 2)


def test_a_patient_is_traced_to_the_folder_of_the_first_slice():
    header = Patient("P1", in_header=True)
    results = [predicted(0.1, patient=header, source=Path(name)) for name in ("b", "a", "b")]
    (one, unread) = patient_results([*results, failed(source=Path("c"))])
    assert (one.path, unread.path) == (Path("b"), Path("c"))


def test_series_are_counted():
    results = [predicted(0.1, series=name) for name in ("s", "t", "s")]
    assert patient_results(results)[0].series == 2


def test_a_patient_id_is_not_printed():
    (one,) = patient_results([predicted(0.1, patient=Patient("Jane", in_header=True))])
    assert "Jane" not in repr(one)

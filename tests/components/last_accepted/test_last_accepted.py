import pytest
from tfx.types import standard_artifacts

from components.last_accepted.executor import Executor
from components.last_accepted.record import (
    ABSENT,
    MODEL,
    STATISTICS,
    Accepted,
    recall,
    remember,
)
from transform.errors import CtnetError


def looked_up(folder):
    outputs = {
        MODEL: [standard_artifacts.Model()],
        STATISTICS: [standard_artifacts.ExampleStatistics()],
    }
    Executor().Do({}, outputs, {"folder": str(folder)})
    return outputs[MODEL][0], outputs[STATISTICS][0]


def test_before_the_first_run_both_stand_for_none(tmp_path):
    for artifact in looked_up(tmp_path / "nowhere"):
        assert artifact.get_int_custom_property(ABSENT) == 1


def test_what_was_accepted_last_comes_back_with_its_properties(tmp_path):
    folder = str(tmp_path / "record")
    remember(folder, STATISTICS, Accepted("gs://bucket/1", {"split_names": '["train"]'}))
    remember(
        folder, STATISTICS, Accepted("gs://bucket/2", {"split_names": '["eval"]', "span": 7.0})
    )
    model, statistics = looked_up(folder)
    assert statistics.uri == "gs://bucket/2"
    assert statistics.split_names == '["eval"]'
    assert statistics.span == 7
    assert model.get_int_custom_property(ABSENT) == 1


def test_a_record_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / f"{MODEL}.json").write_text("{")
    with pytest.raises(CtnetError, match="remove it to begin anew"):
        recall(str(tmp_path), MODEL)

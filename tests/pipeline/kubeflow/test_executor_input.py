"""What platforms leave out of an executor input."""

import json

from pipeline.kubeflow.executor_input import complete

SPEC = json.dumps(
    {"artifacts": {"model": {"artifactType": {"instanceSchema": "title: tfx.Model"}}}}
)


def executor_input(**metadata):
    model = {"uri": "minio://bucket/model", "metadata": metadata}
    return {
        "inputs": {"artifacts": {"model": {"artifacts": [model]}}},
        "outputs": {"artifacts": {"report": {"artifacts": [{"uri": "minio://bucket/report"}]}}},
    }


def test_an_input_gets_the_type_that_its_step_declares():
    given = executor_input()
    complete(given, SPEC)
    (model,) = given["inputs"]["artifacts"]["model"]["artifacts"]
    assert model["type"] == {"instanceSchema": "title: tfx.Model"}


def test_every_artifact_has_a_name_by_which_tfx_tells_it_apart():
    given = executor_input()
    complete(given, SPEC)
    (report,) = given["outputs"]["artifacts"]["report"]["artifacts"]
    assert report["name"] == "minio://bucket/report"


def test_an_input_that_stands_for_none_is_none():
    given = executor_input(absent=1.0)
    complete(given, SPEC)
    assert given["inputs"]["artifacts"] == {}

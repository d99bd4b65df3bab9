"""What a user relies on of a whole run, through the command line."""

import csv
import gzip
import json
import re
import stat

import numpy as np
import pytest
import tensorflow as tf
from pyarrow import parquet
from sklearn import metrics

from components.ct_example_gen.patient_ids import load_key, pseudonym
from serving.client import Client
from serving.server import EmbeddedServer
from transform import prediction, preprocessing
from transform.training_record import PICTURES

pytestmark = pytest.mark.e2e


def test_a_run_ends_with_a_pushed_version_and_a_summary(first_run):
    assert first_run.done.code == 0, first_run.done.err
    summary = first_run.summary
    assert summary["verdict"] == "pushed"
    assert (first_run.workdir / "serving/ctnet" / summary["version"] / "saved_model.pb").exists()
    version = first_run.workdir / "serving/ctnet" / summary["version"]
    card = (version / "assets.extra/model_card.md").read_text()
    assert "**Passed the gate.**" in card
    assert card == (first_run.workdir / "report/model_card.md").read_text()
    assert {bound["metric"] for bound in summary["bounds"]} == {"sensitivity", "specificity"}
    assert len(summary["steps"]) == 12
    assert not any(step["cached"] for step in summary["steps"])


def test_a_run_leaves_nothing_in_the_temporary_folder(first_run, temporary_folder):
    assert first_run.done.code == 0
    assert not list(temporary_folder.iterdir())


def test_the_terminal_shows_a_line_a_step_the_epochs_and_the_way_to_serve(first_run):
    lines = first_run.done.err.splitlines()
    assert [line for line in lines if re.search(r"Trainer +\d+\.\d s", line)]
    assert [line for line in lines if re.search(r"fine-tuning epoch 2/2 .*val_auc", line)]
    assert "Traceback" not in first_run.done.err
    assert f"ctnet serve {first_run.workdir}/serving/ctnet" in first_run.done.out
    # One line a step and an epoch: what libraries print is in the log.
    assert len(lines) == 12 + 3


def test_every_row_is_an_example_or_in_quarantine(first_run):
    counts = first_run.summary["counts"]
    with first_run.manifest.open() as file:
        rows = len(list(csv.DictReader(file)))
    accepted = sum(sum(by_class.values()) for by_class in counts["examples"].values())
    assert counts["quarantined"] == {"missing_file": 1, "not_ct": 1, "unreadable": 1}
    assert accepted + 3 == rows
    lines = (first_run.workdir / "quarantine.jsonl").read_text().splitlines()
    assert {json.loads(line)["path"] for line in lines} == {
        "broken.dcm",
        "missing.dcm",
        "odd.dcm",
    }


def test_nothing_that_a_header_says_of_a_person_is_anywhere_in_the_run(first_run, secret):
    files = [path for path in first_run.workdir.rglob("*") if path.is_file()]
    assert len(files) > 50
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".gz" and content:
            content = gzip.decompress(content)
        assert secret.encode() not in content, path
        assert b"JANEDOE" not in content, path
    assert secret not in first_run.done.out + first_run.done.err


def test_patients_are_keyed_hashes_and_the_key_stays_with_its_owner(first_run):
    key = first_run.workdir / "patient.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with first_run.manifest.open() as file:
        known = {row["patient_id"] for row in csv.DictReader(file)}
    hashed = {pseudonym(one, load_key(str(key))) for one in known}
    assert {one["patient_id"] for one in first_run.predictions()} <= hashed


def test_the_figures_are_those_of_the_predictions(first_run):
    told = first_run.summary["metrics"]
    predicted = first_run.predictions()
    labels = [one["label"] for one in predicted]
    decisions = [one["decision"] for one in predicted]
    assert told["example_count"] == len(predicted)
    assert told["sensitivity"] == pytest.approx(metrics.recall_score(labels, decisions))
    assert told["specificity"] == pytest.approx(
        metrics.recall_score(labels, decisions, pos_label=0)
    )
    scores = [one["probability"] for one in predicted]
    assert told["auc"] == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-6)
    assert told["patients"] == len({one["patient_id"] for one in predicted})
    assert told["patient_auc_lower"] <= told["patient_auc"] <= told["patient_auc_upper"]


def test_a_second_identical_run_comes_from_the_cache(first_run, run_pipeline):
    version = first_run.summary["version"]
    again = run_pipeline(first_run.manifest, first_run.workdir, "--json").done
    assert again.code == 0, again.err
    summary = json.loads(again.out)
    assert all(step["cached"] for step in summary["steps"])
    assert summary["version"] == version
    assert len(list((first_run.workdir / "serving/ctnet").iterdir())) == 1


def test_the_served_model_answers_what_the_evaluator_computed(first_run, serving, ctnet):
    expected = {one["id"]: one for one in first_run.predictions()}
    assert {name.rsplit(".")[-1] for name in expected} == {"png", "dcm"}
    files = [first_run.manifest.parent / name for name in expected]
    with serving(first_run.workdir / "serving/ctnet") as address:
        done = ctnet("predict", *files, "--server", address, "--json")
        missing = ctnet("predict", files[0], "nowhere.png", "--server", address)
    assert done.code == 0, done.err
    for answer, one in zip(json.loads(done.out), expected.values(), strict=True):
        assert answer["probability"] == pytest.approx(one["probability"], abs=1e-4)
        assert answer["decision"] == one["decision"]
        assert answer["threshold"] == pytest.approx(one["threshold"])
    assert missing.code == 1
    assert "positive" in missing.out or "negative" in missing.out
    assert "nowhere.png" in missing.err


def test_bulk_scoring_answers_what_the_served_model_answers(first_run, ctnet, tmp_path):
    out = tmp_path / "results.csv"
    done = ctnet(
        *("score", "--data", first_run.manifest, "--model", first_run.workdir),
        *("--out", out, "--out", tmp_path / "results.parquet", "--json"),
    )
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    with out.open(newline="") as file:
        scored = list(csv.DictReader(file))
    with first_run.manifest.open() as file:
        rows = list(csv.DictReader(file))
    quarantine = (tmp_path / "results.quarantine.jsonl").read_text()
    lost = [json.loads(line) for line in quarantine.splitlines()]
    assert {row["path"] for row in rows} == {one["id"] for one in [*scored, *lost]}
    assert len(rows) == summary["slices"] + len(lost)
    assert summary["version"] == first_run.summary["version"]
    key = load_key(str(first_run.workdir / "patient.key"))
    labels = {row["path"]: row["label"] for row in rows}
    patients = {row["path"]: pseudonym(row["patient_id"], key) for row in rows}
    with (
        EmbeddedServer(first_run.workdir / "serving/ctnet", port=0) as server,
        Client(server.address) as client,
    ):
        said = list(client.predict_files([first_run.manifest.parent / one["id"] for one in scored]))
    for one, answer in zip(scored, said, strict=True):
        assert float(one["probability"]) == pytest.approx(answer.prediction.probability, abs=1e-6)
        assert int(one["decision"]) == answer.prediction.decision
        assert (one["label"], one["patient_id"]) == (labels[one["id"]], patients[one["id"]])
    table = parquet.read_table(tmp_path / "results.parquet").to_pylist()
    assert [row["probability"] for row in table] == [float(one["probability"]) for one in scored]
    with (tmp_path / "results.patients.csv").open(newline="") as file:
        assert {row["patient_id"] for row in csv.DictReader(file)} == set(patients.values())


def test_training_and_serving_share_one_preprocessing(first_run):
    def records(folder):
        files = sorted(str(file) for file in folder.iterdir())
        return list(tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator())

    raw = records(first_run.artifact("CTExampleGen", "examples") / "Split-train")
    transformed = records(first_run.artifact("Transform", "transformed_examples") / "Split-train")
    trained_on = {}
    for record in transformed:
        features = tf.train.Example.FromString(record).features.feature
        name = features[preprocessing.IMAGE_ID].bytes_list.value[0]
        trained_on[name] = np.array(features[preprocessing.IMAGE].float_list.value, np.float32)
    model = tf.saved_model.load(first_run.summary["model"])
    served = model.signatures[prediction.TRANSFORM_FEATURES](examples=tf.constant(raw))
    assert len(raw) == len(trained_on)
    for record, image in zip(raw, served[preprocessing.IMAGE].numpy(), strict=True):
        name = tf.train.Example.FromString(record).features.feature["image/id"].bytes_list.value[0]
        np.testing.assert_array_equal(image.ravel(), trained_on[name])


def test_a_model_below_its_bounds_is_not_pushed_and_the_old_one_stays(first_run, run_pipeline):
    versions = sorted((first_run.workdir / "serving/ctnet").iterdir())
    done = run_pipeline(
        *(first_run.manifest, first_run.workdir),
        *("--set", "gate.min_specificity=1.0", "--set", "gate.min_sensitivity=1.0"),
        *("--set", "train.epochs=1"),
    ).done
    assert done.code == 3, done.err
    summary = first_run.summary
    assert summary["verdict"] == "not_blessed"
    assert summary["version"] is None
    assert summary["model"].startswith(str(first_run.workdir / "pipeline/Trainer"))
    failed = {bound["metric"] for bound in summary["bounds"] if not bound["passed"]}
    assert failed
    assert failed <= {"sensitivity", "specificity", "auc_change"}
    # The first run was blessed, so that this one was compared with it.
    assert "auc_change" in {bound["metric"] for bound in summary["bounds"]}
    assert "Not pushed" in done.out
    assert "1.000" in done.out
    assert sorted((first_run.workdir / "serving/ctnet").iterdir()) == versions


def test_the_history_has_every_run_and_two_of_them_can_be_compared(first_run, run_pipeline, ctnet):
    before = first_run.summary["metrics"]
    # Trained as the first, but with other intervals, and pushed by nobody.
    run_pipeline(
        *(first_run.manifest, first_run.workdir),
        *("--set", "gate.min_specificity=1.0", "--set", "gate.min_sensitivity=1.0"),
        *("--set", "evaluate.resamples=37"),
    )
    after = first_run.summary["metrics"]
    done = ctnet("history", first_run.workdir, "--json")
    assert (done.code, done.err) == (0, "")
    runs = json.loads(done.out)
    assert len(runs) == len(list((first_run.workdir / "logs").glob("run-*.log")))
    first, last = runs[0], runs[-1]
    assert (first["verdict"], first["served"], first["gone"]) == ("pushed", True, [])
    assert first["data"]["path"] == str(first_run.manifest)
    assert first["data"]["fingerprint"] == first_run.summary["fingerprint"]
    for run, summarised in ((runs[-2], before), (last, after)):
        assert {"auc", "patient_auc_lower"} <= set(run["metrics"])
        assert run["metrics"] == {name: summarised[name] for name in run["metrics"]}
    assert runs[-2]["metrics"] != last["metrics"]
    # Of the first run, the summary that it printed.
    rows = [line.split() for line in first_run.done.out.splitlines()]
    (shown,) = [row for row in rows if row[:1] == ["auc"]]
    assert shown[1] == f"{first['metrics']['auc']:.3f}"
    (shown,) = [row for row in rows if row[:1] == ["sensitivity"] and "ok" not in row]
    assert shown[1] == f"{first['metrics']['sensitivity']:.3f}"
    assert f"version {first['version']}" in ctnet("history", first_run.workdir).out

    version = first_run.workdir / "serving/ctnet" / first["version"]
    done = ctnet("compare", version, first_run.workdir, "--json", "--resamples", 20)
    assert (done.code, done.err) == (0, "")
    compared = json.loads(done.out)
    assert compared["a"]["evaluation"] == first["evaluation"]
    assert compared["b"]["run"] == last["run"]
    assert compared["slices"]["auc"]["baseline"] == pytest.approx(first["metrics"]["auc"])
    assert compared["patients"]["auc"]["candidate"] == pytest.approx(last["metrics"]["patient_auc"])


def test_the_report_can_be_rebuilt(first_run, ctnet):
    page = first_run.workdir / "report/index.html"
    assert "AtomicPusher" in page.read_text()
    assert "<img" in page.read_text()
    for name in PICTURES:
        assert f'<figure id="picture-{name}">' in page.read_text()
    page.unlink()
    done = ctnet("report", first_run.workdir)
    assert done.code == 0, done.err
    assert done.out.strip() == str(page)
    assert "<html" in page.read_text()


def test_data_that_would_mislead_stops_with_one_line_and_keeps_the_quarantine(
    run_pipeline, tmp_path
):
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,label,patient_id\nnowhere.dcm,1,a\nneither.dcm,0,b\n")
    done = run_pipeline(manifest, tmp_path / "work").done
    assert done.code == 4
    (line,) = [line for line in done.err.splitlines() if line.startswith("ctnet: ")]
    assert "no usable slice among 2 (2 missing_file)" in line
    assert "Traceback" not in done.err
    assert json.loads((tmp_path / "work/summary.json").read_text())["verdict"] == "bad_data"
    assert len((tmp_path / "work/quarantine.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "train.epoch=3"], "train.epoch: no such key; did you mean train.epochs?"),
        (["--set", "train.epochs=many"], "train.epochs: 'many'"),
        (["--set", "model.weights=/no.h5", "--set", "model.backbone=efficientnet-b3"], "/no.h5"),
        (["--workdir", "/proc/nowhere"], "--workdir"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(
    run_pipeline, mixed_manifest, tmp_path, arguments, words
):
    done = run_pipeline(mixed_manifest, tmp_path / "work", *arguments).done
    assert done.code == 2
    assert words in done.err
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_retraining_on_the_same_data_does_nothing(first_run, ctnet, tiny_config):
    arguments = ("--data", first_run.manifest, "--workdir", first_run.workdir)
    # What other runs in the folder came to says nothing of retrainings.
    assert ctnet("retrain", "--config", tiny_config, *arguments).code == 0
    for _ in range(2):
        done = ctnet("retrain", "--config", tiny_config, *arguments)
        assert done.code == 0, done.err
        assert "Nothing new" in done.out
        assert first_run.summary["verdict"] == "nothing_new"

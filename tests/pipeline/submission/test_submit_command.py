"""`ctnet submit`: what kfp's own client really sends to an endpoint that speaks its REST API."""

import contextlib
import email
import email.policy
import json
import re
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

API = "/apis/v2beta1"
TOKEN = "let-me-in"
DEFINITION = {
    "pipelineInfo": {"name": "tiny"},
    "schemaVersion": "2.1.0",
    "root": {
        "dag": {"tasks": {}},
        "inputDefinitions": {
            "parameters": {
                "data": {"parameterType": "STRING"},
                "epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 30},
                "min_sensitivity": {"parameterType": "NUMBER_DOUBLE", "isOptional": True},
                "warm": {"parameterType": "BOOLEAN", "defaultValue": False},
                "bounds": {"parameterType": "STRUCT", "defaultValue": {}},
            }
        },
    },
}


class Kubeflow:
    """The part of Kubeflow Pipelines that a submission needs; remembers what it was sent."""

    def __init__(self):
        self.asked = []
        self.tables = {
            "pipelines": [],
            "versions": [],
            "experiments": [],
            "runs": [],
            "recurringRuns": [],
        }
        self.files = {}
        self.states = ["PENDING", "RUNNING", "SUCCEEDED"]
        self.token = None
        self.login_page = False
        self.sends_on_to = None
        self.tokens = []

    def add(self, table, kind, **fields):
        one = {f"{kind}_id": f"{kind}-{len(self.asked)}", **fields}
        self.tables[table].append(one)
        return one

    def rows(self, table, query):
        """Of a table, those that a filter on the name wants."""
        wanted = [
            predicate["stringValue"]
            for text in query.get("filter", [])
            for predicate in json.loads(text)["predicates"]
            if predicate["key"] == "display_name"
        ]
        found = self.tables[table]
        return [one for one in found if all(one["display_name"] == name for name in wanted)]

    def answer(self, method, path, query, body):
        """What the real one would say; None where there is no such thing."""
        if path == "/healthz":
            return {"multi_user": False}
        if path == "/pipelines" and method == "GET":
            return {"pipelines": self.rows("pipelines", query)}
        if path == "/pipelines/upload":
            (name,) = query["name"]
            made = self.add("pipelines", "pipeline", display_name=name)
            self.add_version(made["pipeline_id"], name, body)
            return made
        if path == "/pipelines/upload_version":
            return self.add_version(query["pipelineid"][0], query["name"][0], body)
        if re.fullmatch("/pipelines/[^/]+/versions", path):
            found = self.rows("versions", query)
            of_pipeline = [one for one in found if one["pipeline_id"] == path.split("/")[2]]
            return {"pipeline_versions": of_pipeline}
        if path == "/experiments" and method == "GET":
            return {"experiments": self.rows("experiments", query)}
        if path == "/experiments":
            return self.add("experiments", "experiment", **body)
        if path == "/runs":
            return self.add("runs", "run", **body)
        if path.startswith("/runs/"):
            return {"run_id": path.split("/")[2], "state": self.states.pop(0)}
        if path == "/recurringruns" and method == "GET":
            return {"recurringRuns": self.rows("recurringRuns", query)}
        if path == "/recurringruns":
            return self.add("recurringRuns", "recurring_run", **body)
        if path.startswith("/recurringruns/") and method == "DELETE":
            self.tables["recurringRuns"] = [
                one
                for one in self.tables["recurringRuns"]
                if one["recurring_run_id"] != path.split("/")[2]
            ]
            return {}
        return None

    def add_version(self, pipeline_id, name, content):
        made = self.add("versions", "pipeline_version", display_name=name, pipeline_id=pipeline_id)
        self.files[made["pipeline_version_id"]] = content
        return made

    def posted(self, path):
        return [body for method, asked, body in self.asked if (method, asked) == ("POST", path)]


def uploaded_file(kind, content):
    message = email.message_from_bytes(
        f"Content-Type: {kind}\r\n\r\n".encode() + content, policy=email.policy.HTTP
    )
    (part,) = message.iter_parts()
    assert part.get_param("name", header="content-disposition") == "uploadfile"
    return part.get_payload(decode=True)


class Handler(BaseHTTPRequestHandler):
    kubeflow: Kubeflow

    def do_GET(self):
        self.handle_request()

    def do_POST(self):
        self.handle_request()

    def do_DELETE(self):
        self.handle_request()

    def handle_request(self):
        url = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/"):
            body = uploaded_file(kind, content)
        else:
            body = json.loads(content) if content else None
        assert url.path.startswith(API)
        path = url.path.removeprefix(API)
        self.kubeflow.asked.append((self.command, path, body))
        self.kubeflow.tokens.append(self.headers.get("Authorization"))
        if self.kubeflow.sends_on_to:
            self.send_response(302)
            self.send_header("Location", self.kubeflow.sends_on_to + self.path)
            self.end_headers()
            return None
        if self.kubeflow.login_page:
            return self.reply(200, b"<html>Log in</html>")
        token = self.kubeflow.token
        if token and self.headers.get("Authorization") != f"Bearer {token}":
            return self.reply(401, b'{"error": "who are you?"}')
        answer = self.kubeflow.answer(self.command, path, parse_qs(url.query), body)
        if answer is None:
            return self.reply(404, b'{"error": "nothing there"}')
        return self.reply(200, json.dumps(answer).encode())

    def reply(self, status, content):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def running():
    """An endpoint, with its `host`."""
    backend = Kubeflow()
    handler = type("Asked", (Handler,), {"kubeflow": backend})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    # It looks this often whether it is to end.
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    backend.host = f"http://127.0.0.1:{server.server_port}"
    try:
        yield backend
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def kubeflow():
    with running() as backend:
        yield backend


@pytest.fixture
def definition(tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump(DEFINITION))
    return path


@pytest.fixture
def submit(ctnet_main, kubeflow, definition):
    """`submit(option, ...)`: exit code, what was printed as data, and errors."""

    def ask(*options, file=definition, host=None):
        code, out, err = ctnet_main(
            "submit", file, "--host", host or kubeflow.host, "--json", *options
        )
        return code, json.loads(out) if out else None, err

    return ask


DATA = "--parameter=data=gs://bucket/manifest.csv"


def test_a_run_is_of_the_very_definition_with_typed_parameters(submit, kubeflow, definition):
    given = ("epochs=3", "min_sensitivity=0.9", "warm=true", 'bounds={"a": 1}')
    code, result, err = submit(DATA, *(f"--parameter={one}" for one in given))
    assert (code, err) == (0, "")
    (run,) = kubeflow.posted("/runs")
    assert run["runtime_config"]["parameters"] == {
        "data": "gs://bucket/manifest.csv",
        "epochs": 3,
        "min_sensitivity": 0.9,
        "warm": True,
        "bounds": {"a": 1},
    }
    version = run["pipeline_version_reference"]
    assert kubeflow.files[version["pipeline_version_id"]] == definition.read_bytes()
    (experiment,) = kubeflow.tables["experiments"]
    assert experiment["display_name"] == "tiny"
    assert run["experiment_id"] == experiment["experiment_id"]
    assert result["run_id"] == kubeflow.tables["runs"][0]["run_id"]
    assert result["url"] == f"{kubeflow.host}/#/runs/details/{result['run_id']}"


def test_a_changed_definition_becomes_a_version_and_an_unchanged_one_does_not(
    submit, kubeflow, definition
):
    submit(DATA)
    definition.write_text(definition.read_text() + "\n# changed\n")
    changed = submit(DATA)[1]
    again = submit(DATA)[1]
    assert len(kubeflow.tables["pipelines"]) == 1
    assert [changed["uploaded"], again["uploaded"]] == [True, False]
    assert changed["version_id"] == again["version_id"]
    assert kubeflow.files[changed["version_id"]] == definition.read_bytes()
    ran = [
        run["pipeline_version_reference"]["pipeline_version_id"] for run in kubeflow.posted("/runs")
    ]
    assert ran[0] != ran[1] == ran[2]


def test_a_recurring_run_has_seconds_before_a_crontabs_fields(submit, kubeflow):
    code, result, _ = submit(DATA, "--cron", "30 2 * * MON-FRI")
    assert code == 0
    (made,) = kubeflow.posted("/recurringruns")
    assert made["trigger"]["cron_schedule"]["cron"] == "0 30 2 * * MON-FRI"
    assert made["max_concurrency"] == 1
    assert made["no_catchup"] is True
    assert made["mode"] == "ENABLE"
    assert made["runtime_config"]["parameters"]["data"] == "gs://bucket/manifest.csv"
    assert kubeflow.posted("/runs") == []
    assert result["run_id"] is None


def test_a_recurring_run_takes_the_place_of_the_one_of_its_name_and_of_no_other(submit, kubeflow):
    code, first, err = submit(DATA, "--cron", "@daily")
    assert (code, err) == (0, "")
    other = submit(DATA, "--cron", "@daily", "--name", "other", "--experiment", "tiny")[1]
    code, second, err = submit(DATA, "--cron", "@weekly")
    assert (code, err) == (0, "")
    assert second["replaced"] == [first["recurring_run_id"]]
    left = {one["recurring_run_id"] for one in kubeflow.tables["recurringRuns"]}
    assert left == {other["recurring_run_id"], second["recurring_run_id"]}


@pytest.mark.parametrize(("last", "wanted"), [("SUCCEEDED", 0), ("FAILED", 1), ("CANCELED", 1)])
def test_waiting_ends_with_the_run(submit, kubeflow, monkeypatch, last, wanted):
    from pipeline.submission import submit as work

    pauses = []
    monkeypatch.setattr(work.wait, "__defaults__", (pauses.append, 15.0))
    kubeflow.states = ["PENDING", "RUNNING", last]
    code, result, _ = submit(DATA, "--wait")
    assert (code, result["state"]) == (wanted, last)
    assert pauses == [15.0, 15.0]


def test_the_token_goes_along_with_every_request(submit, kubeflow, tmp_path):
    kubeflow.token = TOKEN
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert submit(DATA, "--token-file", file)[0] == 0
    assert kubeflow.posted("/runs")


def one_line(code, result, err):
    assert result is None
    assert err.count("\n") == 1
    assert err.startswith("ctnet: ")
    return code, err


def test_a_missing_or_wrong_token_is_said_at_once(submit, kubeflow, tmp_path):
    kubeflow.token = TOKEN
    code, err = one_line(*submit(DATA))
    assert code == 1
    assert "without --token-file (401" in err
    file = tmp_path / "token"
    file.write_text("wrong")
    code, err = one_line(*submit(DATA, "--token-file", file))
    assert "refuses the token of --token-file" in err
    assert len(kubeflow.asked) == 2


def test_the_token_does_not_go_where_the_endpoint_sends_on_to(submit, kubeflow, tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    with running() as other:
        other.token = "another one"
        kubeflow.sends_on_to = other.host
        code, err = one_line(*submit(DATA, "--token-file", file))
    assert code == 1
    assert "(401" in err
    assert (kubeflow.tokens, other.tokens) == ([f"Bearer {TOKEN}"], [None])


def test_a_page_to_log_in_is_no_endpoint(submit, kubeflow):
    kubeflow.login_page = True
    code, err = one_line(*submit(DATA))
    assert code == 1
    assert "a page to log in" in err


def test_an_endpoint_that_is_not_there_is_said_in_one_line(submit):
    with socket.socket() as unused:
        # Bound and not listening: who connects is refused.
        unused.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{unused.getsockname()[1]}"
        code, err = one_line(*submit(DATA, host=host))
    assert code == 1
    assert f"{host}: does not answer" in err


def test_what_the_endpoint_says_of_a_request_that_it_refuses_is_passed_on(submit, kubeflow):
    known = kubeflow.answer

    def without_runs(method, path, query, body):
        return None if path == "/runs" else known(method, path, query, body)

    kubeflow.answer = without_runs
    code, err = one_line(*submit(DATA))
    assert code == 1
    assert "nothing there" in err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--parameter=epoch=3", DATA], "it has bounds, data, epochs, min_sensitivity, warm"),
        (["--parameter=epochs=many", DATA], "wants number integer"),
        (["--parameter=warm=perhaps", DATA], "wants boolean"),
        (["--parameter=bounds=[1]", DATA], "wants struct"),
        (["--parameter=epochs", DATA], "give KEY=VALUE"),
        ([DATA, DATA], "given twice"),
        ([], "--parameter data=VALUE: is missing"),
        ([DATA, "--cron", "30 2 * *"], "has 4 fields"),
        ([DATA, "--cron", "30 25 * * *"], "'25' is no hour, which is 0 to 23"),
        ([DATA, "--cron", "@daily", "--wait"], "no end to wait for"),
        ([DATA, "--token-file", "/nowhere/token"], "--token-file /nowhere/token: No such file"),
    ],
)
def test_bad_usage_asks_the_endpoint_nothing(submit, kubeflow, options, says):
    code, err = one_line(*submit(*options))
    assert code == 2
    assert says in err
    assert kubeflow.asked == []


def test_a_host_without_a_scheme_is_refused(submit):
    code, err = one_line(*submit(DATA, host="kubeflow.example"))
    assert code == 2
    assert "http://" in err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (json.dumps({"pipelineSpec": {}}), "is for Vertex AI"),
        ("kind: ConfigMap", "is no definition"),
        ("- 1\n- 2", "is no definition"),
        (": [", "is no definition"),
    ],
)
def test_another_file_is_no_definition(submit, tmp_path, content, says):
    file = tmp_path / "other.yaml"
    file.write_text(content)
    code, err = one_line(*submit(file=file))
    assert code == 2
    assert says in err


def test_a_definition_that_is_not_there_is_said(submit, tmp_path):
    code, err = one_line(*submit(file=tmp_path / "none.yaml"))
    assert code == 2
    assert "No such file" in err


def test_without_kubeflows_package_the_extra_is_named(submit, monkeypatch):
    monkeypatch.setitem(sys.modules, "kfp", None)
    code, err = one_line(*submit(DATA))
    assert code == 2
    assert "ctnet[kubeflow]" in err

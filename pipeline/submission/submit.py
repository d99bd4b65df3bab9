"""Bring a compiled definition to a Kubeflow Pipelines endpoint, and run it there."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.submission.definition import Definition
from transform.errors import ConfigError, CtnetError

if TYPE_CHECKING:
    import kfp

SUCCEEDED = "SUCCEEDED"
# kfp's own wait does not know CANCELED, and would never end.
_ENDED = (SUCCEEDED, "FAILED", "SKIPPED", "CANCELED")
_HEALTH = "/apis/v2beta1/healthz"
_ANSWER_SECONDS = 20.0
# EQUALS in KFP's filter.proto.
_EQUALS = 1


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """Where Kubeflow Pipelines answers.

    Attributes:
      host: its address, with http:// or https://.
      token: a bearer token, None where it asks for none.
      namespace: of the user, where several share it; None where they do not.
    """

    host: str
    token: str | None = None
    namespace: str | None = None


@dataclasses.dataclass(frozen=True)
class Submission:
    """What is run.

    Attributes:
      definition: compiled.
      name: of the pipeline at the endpoint, and of its runs.
      experiment: which runs are listed under.
      parameters: that the run sets.
      cron: when it recurs, six fields; None for one run now.
    """

    definition: Definition
    name: str
    experiment: str
    parameters: dict[str, Any]
    cron: str | None = None


@dataclasses.dataclass
class Submitted:
    """What the endpoint made of it.

    Attributes:
      pipeline_id: of the pipeline.
      version_id: of its version.
      version: the version's name.
      uploaded: whether the version was not there before.
      experiment_id: of the experiment.
      run_id: of the run; None for a recurring one.
      recurring_run_id: of the recurring run; None for one run.
      replaced: recurring runs of the same name that it took the place of.
      url: where a person sees it.
      state: of the run, where it was waited for.
    """

    pipeline_id: str
    version_id: str
    version: str
    uploaded: bool
    experiment_id: str
    run_id: str | None = None
    recurring_run_id: str | None = None
    replaced: list[str] = dataclasses.field(default_factory=list)
    url: str = ""
    state: str | None = None


def read_token(path: Path) -> str:
    """Read a token's file.

    Raises:
      ConfigError: it cannot be read, or is empty.
    """
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is no text"
        raise ConfigError(f"--token-file {path}: {reason}") from None
    if not token:
        raise ConfigError(f"--token-file {path}: is empty")
    return token


def connect(endpoint: Endpoint) -> kfp.Client:
    """A client of an endpoint that answers.

    Raises:
      ConfigError: kfp is not installed, or the address cannot be one.
      CtnetError: nothing answers there, something else does, or the token is refused.
    """
    if not endpoint.host.startswith(("http://", "https://")):
        raise ConfigError(f"--host {endpoint.host}: must begin with http:// or https://")
    try:
        import kfp
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "kfp":
            raise
        raise ConfigError(
            "Kubeflow's own package is not installed: pip install 'ctnet[kubeflow]'"
        ) from None
    # kfp asks the same question, but for half a minute where the token is refused.
    _look(endpoint)
    with _explaining(endpoint):
        return kfp.Client(
            host=endpoint.host.rstrip("/"),
            existing_token=endpoint.token,
            # Its default; another one keeps it from looking which there are.
            namespace=endpoint.namespace or "kubeflow",
        )


def submit(client: kfp.Client, endpoint: Endpoint, submission: Submission) -> Submitted:
    """Upload the definition where its version is not there yet, and run it.

    A recurring run takes the place of those of its name in the experiment, once it is there.

    Raises:
      CtnetError: the endpoint refuses something, or is gone.
    """
    with _explaining(endpoint):
        pipeline_id, version_id, version, uploaded = _upload(client, submission)
        experiment = client.create_experiment(submission.experiment, namespace=endpoint.namespace)
        result = Submitted(pipeline_id, version_id, version, uploaded, experiment.experiment_id)
        what = {
            "experiment_id": experiment.experiment_id,
            "params": submission.parameters,
            "pipeline_id": pipeline_id,
            "version_id": version_id,
        }
        base = f"{endpoint.host.rstrip('/')}/#"
        if submission.cron is None:
            now = datetime.datetime.now(datetime.UTC)
            name = f"{submission.name} {now:%Y-%m-%d %H:%M:%S}"
            result.run_id = client.run_pipeline(job_name=name, **what).run_id
            result.url = f"{base}/runs/details/{result.run_id}"
            return result
        before = _recurring_runs(client, submission.name, experiment.experiment_id)
        made = client.create_recurring_run(
            job_name=submission.name,
            cron_expression=submission.cron,
            # Two at once would push over each other, and one sees what all missed ones would have.
            max_concurrency=1,
            no_catchup=True,
            **what,
        )
        result.recurring_run_id = made.recurring_run_id
        result.url = f"{base}/recurringrun/details/{made.recurring_run_id}"
        for old in before:
            client.delete_recurring_run(old)
            result.replaced.append(old)
        return result


def wait(
    client: kfp.Client,
    endpoint: Endpoint,
    run_id: str,
    pause: Callable[[float], None] = time.sleep,
    seconds: float = 15.0,
) -> str:
    """Wait until a run has ended.

    Args:
      client: of the endpoint.
      endpoint: where the run is.
      run_id: of the run.
      pause: called between two looks.
      seconds: what it is called with.

    Returns:
      The state that it ended in; `SUCCEEDED` is the good one.

    Raises:
      CtnetError: the endpoint is gone.
    """
    while True:
        with _explaining(endpoint):
            state = str(client.get_run(run_id).state)
        if state in _ENDED:
            return state
        pause(seconds)


def _upload(client: kfp.Client, submission: Submission) -> tuple[str, str, str, bool]:
    """Ids of the pipeline and of its version, the version's name, and whether it is new."""
    file, version = str(submission.definition.path), submission.definition.version
    pipeline_id = client.get_pipeline_id(submission.name)
    if pipeline_id is None:
        pipeline_id = client.upload_pipeline(file, pipeline_name=submission.name).pipeline_id
        # A pipeline comes with a first version, which has its name.
        (first,) = client.list_pipeline_versions(pipeline_id).pipeline_versions
        return pipeline_id, first.pipeline_version_id, first.display_name, True
    found = client.list_pipeline_versions(pipeline_id, filter=_named(version)).pipeline_versions
    for one in found or []:
        if one.display_name == version:
            return pipeline_id, one.pipeline_version_id, version, False
    made = client.upload_pipeline_version(file, version, pipeline_id=pipeline_id)
    return pipeline_id, made.pipeline_version_id, version, True


def _recurring_runs(client: kfp.Client, name: str, experiment_id: str) -> list[str]:
    found = client.list_recurring_runs(
        experiment_id=experiment_id, page_size=100, filter=_named(name)
    ).recurring_runs
    return [one.recurring_run_id for one in found or [] if one.display_name == name]


def _named(name: str) -> str:
    predicate = {"operation": _EQUALS, "key": "display_name", "stringValue": name}
    return json.dumps({"predicates": [predicate]})


def _look(endpoint: Endpoint) -> None:
    request = urllib.request.Request(f"{endpoint.host.rstrip('/')}{_HEALTH}")
    if endpoint.token:
        # Where the endpoint sends this on to is another's host, perhaps.
        request.add_unredirected_header("Authorization", f"Bearer {endpoint.token}")
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:
            json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise CtnetError(_refusal(endpoint, error.code, error.reason)) from None
    # A connection that is refused or breaks off, a name or certificate that is wrong.
    except OSError as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise CtnetError(f"{endpoint.host}: does not answer ({reason}); is --host right?") from None
    except ValueError:
        raise CtnetError(
            f"{endpoint.host}: answers, but not as Kubeflow Pipelines does (a page to log in, "
            "perhaps); give the address of its API, and --token-file where it asks for one"
        ) from None


def _refusal(endpoint: Endpoint, status: int, reason: str) -> str:
    if status in (401, 403):
        what = "the token of --token-file" if endpoint.token else "requests without --token-file"
        return f"{endpoint.host}: refuses {what} ({status} {reason})"
    if status == 404:
        return f"{endpoint.host}: is no Kubeflow Pipelines 2 endpoint ({status} {reason})"
    return f"{endpoint.host}: {status} {reason}"


@contextlib.contextmanager
def _explaining(endpoint: Endpoint) -> Iterator[None]:
    """Say in one line what the endpoint or the way to it objects to."""
    import kfp_server_api
    import urllib3

    try:
        yield
    except kfp_server_api.ApiException as error:
        raise CtnetError(_refusal(endpoint, error.status, _said(error))) from None
    except urllib3.exceptions.HTTPError as error:
        reason = " ".join(str(getattr(error, "reason", None) or error).split())
        raise CtnetError(f"{endpoint.host}: does not answer any more ({reason})") from None


def _said(error: Any) -> str:
    """What the endpoint says of a request that it refused."""
    with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError):
        said = json.loads(error.body)
        return " ".join(str(said.get("message") or said["error"]).split())[:300]
    return str(error.reason)

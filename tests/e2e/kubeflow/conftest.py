"""Kubeflow Pipelines on this machine: what its driver and launcher do around each container.

It follows the sources of the open-source backend; no backend was run beside it. Inputs come without
their type, artifacts lie in object storage and are fetched to and stored from the folders of a pod,
and nothing but the executor output tells what a step did.
"""

import concurrent.futures
import dataclasses
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
IMAGE_HOME = "/opt/ctnet"
STORE = "minio://mlpipeline/v2/artifacts"


@dataclasses.dataclass
class Step:
    """A finished step."""

    code: int
    log: str
    outputs: dict
    """The artifacts by name, as the metadata store has them."""


class Cluster:
    """One folder: the bucket, the pods' own file systems, and the mounted home."""

    def __init__(self, folder):
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self._runs = itertools.count(1)
        self._ids = itertools.count(1)

    def stored(self, uri):
        """The place of an address in the bucket."""
        return self.folder / "bucket" / uri.removeprefix("minio://")

    def run(self, definition, parameters, finished=None, only=None):
        """Run a definition's steps in their order, two at a time.

        Args:
          definition: the compiled file.
          parameters: of the run, by name; others have their defaults.
          finished: steps of an earlier run whose results are taken over.
          only: the steps to run anew, all others being taken over.

        Returns:
          The steps by name; after one that failed, those that needed it are missing.
        """
        spec = next(yaml.safe_load_all(definition.read_text()))
        run = Run(self, spec, parameters, f"run-{next(self._runs)}")
        done = {name: step for name, step in (finished or {}).items() if name not in (only or ())}
        waiting = {name: needs for name, needs in run.needs().items() if name not in done}
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            running = {}
            while True:
                for name, needs in waiting.items():
                    if name not in running and all(one in done for one in needs):
                        running[name] = pool.submit(run.execute, name, dict(done))
                waiting = {name: needs for name, needs in waiting.items() if name not in running}
                current = [one for name, one in running.items() if name not in done]
                if not current:
                    return {**done, **run.failed}
                concurrent.futures.wait(current, return_when=concurrent.futures.FIRST_COMPLETED)
                for name, future in list(running.items()):
                    if future.done() and name not in done:
                        step = future.result()
                        if step.code:
                            run.failed[name] = running.pop(name) and step
                        else:
                            done[name] = step

    def next_id(self):
        """The id of an artifact in the metadata store, as text."""
        return str(next(self._ids))


class Run:
    """One run of a definition."""

    def __init__(self, cluster, spec, parameters, name):
        self.cluster = cluster
        self.tasks = spec["root"]["dag"]["tasks"]
        self.components = spec["components"]
        self.executors = spec["deploymentSpec"]["executors"]
        self.pipeline = spec["pipelineInfo"]["name"]
        self.name = name
        self.failed = {}
        declared = spec["root"]["inputDefinitions"]["parameters"]
        assert set(parameters) <= set(declared), "KFP refuses parameters that are not declared"
        self.parameters = {
            name: parameters.get(name, one["defaultValue"]) for name, one in declared.items()
        }

    def needs(self):
        """The steps that each step waits for."""
        return {
            name: {
                *task.get("dependentTasks", []),
                *(
                    one["taskOutputArtifact"]["producerTask"]
                    for one in task.get("inputs", {}).get("artifacts", {}).values()
                ),
            }
            for name, task in self.tasks.items()
        }

    def _executor_input(self, name, done, pod):
        task = self.tasks[name]
        component = self.components[task["componentRef"]["name"]]
        values = {}
        for key, one in task["inputs"].get("parameters", {}).items():
            if "componentInputParameter" in one:
                values[key] = self.parameters[one["componentInputParameter"]]
            else:
                values[key] = one["runtimeValue"]["constant"]
        inputs = {}
        for key, one in task["inputs"].get("artifacts", {}).items():
            wired = one["taskOutputArtifact"]
            made = done[wired["producerTask"]].outputs[wired["outputArtifactKey"]]
            inputs[key] = {"artifacts": [made]}
        outputs = {
            key: {
                "artifacts": [
                    {
                        "name": key,
                        "type": one["artifactType"],
                        "uri": f"{STORE}/{self.pipeline}/{self.name}/{name}/{key}",
                        "metadata": one.get("metadata", {}),
                    }
                ]
            }
            for key, one in component.get("outputDefinitions", {}).get("artifacts", {}).items()
        }
        return {
            "inputs": {"parameterValues": values, "artifacts": inputs},
            "outputs": {"artifacts": outputs, "outputFile": f"{pod}/kfp_outputs/metadata.json"},
        }

    def execute(self, name, done):
        """What the launcher does: fetch, run the container's own command, store, read."""
        pod = self.cluster.folder / "pods" / f"{self.name}-{name}"
        pod.mkdir(parents=True)
        executor_input = self._executor_input(name, done, pod)
        for listed in executor_input["inputs"]["artifacts"].values():
            for one in listed["artifacts"]:
                source = self.cluster.stored(one["uri"])
                if source.exists():
                    local = pod / one["uri"].replace("://", "/", 1)
                    shutil.copytree(source, local, dirs_exist_ok=True)
        container = self.executors[self.tasks[name]["componentRef"]["name"] + "_executor"][
            "container"
        ]
        values = executor_input["inputs"]["parameterValues"]

        def resolved(text):
            text = re.sub(
                r"\{\{\$\.inputs\.parameters\['(.+?)'\]\}\}", lambda one: str(values[one[1]]), text
            )
            text = text.replace("{{$}}", json.dumps(executor_input))
            assert "{{$" not in text
            # The image's own folder is this distribution.
            return text.replace(IMAGE_HOME, str(ROOT))

        assert resolved(container["image"]) == self.parameters["image"]
        command = [resolved(one) for one in (*container["command"], *container["args"])]
        assert command[0] == "python"
        ended = subprocess.run(
            [sys.executable, *command[1:]],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env={
                **os.environ,
                "KFP_POD_NAME": f"{self.name}-{name}",
                "ARTIFACT_LOCAL_PATH": str(pod),
                "TMPDIR": str(pod),
            },
        )
        log = ended.stdout + ended.stderr
        if ended.returncode:
            return Step(ended.returncode, log, {})
        output = json.loads((pod / "kfp_outputs/metadata.json").read_text())
        outputs = {}
        for key, listed in executor_input["outputs"]["artifacts"].items():
            (given,) = listed["artifacts"]
            told = output["artifacts"].get(key, {"artifacts": [{}]})["artifacts"][0]
            uri = told.get("uri") or given["uri"]
            local = pod / uri.replace("://", "/", 1)
            if local.exists():
                shutil.copytree(local, self.cluster.stored(uri))
            # Without the type, which the metadata store does not give back.
            outputs[key] = {
                "name": self.cluster.next_id(),
                "uri": uri,
                "metadata": {**given["metadata"], **told.get("metadata", {})},
            }
        shutil.rmtree(pod)
        return Step(0, log, outputs)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster that nothing ran on."""
    return Cluster(tmp_path_factory.mktemp("cluster"))


@pytest.fixture(scope="session")
def store():
    """The address of the artifacts."""
    return STORE

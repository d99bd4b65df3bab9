"""What runs on Kubernetes beside the servers: retraining by the clock, and several workers."""

import kubernetes_validate
import pytest
import typer.main
import yaml

from pipeline.cli import app
from pipeline.run_folder.workdir import Workdir
from pipeline.summary import ExitCode

VERSIONS = ("1.29", kubernetes_validate.latest_version())
# By the documentation of Kubeflow's Training Operator.
TF_CONTAINER, TF_PORT = "tensorflow", {"name": "tfjob-port", "containerPort": 2222}


@pytest.fixture(scope="module")
def retrain(deploy):
    return yaml.safe_load((deploy / "kubernetes" / "retrain.yaml").read_text())


@pytest.fixture(scope="module")
def training(deploy):
    return yaml.safe_load((deploy / "kubernetes" / "trainjob.yaml").read_text())


@pytest.fixture(params=["retrain", "training"])
def job_pod(request, retrain, training):
    """The pod of each, one after the other."""
    if request.param == "retrain":
        return retrain["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return training["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]


@pytest.fixture
def job_container(job_pod):
    (only,) = job_pod["containers"]
    return only


def parsed(container):
    """What ctnet makes of the container's options; fails as the command itself would."""
    program, command = container["command"]
    assert program == "ctnet"
    known = typer.main.get_command(app).commands[command]
    return command, known.make_context(command, list(container["args"])).params


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_of_kubernetes_accept_the_cron_job(retrain, version):
    kubernetes_validate.validate(retrain, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_of_kubernetes_accept_the_workers_pod(training, version):
    template = training["spec"]["tfReplicaSpecs"]["Worker"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    kubernetes_validate.validate(pod, version, strict=True)


def test_the_commands_and_their_options_are_ours(job_container):
    command, options = parsed(job_container)
    assert command in ("retrain", "train-worker")
    given = {str(value) for value in options.values()}
    mounts = {mount["mountPath"] for mount in job_container["volumeMounts"]}
    assert str(options["config"].parent) in mounts
    assert str(options["workdir"]) in mounts
    assert {one.partition("=")[2] for one in job_container["args"]} - {"60"} <= given


def test_nobody_but_an_ordinary_user_without_rights_runs_them(job_pod, job_container):
    context = job_pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert min(context["runAsUser"], context["runAsGroup"], context["fsGroup"]) > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert job_pod["automountServiceAccountToken"] is False
    context = job_container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_they_run_as_the_user_of_the_image(job_pod, deploy):
    image_user = next(
        line.split()[1]
        for line in (deploy / "Dockerfile").read_text().splitlines()
        if line.startswith("USER ")
    )
    context = job_pod["securityContext"]
    assert image_user == f"{context['runAsUser']}:{context['runAsGroup']}"


def test_what_they_write_beside_the_volume_goes_where_they_may(job_container):
    home = {one["name"]: one["value"] for one in job_container["env"]}["HOME"]
    writable = {
        mount["mountPath"] for mount in job_container["volumeMounts"] if not mount.get("readOnly")
    }
    assert home in writable
    assert "/tmp" in writable


def test_every_mount_is_a_volume_of_the_pod(job_pod, job_container):
    volumes = {volume["name"] for volume in job_pod["volumes"]}
    assert {mount["name"] for mount in job_container["volumeMounts"]} == volumes


def test_memory_and_processor_are_requested_and_limited_alike(job_container):
    resources = job_container["resources"]
    for kind in ("cpu", "memory"):
        assert resources["requests"][kind] == resources["limits"][kind]


def test_what_is_pushed_is_what_the_servers_read(job_pod, job_container, manifests):
    """The claim is the servers', and they mount of it what a run calls its serving folder."""
    (work,) = [mount for mount in job_container["volumeMounts"] if mount["mountPath"] == "/work"]
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in job_pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert claims[work["name"]] == manifests["PersistentVolumeClaim"]["metadata"]["name"]
    assert "subPath" not in work
    (served,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    (models,) = [mount for mount in served["volumeMounts"] if mount["mountPath"] == "/models"]
    _, options = parsed(job_container)
    serving = Workdir(options["workdir"]).serving
    assert str(serving.parent) == f"/work/{models['subPath']}"


def test_two_retrainings_never_run_at_once(retrain):
    assert retrain["spec"]["concurrencyPolicy"] == "Forbid"


def test_only_what_another_try_could_mend_is_tried_again(retrain):
    job = retrain["spec"]["jobTemplate"]["spec"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert job["backoffLimit"] > 0
    ignored, failed = job["podFailurePolicy"]["rules"]
    assert (ignored["action"], failed["action"]) == ("Ignore", "FailJob")
    codes = failed["onExitCodes"]
    assert codes["operator"] == "In"
    assert set(codes["values"]) == {ExitCode.USAGE, ExitCode.NOT_BLESSED, ExitCode.BAD_DATA}
    (container,) = job["template"]["spec"]["containers"]
    assert codes["containerName"] == container["name"]


def test_threads_of_retraining_follow_the_limit_of_the_container(retrain):
    (container,) = retrain["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    values = {one["name"]: one["value"] for one in container["env"]}
    cores = container["resources"]["limits"]["cpu"]
    assert values["TF_NUM_INTRAOP_THREADS"] == values["OMP_NUM_THREADS"] == cores


def test_a_retraining_ends_before_the_next_is_due(retrain):
    _, hours, *_ = retrain["spec"]["schedule"].split()
    assert hours.isdecimal(), "not once a day"
    assert retrain["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] < 24 * 3600


def test_the_operator_finds_the_container_and_the_port_that_tf_config_names(training):
    assert (training["apiVersion"], training["kind"]) == ("kubeflow.org/v1", "TFJob")
    # A chief or a parameter server would have other roles in TF_CONFIG.
    assert set(training["spec"]["tfReplicaSpecs"]) == {"Worker"}
    worker = training["spec"]["tfReplicaSpecs"]["Worker"]
    assert worker["replicas"] > 1
    (container,) = worker["template"]["spec"]["containers"]
    assert container["name"] == TF_CONTAINER
    assert container["ports"] == [TF_PORT]


def test_workers_that_lost_one_are_started_again_with_it(training):
    assert training["spec"]["tfReplicaSpecs"]["Worker"]["restartPolicy"] == "OnFailure"
    assert training["spec"]["runPolicy"]["backoffLimit"] > 0
    # Worker 0 is not the last to end, and not the first.
    assert training["spec"]["successPolicy"] == "AllWorkers"

"""The Kubernetes objects: valid, agreeing with one another, and as closed as they claim to be."""

import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml

from transform.prediction import MODEL_NAME

# The oldest that managed clusters still offer with extended support, and the newest known here.
VERSIONS = ("1.29", kubernetes_validate.latest_version())
OVERLAYS = ("base", "pinned", "gpu")
PORTS = {"grpc": 8500, "rest": 8501}


@pytest.fixture(scope="module", params=OVERLAYS)
def rendered(request, deploy):
    """What `kubectl apply -k` would send to a cluster, by kind."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl to render kustomizations")
    folder = deploy / "kubernetes" / request.param
    text = subprocess.run(
        [kubectl, "kustomize", str(folder)], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_of_kubernetes_accept_every_object(manifests, version):
    assert set(manifests) == {
        "Deployment",
        "Service",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PersistentVolumeClaim",
    }
    for each in manifests.values():
        kubernetes_validate.validate(each, version, strict=True)


def test_the_schemas_would_notice_a_misspelt_field(manifests):
    service = manifests["Service"]
    broken = {**service, "spec": {**service["spec"], "selectors": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_accept_what_kustomize_makes_of_them(rendered, version):
    assert "ConfigMap" in rendered
    for each in rendered.values():
        kubernetes_validate.validate(each, version, strict=True)


def test_the_pod_mounts_the_configuration_that_kustomize_made(rendered, deploy):
    made = rendered["ConfigMap"]
    volumes = rendered["Deployment"]["spec"]["template"]["spec"]["volumes"]
    (mounted,) = [volume["configMap"]["name"] for volume in volumes if "configMap" in volume]
    assert mounted == made["metadata"]["name"]
    assert mounted != "ctnet-serving", "without a hash, a changed file would change running pods"
    assert set(made["data"]) == {file.name for file in (deploy / "serving").glob("*.config")}


def test_removing_the_servers_leaves_the_models(rendered):
    assert "PersistentVolumeClaim" not in rendered


def test_nobody_but_an_ordinary_user_runs_the_server(pod):
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["runAsGroup"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False


def test_the_container_has_no_rights_and_a_disk_that_it_cannot_write(container):
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert set(mounts) == {"/models", "/config", "/tmp"}
    assert mounts["/models"]["readOnly"] is True
    assert mounts["/config"]["readOnly"] is True


def test_the_server_sees_the_models_and_no_patient_data(container):
    (models,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/models"]
    assert models["subPath"] == "serving"


def test_every_mount_is_a_volume_of_the_pod(pod, container, manifests):
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    claim = volumes["models"]["persistentVolumeClaim"]["claimName"]
    assert claim == manifests["PersistentVolumeClaim"]["metadata"]["name"]


def test_processor_and_memory_are_requested_and_limited(container):
    resources = container["resources"]
    assert set(resources["requests"]) == set(resources["limits"]) == {"cpu", "memory"}


def test_threads_follow_the_limit_of_the_container(container):
    cores = container["resources"]["limits"]["cpu"]
    for scope in ("intra", "inter"):
        assert f"--tensorflow_{scope}_op_parallelism={cores}" in container["args"]


def test_ports_agree_from_the_service_to_the_flags(manifests, container):
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == PORTS
    assert f"--port={PORTS['grpc']}" in container["args"]
    assert f"--rest_api_port={PORTS['rest']}" in container["args"]
    service = manifests["Service"]["spec"]["ports"]
    assert {port["targetPort"]: port["port"] for port in service} == PORTS
    template = manifests["Deployment"]["spec"]["template"]
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(PORTS["rest"])


def test_a_pod_is_ready_only_while_it_serves_a_version(container):
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {
            "path": f"/v1/models/{MODEL_NAME}/metadata",
            "port": "rest",
        }


def test_a_pod_is_not_restarted_for_want_of_a_model(container):
    assert container["livenessProbe"]["httpGet"]["path"] == f"/v1/models/{MODEL_NAME}"


def test_a_slow_start_is_not_taken_for_a_failed_rollout(manifests, container):
    probe = container["startupProbe"]
    assert (
        probe["failureThreshold"] * probe["periodSeconds"]
        < manifests["Deployment"]["spec"]["progressDeadlineSeconds"]
    )


def test_a_pod_answers_until_clients_have_left_it(pod, container):
    kind, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert kind == "sleep"
    assert 0 < int(seconds) < pod["terminationGracePeriodSeconds"]


def test_every_selector_finds_the_pods(manifests):
    deployment = manifests["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"].items() <= labels.items()
    assert manifests["Service"]["spec"]["selector"].items() <= labels.items()
    for kind, field in (("NetworkPolicy", "podSelector"), ("PodDisruptionBudget", "selector")):
        assert manifests[kind]["spec"][field]["matchLabels"].items() <= labels.items()


def test_one_pod_always_stays(manifests):
    deployment = manifests["Deployment"]["spec"]
    assert deployment["replicas"] > manifests["PodDisruptionBudget"]["spec"]["maxUnavailable"]
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_the_network_is_closed_but_for_clients_and_metrics(manifests):
    policy = manifests["NetworkPolicy"]["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert policy["egress"] == []
    for rule in policy["ingress"]:
        assert rule["from"]
        assert {port["port"] for port in rule["ports"]} <= set(PORTS.values())


@pytest.mark.parametrize("rendered", ["pinned"], indirect=True)
def test_a_pinned_server_is_ready_when_the_stable_version_is_there(rendered):
    (container,) = rendered["Deployment"]["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe"):
        path = container[probe]["httpGet"]["path"]
        assert path == f"/v1/models/{MODEL_NAME}/labels/stable/metadata"


@pytest.mark.parametrize("rendered", ["gpu"], indirect=True)
def test_the_gpu_server_asks_for_a_gpu_and_for_the_image_that_uses_it(rendered, manifests):
    (container,) = rendered["Deployment"]["spec"]["template"]["spec"]["containers"]
    (plain,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"{plain['image']}-gpu"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "allowed_batch_sizes" in rendered["ConfigMap"]["data"]["batching_parameters.config"]

"""The files that bring a cluster up: against the schema of who reads them, and what they promise.

Ray's configurations go through Ray's own checks, Kubernetes' objects and pod templates through
Kubernetes' schema, compose through the Compose Specification's, KubeRay's resources through a
schema written from its reference; the Dockerfile through hadolint, the script through shellcheck.
"""

import copy
import json
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from kuberay_schema import SCHEMAS

ROOT = Path(__file__).parents[3]
FILES = ROOT / "cluster"
KUBERNETES = sorted((FILES / "kubernetes").glob("*.yaml"))
LABEL = {"app.kubernetes.io/part-of": "distillation-study"}
BINARIES = Path(sys.executable).parent


def documents(path: Path) -> list[dict[str, Any]]:
    return [body for body in yaml.safe_load_all(path.read_text()) if body]


def clusters() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every specification of a Ray cluster on Kubernetes."""
    for path in KUBERNETES:
        for body in documents(path):
            if body["kind"] == "RayCluster":
                yield path.name, body["spec"]
            elif body["kind"] == "RayJob":
                yield path.name, body["spec"]["rayClusterSpec"]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, spec in clusters():
        yield f"{name} head", spec["headGroupSpec"]["template"]
        for group in spec["workerGroupSpecs"]:
            yield f"{name} {group['groupName']}", group["template"]


CLUSTERS, PODS = dict(clusters()), dict(pods())


def checked_by_ray(config: dict[str, Any]) -> dict[str, Any]:
    """Ray's own path of a configuration, as `ray up` begins it."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: dict[str, Any] = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


@pytest.mark.parametrize("name", ["aws.yaml", "machines.yaml"])
def test_ray_up_takes_the_configuration(name: str) -> None:
    (config,) = documents(FILES / name)
    prepared = checked_by_ray(config)
    assert prepared["cluster_name"] == "distillation"


@pytest.mark.parametrize("name", ["aws.yaml", "machines.yaml"])
def test_ray_up_starts_every_node_with_the_token_and_the_dashboard_on_loopback(name: str) -> None:
    (config,) = documents(FILES / name)
    assert "~/.ray/auth_token" in config["file_mounts"]
    starts = [config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]]
    assert all("RAY_AUTH_MODE=token" in start for start in starts)
    assert "--dashboard-host 127.0.0.1" in starts[0]


@pytest.mark.parametrize("name", ["aws.yaml", "machines.yaml"])
def test_what_is_installed_is_sent_and_passwords_records_and_data_stay_at_home(name: str) -> None:
    (config,) = documents(FILES / name)
    token = "~/.ray/auth_token"
    sent = {there: here for there, here in config["file_mounts"].items() if there != token}
    assert {f"~/distillation-study/{here}" for here in sent.values()} == set(sent)
    assert set(sent.values()) == copied_into_the_image()
    assert all((ROOT / here).exists() for here in sent.values())
    assert "**/.env" in config["rsync_exclude"]


def copied_into_the_image() -> set[str]:
    lines = (FILES / "Dockerfile").read_text().splitlines()
    return {word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]}


def test_every_machine_has_the_same_extras_and_builds_what_was_sent() -> None:
    (aws,), (machines,) = documents(FILES / "aws.yaml"), documents(FILES / "machines.yaml")
    installs = [config["setup_commands"][-1] for config in (aws, machines)]
    assert all("rm -rf build *.egg-info && " in install for install in installs)
    extras = {
        tuple(re.findall(r"'\.\[(.+)\]'", text))
        for text in (*installs, (FILES / "Dockerfile").read_text())
    }
    assert extras == {("cluster,quantize,export",)}


def test_a_machine_of_aws_is_set_up_once_it_has_set_itself_up() -> None:
    (config,) = documents(FILES / "aws.yaml")
    assert config["initialization_commands"] == ["cloud-init status --wait || true"]
    (apt,) = (command for command in config["setup_commands"] if "apt-get" in command)
    assert apt.count("apt-get ") == apt.count("apt-get -o DPkg::Lock::Timeout=300 ")


def test_of_ones_own_machines_the_head_trains_nothing() -> None:
    (config,) = documents(FILES / "machines.yaml")
    assert "--num-cpus 0 --num-gpus 0 " in config["head_start_ray_commands"][-1]
    # Under the newer autoscaler the head takes the place of one of them.
    assert "export RAY_enable_autoscaler_v2=0;" in config["head_start_ray_commands"][-1]
    assert len(config["provider"]["worker_ips"]) == config["max_workers"]


def test_on_aws_the_machines_that_train_are_there_before_a_study_asks_for_them() -> None:
    (config,) = documents(FILES / "aws.yaml")
    types = config["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["worker"]["min_workers"] == types["worker"]["max_workers"] == 4
    assert config["max_workers"] == 4


def test_ray_refuses_a_configuration_with_a_field_that_it_does_not_know() -> None:
    (config,) = documents(FILES / "aws.yaml")
    with pytest.raises(jsonschema.ValidationError):
        checked_by_ray({**config, "max_worker": 3})


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_kubernetes_takes_the_objects(path: Path) -> None:
    for body in documents(path):
        if body["apiVersion"] == "ray.io/v1":
            jsonschema.validate(body, SCHEMAS[body["kind"]])
        else:
            kubernetes_validate.validate(body, "1.31", strict=True)


@pytest.mark.parametrize("name", PODS)
def test_kubernetes_takes_the_pod_templates(name: str) -> None:
    template = copy.deepcopy(PODS[name])
    kubernetes_validate.validate(as_pod(template), "1.31", strict=True)


def with_lines(path: Path, what: str) -> str:
    """A file with its lines for something, such as GPUs, in place."""
    lines: list[str] = []
    for line in path.read_text().splitlines():
        place, word, own = re.match(rf"(\s*)(?:# (?:{what}) (instead|also): (.+))?", line).groups()
        if word == "instead":
            lines.pop()
        lines.append(f"{place}{own}" if own else line)
    return "\n".join(lines)


def on_gpus(path: Path) -> str:
    return with_lines(path, "On GPUs")


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_workers_on_kubernetes_may_have_a_gpu_and_the_head_has_none(name: str) -> None:
    body = yaml.safe_load(on_gpus(FILES / "kubernetes" / name))
    jsonschema.validate(body, SCHEMAS[body["kind"]])
    spec = body["spec"].get("rayClusterSpec", body["spec"])
    (group,) = spec["workerGroupSpecs"]
    kubernetes_validate.validate(as_pod(group["template"]), "1.31", strict=True)
    (worker,) = group["template"]["spec"]["containers"]
    (head,) = spec["headGroupSpec"]["template"]["spec"]["containers"]
    assert worker["resources"]["requests"] == worker["resources"]["limits"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in head["resources"]["limits"]


def test_workers_on_aws_may_have_a_gpu_and_the_head_has_none() -> None:
    types = checked_by_ray(yaml.safe_load(on_gpus(FILES / "aws.yaml")))["available_node_types"]
    assert types["worker"]["node_config"]["InstanceType"].startswith("g")
    assert types["worker"]["node_config"]["ImageId"]
    assert types["head"]["node_config"]["InstanceType"] == "m7i.xlarge"


@pytest.mark.parametrize("name", PODS)
def test_pods_have_passwords_of_secrets_that_need_not_be_and_workers_those_of_the_store(
    name: str,
) -> None:
    (container,) = PODS[name]["spec"]["containers"]
    secrets = [each["secretRef"] for each in container["envFrom"]]
    assert all(secret["optional"] for secret in secrets)
    asked = ["study-passwords", "study-store"]
    assert [secret["name"] for secret in secrets] == asked["head" not in name :]
    readme = (FILES / "README.md").read_text()
    assert re.findall(r"^kubectl create secret generic (\S+)", readme, re.M) == asked


def test_on_aws_head_and_workers_may_have_profiles_of_ones_own_each_another() -> None:
    from ray.autoscaler._private.aws.config import _configure_iam_role

    text = with_lines(FILES / "aws.yaml", "With profiles of your own")
    config = checked_by_ray(yaml.safe_load(text))
    profiles = [
        kind["node_config"]["IamInstanceProfile"]["Name"]
        for kind in config["available_node_types"].values()
    ]
    assert profiles == ["study-head", "study-worker"]
    assert _configure_iam_role(config) is config  # Ray gives the head no role of its own then


def asked_of_slurm(script: str) -> list[str]:
    """The options that `sbatch` reads from a script: those before its first command."""
    lines = script.splitlines()
    first = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    return re.findall(r"^#SBATCH (.+)$", "\n".join(lines[:first]), flags=re.MULTILINE)


def test_a_slurm_job_may_ask_for_gpus() -> None:
    script = (FILES / "slurm.sh").read_text()
    assert "--gres=gpu:1" not in asked_of_slurm(script)
    on_gpus = re.sub(r"^##(SBATCH --gres)", r"#\1", script, flags=re.MULTILINE)
    assert "--gres=gpu:1" in asked_of_slurm(on_gpus)


def test_a_slurm_job_has_its_machines_to_itself() -> None:
    assert {"--exclusive", "--mem=0"} <= set(asked_of_slurm((FILES / "slurm.sh").read_text()))


def as_pod(template: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", **template["metadata"]},
        "spec": template["spec"],
    }


def test_a_misspelt_field_is_found_in_a_pod_and_in_a_cluster() -> None:
    pod = as_pod(copy.deepcopy(next(iter(PODS.values()))))
    pod["spec"]["securityContex"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, "1.31", strict=True)
    body = copy.deepcopy(documents(FILES / "kubernetes" / "raycluster.yaml")[0])
    body["spec"]["authOption"] = {"mode": "token"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body, SCHEMAS["RayCluster"])


@pytest.mark.parametrize("name", CLUSTERS)
def test_clusters_on_kubernetes_ask_for_a_token_and_publish_nothing(name: str) -> None:
    spec = CLUSTERS[name]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert len(spec["workerGroupSpecs"]) == 1


def gibibytes(quantity: str) -> float:
    return float(quantity.removesuffix("Gi"))


@pytest.mark.parametrize("name", PODS)
def test_rays_objects_have_room_in_the_shared_memory_of_a_pod(name: str) -> None:
    from ray._private.ray_constants import DEFAULT_OBJECT_STORE_MEMORY_PROPORTION

    spec = PODS[name]["spec"]
    (container,) = spec["containers"]
    (shm,) = (each["emptyDir"] for each in spec["volumes"] if each["name"] == "shm")
    memory = gibibytes(container["resources"]["limits"]["memory"])
    assert shm["medium"] == "Memory"
    assert gibibytes(shm["sizeLimit"]) > DEFAULT_OBJECT_STORE_MEMORY_PROPORTION * memory


@pytest.mark.parametrize("name", PODS)
def test_pods_are_nobody_special_and_under_the_network_policy(name: str) -> None:
    template = PODS[name]
    (policy,) = documents(FILES / "kubernetes" / "network-policy.yaml")
    assert policy["spec"]["podSelector"] == {"matchLabels": LABEL}
    assert LABEL.items() <= template["metadata"]["labels"].items()
    spec = template["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    (container,) = spec["containers"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["requests"] == container["resources"]["limits"]


def test_the_network_policy_lets_in_the_studys_own_pods_and_the_operator_to_one_port() -> None:
    (policy,) = documents(FILES / "kubernetes" / "network-policy.yaml")
    own, operator = policy["spec"]["ingress"]
    assert own == {"from": [{"podSelector": {"matchLabels": LABEL}}]}
    assert [port["port"] for port in operator["ports"]] == [8265]
    labels = [peer["podSelector"]["matchLabels"] for peer in operator["from"]]
    assert labels == [  # of Helm's chart, and of its kustomization
        {"app.kubernetes.io/name": "kuberay-operator"},
        {
            "app.kubernetes.io/name": "kuberay",
            "app.kubernetes.io/component": "kuberay-operator",
        },
    ]
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert all(rule.get("to") for rule in policy["spec"]["egress"])


@pytest.mark.parametrize("name", CLUSTERS)
def test_clusters_run_the_ray_that_is_pinned(name: str) -> None:
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned is not None
    assert CLUSTERS[name]["rayVersion"] == pinned[1]


def test_the_compose_specification_takes_the_mlflow_file() -> None:
    done = subprocess.run(
        [
            *(str(BINARIES / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec"),
            str(FILES / "mlflow" / "compose.yaml"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_mlflow_file_builds_the_image_that_nobody_publishes() -> None:
    path = FILES / "mlflow" / "compose.yaml"
    services = yaml.safe_load(path.read_text())["services"]
    for name in ("bucket", "server"):
        build = services[name]["build"]
        context = (path.parent / build["context"]).resolve()
        assert (context, context / build["dockerfile"]) == (ROOT, FILES / "Dockerfile")


def test_mlflow_is_published_on_loopback_alone_and_every_password_must_be_set() -> None:
    text = (FILES / "mlflow" / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:5000:5000"]
    assert "--app-name=basic-auth" in services["server"]["command"]
    assert services["database"]["networks"] == services["objects"]["networks"] == ["inside"]
    assert yaml.safe_load(text)["networks"]["inside"] == {"internal": True}
    content = yaml.safe_load(text)["configs"]["identities"]["content"]
    (identity,) = json.loads(content)["identities"]
    assert identity["credentials"][0]["accessKey"] == "mlflow"
    assert "-s3.config=/etc/seaweedfs/s3.json" in services["objects"]["command"]
    # All parts of the object store but that one, which alone asks for keys, are on its loopback.
    told = dict(word.split("=") for word in services["objects"]["command"] if "=" in word)
    assert (told["-ip"], told["-ip.bind"], told["-s3.ip.bind"]) == ("127.0.0.1",) * 2 + ("0.0.0.0",)
    example = (FILES / "mlflow" / "env.example").read_text()
    secrets = set(re.findall(r"\$\{(\w+):\?", text))
    assert secrets == {
        "POSTGRES_PASSWORD",
        "OBJECTS_SECRET_KEY",
        "MLFLOW_ADMIN_PASSWORD",
        "MLFLOW_SECRET_KEY",
    }
    for secret in secrets:
        assert (
            f"\n{secret}=\n" in f"\n{example}"
        )  # no password that somebody would forget to change


def test_the_dockerfile_is_clean() -> None:
    lint = [str(BINARIES / "hadolint"), "--failure-threshold", "style", "--ignore", "DL3059"]
    done = subprocess.run(
        [*lint, str(FILES / "Dockerfile")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_image_is_pinned_runs_as_nobody_special_and_holds_every_room() -> None:
    lines = (FILES / "Dockerfile").read_text().splitlines()
    (base,) = [line for line in lines if line.startswith("FROM ")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    least = project["project"]["requires-python"].removeprefix(">=")
    assert base == f"FROM python:{least}-slim-bookworm"
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER 1000:1000"]
    assert lines.index(users[0]) > max(i for i, line in enumerate(lines) if "RUN" in line)
    copied = copied_into_the_image()
    assert {"study", "search_spaces", "cluster", "analysis"} < copied
    let_in = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in copied} <= set(let_in)
    assert "*" in let_in


@pytest.mark.parametrize("command", [["bash", "-n"], [str(BINARIES / "shellcheck")]])
def test_the_slurm_script_is_a_sound_shell_script(command: list[str]) -> None:
    done = subprocess.run(
        [*command, str(FILES / "slurm.sh")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def slurm_job(
    folder: Path, ray: str, driver: str, others: int | None = None, machine: str = "first"
) -> subprocess.Popen[str]:
    """The script as SLURM begins it; `srun` and `scontrol` are stood in for, and so are two more.

    Args:
        folder: The user's home.
        ray: What `ray` does, in shell.
        driver: What `python -m study.launch` does, in shell.
        others: With which code the other machines' part ends, if not with that of `ray`.
        machine: The one that `srun` runs its command on.
    """
    of_ray = 'case "$*" in *--min-nodes*)'
    ends = "" if others is None else f'{of_ray} "$@"; exit {others};; esac; '
    (folder / "bin").mkdir()
    scripts = {
        "scontrol": "echo first; sleep 0.1; echo second",
        "hostname": "echo 127.0.1.1 fe80::1 10.0.0.7 10.0.0.8",
        # Which tells each machine how many CPUs of its own the job has.
        "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; export SLURM_CPUS_ON_NODE=4; '
        f'{ends}exec "$@"',
        "ray": ray,
        "python": f'[ "$1" = -m ] || exec {sys.executable} "$@"\n{driver}',
    }
    for name, body in scripts.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / "bin" / name).chmod(0o755)
    return subprocess.Popen(
        [shutil.which("bash") or "bash", str(FILES / "slurm.sh"), "--space", "a b"],
        env={
            **{"PATH": "/usr/bin:/bin", "HOME": str(folder), "STUDY_ENV": str(folder)},
            **{"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_NUM_NODES": "2"},
            **{"SLURM_JOB_ID": "41", "SLURM_CPUS_ON_NODE": "8", "SLURMD_NODENAME": machine},
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# Runs what stands behind `--`, as `ray symmetric-run` does on the head.
ENTRYPOINT = 'while [ "$1" != -- ]; do shift; done; shift; "$@"; exit $?'


def test_the_slurm_script_asks_ray_for_what_it_has(tmp_path: Path) -> None:
    """Its command goes through Ray's own parser."""
    asked = tmp_path / "asked"
    ray = (
        f'printf "%s\\n" "$@" >{asked}; stat -c %a "$RAY_AUTH_TOKEN_PATH" >{asked}.mode; '
        f'wc -c <"$RAY_AUTH_TOKEN_PATH" >{asked}.size; umask >{asked}.mask; {ENTRYPOINT}'
    )
    with slurm_job(tmp_path, ray, f'printf "%s\\n" "$@" >{asked}.driver; exit 3') as job:
        _, errors = job.communicate(timeout=60)
    assert job.returncode == 3, errors  # the driver's
    words = asked.read_text().splitlines()
    assert words[0] == "symmetric-run"
    from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

    split = words.index("--")
    assert words[split - 4 : split] == ["--address", "10.0.0.7:20041", "--min-nodes", "2"]
    assert curate_and_validate_ray_start_args(words[1:split]) == [
        *("--include-dashboard=false", "--num-cpus=4")
    ]
    assert Path(f"{asked}.driver").read_text().splitlines() == [
        *("-m", "study.launch", "--address", "auto", "--space", "a b")
    ]
    assert (tmp_path / "asked.mode").read_text().strip() == "600"
    assert int((tmp_path / "asked.size").read_text()) == 64
    mask = subprocess.run(["sh", "-c", "umask"], capture_output=True, text=True, check=True).stdout
    assert (tmp_path / "asked.mask").read_text() == mask  # the study's files are as elsewhere
    assert list(tmp_path.glob(".study-ray-*")) == []  # the token goes with the job


def test_of_a_slurm_jobs_machines_only_the_head_is_told_of_the_dashboard(tmp_path: Path) -> None:
    """Where there is no head, `ray start` refuses to hear of one."""
    asked = tmp_path / "asked"
    with slurm_job(tmp_path, f'printf "%s\\n" "$@" >{asked}', "exit 0", machine="second") as job:
        job.communicate(timeout=60)
    words = asked.read_text().splitlines()
    from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

    assert curate_and_validate_ray_start_args(words[1 : words.index("--")]) == ["--num-cpus=4"]


@pytest.mark.parametrize("machine", ["first", "second"])
def test_ray_has_a_folder_of_a_slurm_job_alone_which_goes_with_it(
    tmp_path: Path, machine: str
) -> None:
    asked = tmp_path / "asked"
    ray = (
        f'echo "$RAY_TMPDIR" >{asked}; stat -c %a "$RAY_TMPDIR" >{asked}.mode; '
        f'mkdir -p "$RAY_TMPDIR/ray/session"; {ENTRYPOINT}'
    )
    with slurm_job(tmp_path, ray, "exit 0", machine=machine) as job:
        _, errors = job.communicate(timeout=60)
    assert job.returncode == 0, errors
    place = Path(asked.read_text().strip())
    assert (place.parent, place.name[:4]) == (Path("/tmp"), "ray-")
    assert (tmp_path / "asked.mode").read_text().strip() == "700"
    assert not place.exists()
    # A socket's whole path has a bound.
    session = "session_2026-11-28_07-30-00_123456_4194304"
    assert len(f"{'t' * 24}/{place.name}/ray/{session}/sockets/plasma_store") <= 107


def test_the_other_machines_of_a_slurm_job_end_with_the_driver(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    ray = f"sleep 60 & : >{begun}; wait"  # goes on for long after its head has gone
    with slurm_job(tmp_path, ray, "exit 0", machine="second") as job:
        for _ in range(2400):
            if begun.exists():
                break
            time.sleep(0.05)
        (secrets,) = tmp_path.glob(".study-ray-*")
        (secrets / "driver.code").write_text("5\n")
        _, errors = job.communicate(timeout=30)  # which waits for all that could still print
    assert job.returncode == 5, errors


def test_when_its_time_is_nearly_up_the_slurm_script_asks_the_driver_alone_to_stop(
    tmp_path: Path,
) -> None:
    text = (FILES / "slurm.sh").read_text()
    assert "#SBATCH --signal=B:TERM@" in text  # without B the steps would be told, and not this
    begun = tmp_path / "begun"
    # Goes on for a while after it was asked, as a driver that closes its study does.
    driver = f"trap 'sleep 0.5; echo closed; exit 5' TERM; : >{begun}; while :; do sleep 0.05; done"
    with slurm_job(tmp_path, f"trap 'echo killed' TERM; {ENTRYPOINT}", driver) as job:
        for _ in range(2400):
            if begun.exists():
                break
            time.sleep(0.05)
        job.terminate()  # as SLURM does with B: this process alone
        printed, errors = job.communicate(timeout=60)
    assert job.returncode == 5, errors
    assert printed == "closed\n"
    assert list(tmp_path.glob(".study-ray-*")) == []


@pytest.mark.parametrize("code", [0, 1, 3, 130])
def test_a_slurm_job_ends_as_its_driver_and_not_as_the_machines_that_are_ended_then(
    code: int, tmp_path: Path
) -> None:
    with slurm_job(tmp_path, ENTRYPOINT, f"exit {code}", others=143) as job:
        _, errors = job.communicate(timeout=60)
    assert job.returncode == code, errors


@pytest.mark.parametrize(("ray", "code"), [("exit 0", 1), ("exit 7", 7)])
def test_a_slurm_job_without_a_driver_has_failed(ray: str, code: int, tmp_path: Path) -> None:
    with slurm_job(tmp_path, ray, "exit 0") as job:
        _, errors = job.communicate(timeout=60)
    assert job.returncode == code, errors


def test_a_slurm_job_that_is_told_before_there_is_a_driver_ends(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    with slurm_job(tmp_path, f": >{begun}; exec sleep 60", "exit 0") as job:
        for _ in range(2400):
            if begun.exists():
                break
            time.sleep(0.05)
        job.terminate()
        _, errors = job.communicate(timeout=30)
    assert job.returncode == 143, errors
    assert list(tmp_path.glob(".study-ray-*")) == []


def test_the_job_on_kubernetes_is_a_command_that_this_package_understands() -> None:
    import shlex

    from study.arguments import parser

    (job,) = documents(FILES / "kubernetes" / "rayjob.yaml")
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:3] == ["python", "-m", "study.launch"]
    asked = parser().parse_args(words[3:])
    assert (asked.address, asked.studies) == ("auto", "/studies")
    assert job["spec"]["backoffLimit"] == 0  # whoever stops a study does not want it begun again
    mounts = [pod["spec"]["containers"][0]["volumeMounts"] for pod in PODS.values()]
    assert all(asked.studies in [mount["mountPath"] for mount in each] for each in mounts)


def test_what_is_to_be_replaced_says_so() -> None:
    """Made-up addresses stand beside the word by which they are found."""
    for path in [*FILES.glob("*.yaml"), *KUBERNETES]:
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if re.search(r"example\.org|0{8}|storageClassName|head_ip", line):
                near = "\n".join(lines[max(0, number - 3) : number + 1])
                assert "REPLACE" in near, f"{path.name}:{number + 1}"


@pytest.mark.parametrize("package", ["study", "search_spaces", "cluster", "analysis"])
def test_every_file_is_packaged(package: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"][package]
    place = ROOT / package
    packaged = {path for pattern in patterns for path in place.glob(pattern) if path.is_file()}
    there = {path for path in place.rglob("*") if path.is_file()}
    # Pages, and the pictures that they show, are read where the project lies.
    pages = {path for path in there if path.suffix == ".md"}
    for page in [ROOT / "README.md", *ROOT.glob("*/README.md")]:
        shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text())
        pages |= {(page.parent / picture).resolve() for picture in shown}
    assert there - pages - {p for p in there if p.suffix in (".py", ".pyc")} <= packaged


def commands_of_readme(module: str) -> list[str]:
    text = (FILES / "README.md").read_text()
    return re.findall(rf"^python -m {module} (.+?)(?:\s+#.*)?$", text, flags=re.MULTILINE)


def test_every_command_of_the_readme_is_one_the_parsers_take() -> None:
    from study.__main__ import make_parser
    from study.arguments import parser

    launches, verbs = commands_of_readme(r"study\.launch"), commands_of_readme("study")
    assert len(launches) > 4
    assert len(verbs) == 4
    for line in launches:
        parser().parse_args(line.split())
    for line in verbs:
        make_parser().parse_args(line.split())


def test_every_file_that_the_readme_names_is_there() -> None:
    text = (FILES / "README.md").read_text()
    named = set(re.findall(r"cluster/[\w./-]+\.(?:yaml|sh|example)|cluster/Dockerfile", text))
    assert len(named) > 7
    assert [name for name in named if not (ROOT / name).is_file()] == []

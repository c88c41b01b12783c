"""`ray up` and `ray down` with the file for AWS, against a server of its API (moto).

What `ray up` would do over ssh is written down and not done; on one's own machines it is
(`test_cluster_ssh.py`). The workers are what the head asks for, by the same provider.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import find_free_port
from launching import REPOSITORY, Launcher
from objects import KEYS, server_at

pytestmark = pytest.mark.end_to_end
# What Ray's head does with the configuration that `ray up` sends along.
_WORKER = """
import json, sys, yaml
from ray.autoscaler._private.commands import _bootstrap_config
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler.tags import TAG_RAY_NODE_KIND, TAG_RAY_NODE_NAME, TAG_RAY_USER_NODE_TYPE
with open(sys.argv[1]) as file:
    config = _bootstrap_config(yaml.safe_load(file))
provider = AWSNodeProvider(config["provider"], config["cluster_name"])
kind = config["available_node_types"]["worker"]
tags = {TAG_RAY_NODE_KIND: "worker", TAG_RAY_USER_NODE_TYPE: "worker", TAG_RAY_NODE_NAME: "worker"}
for _ in range(kind["min_workers"]):  # one by one: of several, the server makes the least
    provider.create_node(kind["node_config"], tags, 1)
"""


@pytest.fixture
def environment(launcher: Launcher, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A user's, with the API on loopback, and with what notes commands in place of ssh."""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0" * 64)
    (tmp_path / "bin").mkdir()
    note = f'#!{sys.executable}\nimport json, sys\nwith open("{tmp_path}/sent", "a") as file:\n'
    note += '    file.write(json.dumps(sys.argv) + "\\n")\n'
    for name in ("ssh", "rsync"):
        (tmp_path / "bin" / name).write_text(note)
        (tmp_path / "bin" / name).chmod(0o755)
    url = f"http://127.0.0.1:{find_free_port()}"
    with pytest.MonkeyPatch.context() as patch:
        # The server's, else it knows none of the policies that Ray gives its head.
        patch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
        with server_at(url):
            path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
            own = {"HOME": str(tmp_path), "PATH": path, "AWS_ENDPOINT_URL": url}
            # Where `ray up` keeps what it found out, which is of this server alone.
            yield {**launcher.environment(), **KEYS, **own, "TMPDIR": str(tmp_path)}


def client(service: str, environment: Mapping[str, str], region: str) -> Any:
    import boto3

    return boto3.client(
        *(service, region),
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )


def instances(ec2: Any) -> list[dict[str, Any]]:
    return [i for each in ec2.describe_instances()["Reservations"] for i in each["Instances"]]


def test_the_machines_that_aws_is_asked_for_are_those_of_the_file(
    environment: dict[str, str], tmp_path: Path
) -> None:
    config = yaml.safe_load((REPOSITORY / "cluster" / "aws.yaml").read_text())
    region = environment["AWS_DEFAULT_REGION"] = config["provider"]["region"]
    ec2 = client("ec2", environment, region)
    image = ec2.describe_images()["Images"][0]["ImageId"]
    for kind in config["available_node_types"].values():
        kind["node_config"]["ImageId"] = image
    file = tmp_path / "aws.yaml"
    file.write_text(yaml.safe_dump(config))

    def run(*words: str) -> None:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    ray = str(Path(sys.executable).parent / "ray")
    run(ray, "up", "--yes", str(file))
    (head,) = instances(ec2)
    run("-c", _WORKER, str(file))
    workers = [each for each in instances(ec2) if each["InstanceId"] != head["InstanceId"]]

    assert head["InstanceType"] == "m7i.xlarge"
    assert "InstanceLifecycle" not in head  # on demand
    assert [each["InstanceType"] for each in workers] == ["m7i.2xlarge"] * 4
    assert {each["InstanceLifecycle"] for each in workers} == {"spot"}
    for machine in (head, *workers):
        assert machine["MetadataOptions"]["HttpTokens"] == "required"
        (disk,) = [each["Ebs"]["VolumeId"] for each in machine["BlockDeviceMappings"]]
        (volume,) = ec2.describe_volumes(VolumeIds=[disk])["Volumes"]
        assert (volume["Size"], volume["VolumeType"], volume["Encrypted"]) == (60, "gp3", True)
    # ssh from anywhere, and all ports among the machines.
    (group,) = {each["GroupId"] for each in head["SecurityGroups"]}
    assert {each["GroupId"] for w in workers for each in w["SecurityGroups"]} == {group}
    (made,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    open_to_all = [p for p in made["IpPermissions"] if p["IpRanges"]]
    assert [(p["FromPort"], p["ToPort"]) for p in open_to_all] == [(22, 22)]

    sent = [json.loads(line) for line in (tmp_path / "sent").read_text().splitlines()]
    told = [words[-1] for words in sent if words[0].endswith("ssh")]
    copied = [words[-1] for words in sent if words[0].endswith("rsync")]
    assert any("/studies" in words for words in told)
    assert any("ray start --head" in words for words in told)
    assert any(there.endswith("/.ray/auth_token") for there in copied)

    run(ray, "down", "--yes", str(file))
    assert {each["State"]["Name"] for each in instances(ec2)} == {"terminated"}

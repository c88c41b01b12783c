"""What KubeRay takes in a RayCluster and a RayJob, for `jsonschema`.

Written from KubeRay's API reference for ``ray.io/v1`` (version 1.7), as its own resource
definitions come with no package registry; closed, so that a misspelt field is found. Pod templates
are left to Kubernetes' own schema.
"""

from typing import Any

TEXT = {"type": "string"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
COUNT = {"type": "integer", "minimum": 0}
TEMPLATE = {"type": "object", "required": ["spec"]}


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


CLUSTER_SPEC = closed(
    ["headGroupSpec"],
    rayVersion=TEXT,
    suspend={"type": "boolean"},
    managedBy={"enum": ["ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"]},
    enableInTreeAutoscaling={"type": "boolean"},
    autoscalerOptions={"type": "object"},
    gcsFaultToleranceOptions={"type": "object"},
    headServiceAnnotations=TEXTS,
    authOptions=closed(
        [],
        mode={"enum": ["disabled", "token"]},
        enableK8sTokenAuth={"type": "boolean"},
        secretName=TEXT,
    ),
    headGroupSpec=closed(
        ["template"],
        serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
        headService={"type": "object"},
        enableIngress={"type": "boolean"},
        labels=TEXTS,
        resources=TEXTS,
        rayStartParams=TEXTS,
        template=TEMPLATE,
    ),
    workerGroupSpecs={
        "type": "array",
        "items": closed(
            ["groupName", "template"],
            groupName=TEXT,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            idleTimeoutSeconds=COUNT,
            numOfHosts={"type": "integer", "minimum": 1},
            suspend={"type": "boolean"},
            scaleStrategy={"type": "object"},
            labels=TEXTS,
            resources=TEXTS,
            rayStartParams=TEXTS,
            template=TEMPLATE,
        ),
    },
)
JOB_SPEC = closed(
    [],
    entrypoint=TEXT,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    entrypointResources=TEXT,
    runtimeEnvYAML=TEXT,
    jobId=TEXT,
    metadata=TEXTS,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    submitterPodTemplate=TEMPLATE,
    submitterConfig=closed([], backoffLimit=COUNT),
    clusterSelector=TEXTS,
    managedBy={"enum": ["ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"]},
    backoffLimit=COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    waitingTtlSeconds=COUNT,
    shutdownAfterJobFinishes={"type": "boolean"},
    ttlSecondsAfterFinished=COUNT,
    deletionStrategy={"type": "object"},
    suspend={"type": "boolean"},
    rayClusterSpec=CLUSTER_SPEC,
)


def resource(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return closed(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=closed(
            [], name=TEXT, generateName=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS
        ),
        spec=spec,
    )


SCHEMAS = {
    "RayCluster": resource("RayCluster", CLUSTER_SPEC),
    "RayJob": resource("RayJob", JOB_SPEC),
}

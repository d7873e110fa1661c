"""What the schemas do not know: that the manifests fit each other, and the rules of `restricted` pods."""

import glob
import os
import sys

import yaml

DRAIN_SECONDS = 25


def load(folder):
    documents = []
    for path in sorted(glob.glob(os.path.join(folder, "*.yaml"))):
        with open(path, encoding="utf-8") as file:
            documents += [(os.path.basename(path), document) for document in yaml.safe_load_all(file)]
    return documents


def pods(documents):
    for _, document in documents:
        if document["kind"] in ("StatefulSet", "Deployment", "Job"):
            yield document["metadata"]["name"], document["spec"]["template"]


def check(folder):
    documents = load(folder)
    problems = []
    kustomization = next(document for _, document in documents if document["kind"] == "Kustomization")
    files = {name for name, _ in documents} - {"kustomization.yaml", "secrets.example.yaml"}
    if files != set(kustomization["resources"]):
        problems.append(f"kustomization.yaml has {kustomization['resources']}, the folder {sorted(files)}")
    for generator in kustomization["configMapGenerator"]:
        problems += [f"{path} is missing" for path in generator["files"]
                     if not os.path.exists(os.path.join(folder, path))]
    images = {image["name"] for image in kustomization["images"]}
    secrets = {document["metadata"]["name"] for _, document in documents if document["kind"] == "Secret"}
    configs = {generator["name"] for generator in kustomization["configMapGenerator"]}

    labels = [template["metadata"]["labels"] for _, template in pods(documents)]
    for name, template in pods(documents):
        spec = template["spec"]
        context = spec["securityContext"]
        if not context.get("runAsNonRoot") or context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            problems.append(f"{name}: not restricted")
        for container in spec["containers"]:
            security = container["securityContext"]
            if (security.get("allowPrivilegeEscalation") is not False or not security.get("readOnlyRootFilesystem")
                    or security.get("capabilities") != {"drop": ["ALL"]}):
                problems.append(f"{name}: its container is not restricted")
            if container["image"] not in images:
                problems.append(f"{name}: image {container['image']} has no place in kustomization.yaml")
            if "memory" not in container["resources"].get("limits", {}):
                problems.append(f"{name}: no limit of memory")
            if "ports" in container:
                probes = [container.get(probe) for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
                ports = {port["name"] for port in container["ports"]}
                if not all(probe and probe["httpGet"]["port"] in ports for probe in probes):
                    problems.append(f"{name}: a probe is missing, or asks at no port of the container")
                if spec.get("terminationGracePeriodSeconds", 30) < DRAIN_SECONDS + 10:
                    problems.append(f"{name}: less time to end than draining takes")
            for source in container.get("envFrom", []):
                if source["secretRef"]["name"] not in secrets:
                    problems.append(f"{name}: secrets.example.yaml does not have {source['secretRef']['name']}")
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        for volume in volumes.values():
            if "secret" in volume and volume["secret"]["secretName"] not in secrets:
                problems.append(f"{name}: secrets.example.yaml does not have {volume['secret']['secretName']}")
            if "configMap" in volume and volume["configMap"]["name"] not in configs:
                problems.append(f"{name}: no config map {volume['configMap']['name']}")

    for _, document in documents:
        spec = document.get("spec", {})
        wanted = {"Service": spec.get("selector"), "PodDisruptionBudget": (spec.get("selector") or {}).get("matchLabels"),
                  "NetworkPolicy": (spec.get("podSelector") or {}).get("matchLabels")}.get(document["kind"])
        if wanted and not any(wanted.items() <= found.items() for found in labels):
            problems.append(f"{document['kind']} {document['metadata']['name']} selects no pod")
    return problems


if __name__ == "__main__":
    found = check(sys.argv[1])
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)
    sys.exit(bool(found))

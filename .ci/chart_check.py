"""Checks the chart in helm/onsale as Helm and Kubernetes would, and against the binary's settings.

Started by .ci/chart. Every check is a function `check_…`; the last line is `N passed, N failed`.
"""

import functools
import json
import pathlib
import re
import shutil
import sys
import tempfile
import time
import tomllib

import helm_python as helm
import kubernetes_validate
import yaml
from kubernetes_validate import utils as kubernetes_schemas

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHART = ROOT / "helm" / "onsale"
ROLES = ["allocator", "catalog", "edge", "payments"]
KUBERNETES = ["1.31.0", kubernetes_validate.latest_version()]
STOP_SECONDS = 10
NAMESPACE = "sales"

# Values whose content is somebody else's or a list: one line in the README.
OPAQUE = {"resources", "gatewayTo", "gatewayPorts"}
OVERLAYS = {
    name: yaml.safe_load((CHART / file).read_text())
    for name, file in {
        "dev": "values-dev.yaml",
        "prod": "values-prod.yaml",
        "full": "ci/full-values.yaml",
        "bare": "ci/bare-values.yaml",
    }.items()
} | {"default": {}}
REFUSED = yaml.safe_load((CHART / "ci" / "refused.yaml").read_text())

# A definition file has tens of thousands of lines: read it once, not once per object.
kubernetes_schemas.schema_contents = functools.cache(kubernetes_schemas.schema_contents)


def need(condition, sentence):
    if not condition:
        raise AssertionError(sentence)


def documents(rendered):
    found = []
    for path, text in sorted(rendered.items()):
        if not path.endswith(".txt"):
            found += [document for document in yaml.safe_load_all(text) if document]
    return found


def render(values, chart=CHART, name="onsale"):
    with helm.Chart.load(chart) as loaded:
        loaded.validate_schema(values)
        return loaded.render(values, name=name, namespace=NAMESPACE)


def of_kind(objects, *kinds):
    return [item for item in objects if item["kind"] in kinds]


def named(objects, kind, name):
    found = [item for item in of_kind(objects, kind) if item["metadata"]["name"] == name]
    need(len(found) == 1, f"{kind} {name} is there {len(found)} times")
    return found[0]


def component(item):
    return item["metadata"]["labels"].get("app.kubernetes.io/component")


def pods(objects):
    """Label, annotations and spec of all pods by component."""
    found = {}
    for item in of_kind(objects, "StatefulSet", "Deployment"):
        template = item["spec"]["template"]
        found[component(template)] = (template["metadata"], template["spec"])
    for item in of_kind(objects, "Pod"):
        found[component(item)] = (item["metadata"], item["spec"])
    need(sorted(found) == sorted([*ROLES, "test"]), f"pods: {sorted(found)}")
    return found


def settings():
    """The binary's table: path -> (default, secret)."""
    text = (ROOT / "onsale/src/config/table.rs").read_text()
    text = text.split("SETTINGS: &[Setting]", 1)[1]
    string = r'"((?:[^"\\]|\\.)*)"'
    table = {}
    for match in re.finditer(rf"(?<![\w])setting\(\s*{string},\s*{string},", text):
        path, default = (json.loads(f'"{part}"') for part in match.groups())
        table[path] = (tomllib.loads(f"value = {default}")["value"], False)
    for match in re.finditer(rf"(?<![\w])secret\(\s*{string},", text):
        table[match.group(1)] = ("", True)
    calls = len(re.findall(r"(?<![\w])(?:setting|secret)\(", text))
    need(len(table) == calls and calls > 20, f"{len(table)} of {calls} settings understood")
    return table


def configs(objects):
    """The TOML of each role."""
    data = of_kind(objects, "ConfigMap")[0]["data"]
    return {key.removesuffix(".toml"): tomllib.loads(text) for key, text in data.items()}


def check_lint(values, _rendered, _objects):
    report = helm.lint(CHART, values, strict=True, kube_version="v1.31.0", namespace=NAMESPACE)
    worse = [note for note in report["messages"] if note["severity"] > 1]
    need(not worse and not report["errors"], f"{worse} {report['errors']}")


def check_kubernetes_knows_every_field(_values, _rendered, objects):
    need(len(objects) >= 10, f"only {len(objects)} objects")
    for item in objects:
        for version in KUBERNETES:
            try:
                kubernetes_validate.validate(item, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = ".".join(str(part) for part in error.path)
                raise AssertionError(
                    f"{version} {item['kind']} {item['metadata']['name']} {where}: {error.message}"
                ) from error


def check_settings_exist_and_have_the_right_type(_values, _rendered, objects):
    table, files = settings(), configs(objects)
    need(sorted(files) == ROLES, f"files: {sorted(files)}")
    for role, tables in files.items():
        for name, content in tables.items():
            for key, value in content.items():
                path = f"{name}.{key}"
                need(path in table, f"{role}.toml: there is no setting {path}")
                default, is_secret = table[path]
                need(type(value) is type(default), f"{role}.toml: {path} = {value!r}")
                need(not is_secret, f"{role}.toml: {path} is a secret and not for a ConfigMap")
        need("@" not in str(tables), f"{role}.toml: looks like a credential")


def check_variables_exist_and_hold_secrets_by_reference(_values, _rendered, objects):
    table = settings()
    for role, (_, spec) in pods(objects).items():
        for variable in spec["containers"][0].get("env", []):
            name = variable["name"]
            need(name.startswith("ONSALE_"), f"{role}: {name}")
            path = name.removeprefix("ONSALE_").lower().replace("__", ".", 1)
            need(path in table, f"{role}: {name}: there is no setting {path}")
            if table[path][1]:
                need("secretKeyRef" in variable.get("valueFrom", {}), f"{role}: {name} in clear")
    edge = pods(objects)["edge"][1]["containers"][0]
    need("env" not in edge, "the edge needs no keys")


def check_roles_and_commands_exist(_values, _rendered, objects):
    cli = (ROOT / "onsale/src/cli.rs").read_text()
    known = re.search(r"pub enum Role \{(.*?)\n\}", cli, re.S).group(1)
    known = {word.lower() for word in re.findall(r"^    (\w+),", known, re.M)}
    need(known == set(ROLES), f"the binary's roles: {sorted(known)}")
    for role in ROLES:
        args = pods(objects)[role][1]["containers"][0]["args"]
        file = "/etc/onsale/config/onsale.toml"
        need(args == ["run", "--config", file, "--role", role], f"{role}: {args}")
    args = pods(objects)["test"][1]["containers"][0]["args"]
    need(args[:3] == ["cluster", "status", "--grpc"] and "Status {" in cli, f"test: {args}")


def check_nodes_are_the_pods_of_the_headless_service(values, _rendered, objects):
    [stateful] = of_kind(objects, "StatefulSet")
    name, spec = stateful["metadata"]["name"], stateful["spec"]
    service = named(objects, "Service", spec["serviceName"])["spec"]
    need(service["clusterIP"] == "None", "the service has an address")
    need(service["publishNotReadyAddresses"] is True, "peers must talk before they are ready")
    need(spec["podManagementPolicy"] == "Parallel", "forming needs all nodes at once")
    need(spec["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Retain", "disks vanish")
    start, replicas = spec["ordinals"]["start"], spec["replicas"]
    suffix = values.get("clusterDomain", "cluster.local")
    expected = [
        f"{node}={name}-{node}.{spec['serviceName']}.{NAMESPACE}.svc.{suffix}:8082"
        for node in range(start, start + replicas)
    ]
    need(start == 1 and replicas % 2 == 1, f"from {start}, {replicas} of them")
    for role, tables in configs(objects).items():
        need(tables["cluster"]["nodes"] == expected, f"{role}: {tables['cluster']['nodes']}")
    [index] = [
        variable["valueFrom"]["fieldRef"]["fieldPath"]
        for variable in pods(objects)["allocator"][1]["containers"][0]["env"]
        if variable["name"] == "ONSALE_NODE__ID"
    ]
    need(index == "metadata.labels['apps.kubernetes.io/pod-index']", index)


def check_budgets_keep_a_majority(values, _rendered, objects):
    budgets = {component(item): item["spec"] for item in of_kind(objects, "PodDisruptionBudget")}
    if not values.get("podDisruptionBudget", {}).get("enabled", True):
        need(not budgets, "budgets although switched off")
        return
    replicas = of_kind(objects, "StatefulSet")[0]["spec"]["replicas"]
    if replicas == 1:
        need("allocator" not in budgets, "the host of a single allocator could not be drained")
    else:
        budget = budgets["allocator"]
        need(budget["minAvailable"] == replicas // 2 + 1, f"{budget} of {replicas}")
        need("maxUnavailable" not in budget, f"{budget}")
    need(set(budgets) >= set(ROLES) - {"allocator"}, f"{sorted(budgets)}")


def check_pods_are_locked_down(_values, _rendered, objects):
    for role, (_, spec) in pods(objects).items():
        need(spec["automountServiceAccountToken"] is False, f"{role} has a token")
        need(spec["enableServiceLinks"] is False, f"{role} has service variables")
        pod = spec["securityContext"]
        need(pod["runAsNonRoot"] and pod["runAsUser"] > 0, f"{role} may be root")
        need(pod["seccompProfile"]["type"] == "RuntimeDefault", f"{role} without seccomp")
        for container in spec["containers"]:
            rights = container["securityContext"]
            need(rights["readOnlyRootFilesystem"] is True, f"{role} may write")
            need(rights["allowPrivilegeEscalation"] is False, f"{role} may gain rights")
            need(rights["capabilities"] == {"drop": ["ALL"]}, f"{role} has capabilities")
            sizes = container["resources"]
            need(set(sizes["requests"]) == {"cpu", "memory"}, f"{role} without requests")
            need("memory" in sizes["limits"], f"{role} without a memory limit")
            need(":latest" not in container["image"], f"{role}: {container['image']}")


def check_pods_are_probed_and_stop_in_order(_values, _rendered, objects):
    ops = (ROOT / "mesh/src/ops.rs").read_text()
    for role in ROLES:
        spec = pods(objects)[role][1]
        container = spec["containers"][0]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        node = configs(objects)[role]["node"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            get = container[probe]["httpGet"]
            need(f'"{get["path"]}"' in ops, f"{role}: nothing answers {get['path']}")
            need(node["ops_listen"].endswith(f":{ports[get['port']]}"), f"{role}: {probe}")
        need(container["livenessProbe"]["httpGet"]["path"] == "/livez", f"{role}: liveness")
        need(container["readinessProbe"]["httpGet"]["path"] == "/readyz", f"{role}: readiness")
        need(node["grpc_listen"].endswith(f":{ports['grpc']}"), f"{role}: gRPC port")
        need(not node["ops_listen"].startswith("127."), f"{role}: probes cannot reach it")
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {})
        least = sleep.get("seconds", 0) + STOP_SECONDS
        need(spec["terminationGracePeriodSeconds"] > least, f"{role} is killed while it stops")


def check_mounts_are_where_the_settings_look(_values, _rendered, objects):
    secret_files = ["cluster.secret_file", "payments.signing_key_file"]
    for role in ROLES:
        spec = pods(objects)[role][1]
        mounts = {mount["mountPath"]: mount for mount in spec["containers"][0]["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        tables = configs(objects)[role]
        for path in secret_files:
            table, key = path.split(".")
            file = tables.get(table, {}).get(key)
            if file:
                folder, _, leaf = file.rpartition("/")
                items = volumes[mounts[folder]["name"]]["secret"]["items"]
                need(leaf in [item["path"] for item in items], f"{role}: {path} is not mounted")
        key = volumes["config"]["configMap"]["items"][0]["key"]
        need(key == f"{role}.toml", f"{role} reads {key}")
        writes = role in ("allocator", "catalog")
        need((tables["node"]["data_dir"] in mounts) is writes, f"{role}: data folder")


def check_names_and_selectors_meet(_values, _rendered, objects):
    labels = {role: metadata["labels"] for role, (metadata, _) in pods(objects).items()}

    def chosen(selector):
        return {role for role, own in labels.items() if selector.items() <= own.items()}

    for item in of_kind(objects, "Service"):
        [role] = chosen(item["spec"]["selector"])
        ports = {p["name"] for p in pods(objects)[role][1]["containers"][0]["ports"]}
        need({p["targetPort"] for p in item["spec"]["ports"]} <= ports, f"service of {role}")
        need(component(item) == role, f"service {item['metadata']['name']} chooses {role}")
    selecting = ("StatefulSet", "Deployment", "PodDisruptionBudget")
    for item in of_kind(objects, *selecting):
        selector = item["spec"]["selector"]["matchLabels"]
        need(chosen(selector) == {component(item)}, f"{item['kind']} chooses {chosen(selector)}")
    services = {item["metadata"]["name"] for item in of_kind(objects, "Service")}
    edge = configs(objects)["edge"]["edge"]
    for key in ("catalog", "payments"):
        host, port = edge[key].rsplit(":", 1)
        need(host.split(".")[0] in services and port == "8082", f"edge.{key} = {edge[key]}")
        need(host.split(".")[0].endswith(f"-{key}"), f"edge.{key} = {edge[key]}")
    for item in of_kind(objects, "Ingress"):
        backend = item["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"]
        need(backend in services, f"the ingress leads to {backend}")


def check_network_policies_open_only_what_is_needed(values, _rendered, objects):
    policies = {component(item): item["spec"] for item in of_kind(objects, "NetworkPolicy")}
    if not values.get("networkPolicy", {}).get("enabled", True):
        need(not policies, "policies although switched off")
        return
    labels = {role: metadata["labels"] for role, (metadata, _) in pods(objects).items()}
    need(set(policies) == set(labels), f"{sorted(policies)}")

    def peers(rules, port):
        found = set()
        for rule in rules:
            if port in [p["port"] for p in rule["ports"]]:
                for peer in rule.get("from", rule.get("to", [{}])):
                    wanted = peer.get("podSelector", {}).get("matchLabels", {})
                    found |= {r for r, own in labels.items() if wanted.items() <= own.items()}
        return found

    for role, spec in policies.items():
        need(sorted(spec["policyTypes"]) == ["Egress", "Ingress"], f"{role}")
        called_by = peers(spec["ingress"], "grpc")
        calls = {r for r in labels if role in peers(policies[r]["egress"], 8082)}
        need(called_by == calls, f"{role} lets in {called_by}, is called by {calls}")
    need(peers(policies["allocator"]["ingress"], "grpc") == set(labels), "allocator's callers")
    need(peers(policies["edge"]["ingress"], "http"), "nobody reaches the edge")
    reaches = [r for r in policies if any("ipBlock" in p for e in policies[r]["egress"]
                                          for p in e.get("to", []))]
    need(reaches == ["payments"], f"{reaches} may leave the cluster")


def check_numbers_are_written_out(_values, rendered, _objects):
    for path, text in rendered.items():
        need(not re.search(r"\d\.\d+e\+\d", text), f"{path}: a number in scientific notation")
        need("<no value>" not in text and "%!" not in text, f"{path}: a value is missing")


def check_no_namespace_is_written(_values, _rendered, objects):
    for item in objects:
        need("namespace" not in item["metadata"], f"{item['kind']} names its namespace")
    names = {(item["kind"], item["metadata"]["name"]) for item in objects}
    need(len(names) == len(objects), "a name stands twice")


def refusal(values, word):
    try:
        render(values)
    except helm.HelmError as error:
        need(word in str(error), f"refused for another reason: {error}")
        return
    raise AssertionError("was accepted")


def check_formed_cluster_keeps_its_shape():
    """The guard sees a cluster only on a real upgrade: here it is shown what it would see."""
    probe = """
{{- $formed := dict "metadata" (dict "annotations" (dict "onsale/identity" "name=a shards=4")) }}
{{- include "onsale.guardFormed" (dict "existing" $formed "identity" .Values.cluster.name) }}
{{- include "onsale.guardFormed" (dict "existing" (dict "metadata" dict) "identity" "x") }}
"""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "onsale"
        shutil.copytree(CHART, copy)
        (copy / "values.schema.json").unlink()
        (copy / "templates" / "guard.yaml").write_text(probe)
        render({"cluster": {"name": "name=a shards=4"}}, copy)
        try:
            render({"cluster": {"name": "name=a shards=8"}}, copy)
        except helm.HelmError as error:
            need("was formed with name=a shards=4" in str(error), str(error))
            return
    raise AssertionError("a formed cluster was given another shape")


def check_a_role_restarts_only_when_its_file_changes():
    def sums(values):
        return {
            role: metadata["annotations"]["checksum/config"]
            for role, (metadata, _) in pods(documents(render(values))).items()
            if role in ROLES
        }

    before, after = sums({}), sums({"edge": {"connectionsMax": 100}})
    changed = {role for role in ROLES if before[role] != after[role]}
    need(changed == {"edge"}, f"{sorted(changed)} would restart")
    for role, (metadata, _) in pods(documents(render({}))).items():
        if role in ROLES:
            need("helm.sh/chart" not in metadata["labels"], f"{role}: a new chart restarts it")


def check_releases_do_not_share_names():
    one, other = (documents(render({}, name=name)) for name in ("spring", "autumn"))
    names = [{(i["kind"], i["metadata"]["name"]) for i in objects} for objects in (one, other)]
    need(not names[0] & names[1], f"{names[0] & names[1]}")
    long = documents(render({}, name="r" * 53))
    for item in long:
        room = 52 if item["kind"] == "StatefulSet" else 63
        need(len(item["metadata"]["name"]) <= room, f"{item['metadata']['name']} is too long")


def commented_values():
    """Each value's path, default and comment, in the order of values.yaml."""
    lines = (CHART / "values.yaml").read_text().splitlines()
    rows, comment, stack, skip = [], [], [], None
    for line in lines:
        indent, text = len(line) - len(line.lstrip()), line.strip()
        if skip is not None and (indent > skip or text.startswith("- ")):
            continue
        skip = None
        match = re.match(r"([A-Za-z]+):(.*)", text)
        if text.startswith("#"):
            comment.append(text.lstrip("# "))
        elif match:
            stack = [entry for entry in stack if entry[0] < indent]
            stack.append((indent, match.group(1)))
            path = ".".join(name for _, name in stack)
            need(comment, f"values.yaml: {path} has no comment")
            value = yaml.safe_load((CHART / "values.yaml").read_text())
            for _, name in stack:
                value = value[name]
            if match.group(1) in OPAQUE:
                skip = indent
            if match.group(1) in OPAQUE or not isinstance(value, dict) or not value:
                rows.append((path, value, " ".join(comment)))
            comment = []
        else:
            comment = []
    return rows


def values_table():
    lines = ["| value | default | meaning |", "| --- | --- | --- |"]
    for path, value, comment in commented_values():
        shown = f"`{json.dumps(value)}`" if value != "" else "empty"
        lines.append(f"| `{path}` | {shown} | {comment} |")
    return "\n".join(lines)


BEGIN, END = "<!-- values: .ci/chart --write -->\n", "\n<!-- end of values -->"


def check_readme_shows_every_value():
    text = (CHART / "README.md").read_text()
    shown = text.split(BEGIN, 1)[1].split(END, 1)[0]
    need(shown == values_table(), "README.md is not current: run .ci/chart --write")


def check_schema_knows_every_value():
    with helm.Chart.load(CHART) as chart:
        schema = chart.schema

    def walk(values, node, path):
        for key, value in values.items():
            need(key in node["properties"], f"values.schema.json does not know {path}{key}")
            child = node["properties"][key]
            if isinstance(value, dict) and "properties" in child:
                need(child["additionalProperties"] is False, f"{path}{key} takes anything")
                walk(value, child, f"{path}{key}.")

    walk(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "")


def write_readme():
    readme = CHART / "README.md"
    head, rest = readme.read_text().split(BEGIN, 1)
    readme.write_text(head + BEGIN + values_table() + END + rest.split(END, 1)[1])


def main():
    started, passed, failed = time.monotonic(), 0, 0
    if "--write" in sys.argv[1:]:
        write_readme()

    def run(name, check, *arguments):
        nonlocal passed, failed
        try:
            check(*arguments)
            passed += 1
        except Exception as error:  # A check that breaks has failed; the others still run.
            failed += 1
            print(f"FAILED {name}: {type(error).__name__}: {error}")

    checks = [(n, c) for n, c in globals().items() if n.startswith("check_")]
    for overlay, values in OVERLAYS.items():
        try:
            rendered = render(values)
            objects = documents(rendered)
        except Exception as error:
            failed += 1
            print(f"FAILED {overlay}: does not render: {error}")
            continue
        for name, check in checks:
            if check.__code__.co_argcount == 3:
                run(f"{overlay} {name}", check, values, rendered, objects)
    for name, check in checks:
        if check.__code__.co_argcount == 0:
            run(name, check)
    for case in REFUSED:
        run(f"refuses {case['what']}", refusal, case["values"], case["reason"])
    print(f"Helm {helm.helm_sdk_version()}, Kubernetes {' and '.join(KUBERNETES)}, "
          f"{time.monotonic() - started:.1f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Measures in the cluster of cluster.sh: how long after the API server a change of a pod is known inside and outside of the cluster, and how a service
outside is reached by pods. Prints each figure. The arguments are the number of trials, and the names of the parts, as `sidecar annotated`, if not all of
them are to run; `laptop` needs `readiness`."""

import json
import os
import ssl
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

import yaml

W, HOST, PORT = os.environ["W"], os.environ["HOST"], os.environ["P"]
API = f"https://{HOST}:{PORT}"
TOKEN = "a-token-of-the-cluster-of-the-benchmark"
PACKAGING = os.path.join(os.path.dirname(__file__), "../../packaging")
CHART = os.path.join(PACKAGING, "helm/portolan")
TRIALS = int(sys.argv[1]) if len(sys.argv) > 1 else 20
CONTEXT = ssl.create_default_context(cafile=f"{W}/ca.crt")
PROCESSES = []


def api(method, path, body=None, kind="application/json", timeout=30):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": "Bearer admin", "Content-Type": kind}
    request = urllib.request.Request(API + path, data, headers, method=method)
    return urllib.request.urlopen(request, context=CONTEXT, timeout=timeout)


def get(path):
    return json.load(api("GET", path))


def create(path, body):
    return json.load(api("POST", path, body))


def wait(what, ask, limit=180):
    end = time.time() + limit
    last = None
    while time.time() < end:
        try:
            found = ask()
            if found:
                return found
        except Exception as error:  # the cluster is starting
            last = error
        time.sleep(0.05)
    raise SystemExit(f"no {what} after {limit} s: {last}")


def run(*command, check=True):
    done = subprocess.run(command, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise SystemExit(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout


class Follower(threading.Thread):
    """Notes when each line of a stream came that says something new."""

    def __init__(self, open_stream, read):
        super().__init__(daemon=True)
        self.open_stream, self.read, self.seen, self.changed = open_stream, read, [], threading.Condition()
        self.start()

    def run(self):
        while True:
            try:
                for line in self.open_stream():
                    at = time.time()
                    found = self.read(line)
                    if found is not None:
                        state, at = found if isinstance(found, tuple) else (found, at)
                        with self.changed:
                            self.seen.append((at, state))
                            self.changed.notify_all()
            except Exception:
                time.sleep(0.2)

    def wait(self, wanted, since, limit=60):
        """The time of the first state after `since` that is wanted."""
        end = time.time() + limit
        with self.changed:
            while True:
                for at, state in self.seen:
                    if at >= since and wanted(state):
                        return at
                if not self.changed.wait(max(0, end - time.time())):
                    raise SystemExit(f"not seen within {limit} s: {self.seen[-3:]}")


def watch(path):
    return lambda: api("GET", path + ("&" if "?" in path else "?") + "watch=1", timeout=None)


def lines_of(*command):
    def start():
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        PROCESSES.append(process)
        return process.stdout

    return start


def pod_ready(line):
    event = json.loads(line)
    conditions = event["object"].get("status", {}).get("conditions", [])
    ready = any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)
    return {"name": event["object"]["metadata"]["name"], "ready": ready and event["type"] != "DELETED"}


def slice_ready(line):
    slice_ = json.loads(line)["object"]
    endpoints = slice_.get("endpoints") or []
    return {"ready": [it["addresses"][0] for it in endpoints if it["conditions"].get("ready")],
            "labels": slice_["metadata"]["labels"], "deleted": json.loads(line)["type"] == "DELETED"}


def registry_event(line):
    event = json.loads(line)
    name = (event.get("endpoint") or {}).get("name")
    return None if name not in ("web", "agented", "annotated") else {"type": event["type"]}


def dotted_time(text):
    whole, fraction = text.rstrip("Z").split(".")
    return time.mktime(time.strptime(whole + "UTC", "%Y-%m-%dT%H:%M:%S%Z")) - time.timezone + float("0." + fraction)


def logged_event(line):
    """A line of `docker logs --timestamps`: Docker's clock is that of the host."""
    at, _, rest = line.decode().partition(" ")
    found = registry_event(rest)
    return None if found is None else (found, dotted_time(at))


def container(pod, name):
    wanted = ["--filter", f"label=io.kubernetes.pod.name={pod}", "--filter", f"label=io.kubernetes.container.name={name}"]
    return run("docker", "ps", "-q", *wanted).strip()


def names():
    """What a DNS server of the cluster would answer, from the API server."""
    while True:
        try:
            lines = []
            for service in get("/api/v1/services")["items"]:
                name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
                address = service["spec"].get("clusterIP")
                if address and address != "None":
                    full = f"{name}.{namespace}.svc"
                    lines.append(f"{address} {full} {full}.cluster.local\n")
            text = "".join(sorted(lines))
            path = f"{W}/hosts/services"
            if not os.path.exists(path) or open(path).read() != text:
                open(path, "w").write(text)
        except Exception:
            pass
        time.sleep(0.1)


def install():
    wait("ready node", lambda: pod_ready(json.dumps({"type": "", "object": get("/api/v1/nodes/n1")}))["ready"])
    for namespace in ("portolan", "demo", "dev", "side"):
        create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    for namespace in ("portolan", "side"):
        create(f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": "portolan-token"}, "stringData": {"token": TOKEN}})
    os.makedirs(f"{W}/volume")
    # As a volume is with the fsGroup of the pod.
    os.chown(f"{W}/volume", 0, 65532)
    os.chmod(f"{W}/volume", 0o2775)
    create("/api/v1/persistentvolumes", {"metadata": {"name": "data"}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": f"{W}/volume"}}})
    threading.Thread(target=names, daemon=True).start()
    began = time.time()
    run("helm", "install", "portolan", CHART, "--namespace", "portolan", "--set", "image.pullPolicy=Never",
        "--set", "export.enabled=true,export.namespace=dev,export.lease=5s,pods.enabled=true")
    registry = get("/api/v1/namespaces/portolan/services/portolan")["spec"]["clusterIP"]
    url = f"http://{registry}:7000"
    wait("registry", lambda: urllib.request.urlopen(url + "/readyz", timeout=1).status == 200)
    print(f"chart installed and registry ready: {time.time() - began:.1f} s", flush=True)
    return url


def pod(name, command, probe=None, labels=None, namespace="demo", annotations=None):
    spec = {"name": "main", "image": "tools:latest", "imagePullPolicy": "Never", "command": command,
            "env": [{"name": "PORTOLAN_REGISTRY_URL", "value": "http://portolan.portolan.svc:7000"}, {"name": "PORTOLAN_TOKEN", "value": TOKEN},
                    {"name": "HOME", "value": "/tmp"}]}
    if probe:
        spec["readinessProbe"] = probe
        spec["ports"] = [{"name": "http", "containerPort": 8000}]
    metadata = {"name": name, "labels": labels or {}, "annotations": annotations or {}}
    create(f"/api/v1/namespaces/{namespace}/pods", {"metadata": metadata, "spec": {
        "terminationGracePeriodSeconds": 1, "enableServiceLinks": False, "containers": [spec]}})


def figures(what, seconds):
    values = sorted(1000 * it for it in seconds)
    print(f"{what}: n={len(values)} median {statistics.median(values):.0f} ms, longest {values[-1]:.0f} ms, shortest {values[0]:.0f} ms", flush=True)


def readiness(url):
    """From the moment at which a watch of the API server says that a pod is (not) ready."""
    pods = Follower(watch("/api/v1/namespaces/demo/pods"), pod_ready)
    slices = Follower(watch("/apis/discovery.k8s.io/v1beta1/namespaces/demo/endpointslices"), slice_ready)
    outside = Follower(lines_of("portolan", "--registry", url, "--scope", "demo", "watch", "--json"), registry_event)
    create("/api/v1/namespaces/demo/services", {"metadata": {"name": "web"}, "spec": {
        "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}})
    pod("watcher", ["/bin/portolan", "--scope", "demo", "watch", "--json"])
    wait("watcher", lambda: container("watcher", "main"))
    inside = Follower(lines_of("docker", "logs", "--follow", "--timestamps", container("watcher", "main")), logged_event)
    serve = "touch /tmp/ready; exec /bin/busybox httpd -f -p 8000 -h /www"
    pod("web", ["/bin/sh", "-c", serve], {"exec": {"command": ["/bin/busybox", "test", "-f", "/tmp/ready"]}, "periodSeconds": 1}, {"app": "web"})
    began = 0
    id_ = wait("web", lambda: container("web", "main"))
    outside.wait(lambda it: it["type"] == "registered", began)
    inside.wait(lambda it: it["type"] == "registered", began)
    found = {(what, where): [] for what in ("ready", "not ready") for where in ("slice", "outside", "inside")}
    for trial in range(2 * TRIALS):
        ready = trial % 2 == 1
        what, kind = ("ready", "registered") if ready else ("not ready", "deregistered")
        began = time.time()
        run("docker", "exec", id_, "/bin/busybox", "touch" if ready else "rm", "/tmp/ready")
        at = pods.wait(lambda it: it["name"] == "web" and it["ready"] == ready, began)
        found[what, "slice"].append(slices.wait(lambda it: bool(it["ready"]) == ready, began) - at)
        found[what, "outside"].append(outside.wait(lambda it: it["type"] == kind, began) - at)
        found[what, "inside"].append(inside.wait(lambda it: it["type"] == kind, began) - at)
    for (what, where), values in found.items():
        figures(f"pod {what}, from the pod's status to the {where if where == 'slice' else 'watch ' + where}", values)
    # A process that is killed: the kubelet has to notice it first.
    killed = []
    # Each restart of one container waits twice as long.
    for _ in range(3):
        id_ = container("web", "main")
        began = time.time()
        run("docker", "kill", "--signal", "KILL", id_)
        gone = outside.wait(lambda it: it["type"] == "deregistered", began)
        killed.append((slices.wait(lambda it: not it["ready"], began) - began, gone - began))
        outside.wait(lambda it: it["type"] == "registered", gone, 120)
        wait("restarted container", lambda: container("web", "main") not in ("", id_))
    figures("container killed, to the slice", [it[0] for it in killed])
    figures("container killed, to the watch outside", [it[1] for it in killed])


def agented(url):
    """The same for a program under `portolan run`, whose session with the registry ends with the process."""
    create("/api/v1/namespaces/demo/services", {"metadata": {"name": "agented"}, "spec": {
        "selector": {"app": "agented"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}})
    slices = Follower(watch("/apis/discovery.k8s.io/v1beta1/namespaces/demo/endpointslices?labelSelector=kubernetes.io/service-name%3Dagented"), slice_ready)
    outside = Follower(lines_of("portolan", "--registry", url, "--scope", "agents", "watch", "--json"), registry_event)
    server = ["/bin/busybox", "httpd", "-f", "-p", "8000", "-h", "/www"]
    run_ = ["/bin/portolan", "--scope", "agents", "run", "--name", "agented", "--preferred", "8000", "--strict", "--", *server]
    pod("agented", run_, {"tcpSocket": {"port": 8000}, "periodSeconds": 1}, {"app": "agented"})
    began = 0
    agent, slice_ = [], []
    for _ in range(3):
        slices.wait(lambda it: it["ready"], began, 120)
        outside.wait(lambda it: it["type"] in ("registered", "health"), began, 120)
        time.sleep(3)
        id_ = container("agented", "main")
        began = time.time()
        run("docker", "kill", "--signal", "KILL", id_)
        agent.append(outside.wait(lambda it: it["type"] in ("deregistered", "expired"), began) - began)
        slice_.append(slices.wait(lambda it: not it["ready"], began) - began)
        began = time.time()
    figures("container of `portolan run` killed, to the watch outside", agent)
    figures("container of `portolan run` killed, to the slice", slice_)


def sidecar(url):
    """The same for a program that knows nothing of Portolan, with the sidecar of packaging/kubernetes/sidecar.yaml."""
    create("/api/v1/namespaces/side/services", {"metadata": {"name": "web", "labels": {"portolan/import": "false"}}, "spec": {
        "selector": {"app.kubernetes.io/name": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}})
    slices = Follower(watch("/apis/discovery.k8s.io/v1beta1/namespaces/side/endpointslices?labelSelector=kubernetes.io/service-name%3Dweb"), slice_ready)
    outside = Follower(lines_of("portolan", "--registry", url, "--scope", "side", "watch", "web", "--json"), registry_event)
    with open(os.path.join(PACKAGING, "kubernetes/sidecar.yaml")) as file:
        deployment = yaml.safe_load(file)
    deployment["spec"]["replicas"] = 1
    program = deployment["spec"]["template"]["spec"]["containers"][0]
    program.update(image="tools:latest", imagePullPolicy="Never", command=["/bin/busybox", "httpd", "-f", "-p", "8000", "-h", "/www"],
                   readinessProbe={"tcpSocket": {"port": 8000}, "periodSeconds": 1})
    create("/apis/apps/v1/namespaces/side/deployments", deployment)
    began, registry, slice_ = 0, [], []
    for _ in range(3):
        slices.wait(lambda it: it["ready"], began, 120)
        outside.wait(lambda it: it["type"] in ("registered", "health"), began, 120)
        time.sleep(3)
        name = get("/api/v1/namespaces/side/pods?labelSelector=app.kubernetes.io/name%3Dweb")["items"][0]["metadata"]["name"]
        began = time.time()
        run("docker", "kill", "--signal", "KILL", container(name, "web"))
        registry.append(outside.wait(lambda it: it["type"] == "deregistered", began) - began)
        slice_.append(slices.wait(lambda it: not it["ready"], began) - began)
        began = time.time()
    figures("container beside a sidecar killed, to the watch outside", registry)
    figures("container beside a sidecar killed, to the slice", slice_)


def annotated(url):
    """A pod without a Service, which the DaemonSet registers."""
    pods = Follower(watch("/api/v1/namespaces/side/pods"), pod_ready)
    outside = Follower(lines_of("portolan", "--registry", url, "--scope", "side", "watch", "annotated", "--json"), registry_event)
    serve = "touch /tmp/ready; exec /bin/busybox httpd -f -p 8000 -h /www"
    probe = {"exec": {"command": ["/bin/busybox", "test", "-f", "/tmp/ready"]}, "periodSeconds": 1}
    pod("annotated", ["/bin/sh", "-c", serve], probe, namespace="side", annotations={"portolan/name": "annotated"})
    outside.wait(lambda it: it["type"] == "registered", 0, 120)
    id_ = container("annotated", "main")
    found = {"ready": [], "not ready": []}
    for trial in range(2 * TRIALS):
        ready = trial % 2 == 1
        began = time.time()
        run("docker", "exec", id_, "/bin/busybox", "touch" if ready else "rm", "/tmp/ready")
        at = pods.wait(lambda it: it["name"] == "annotated" and it["ready"] == ready, began)
        kind = "registered" if ready else "deregistered"
        found["ready" if ready else "not ready"].append(outside.wait(lambda it: it["type"] == kind, began) - at)
    for what, values in found.items():
        figures(f"annotated pod {what}, from the pod's status to the watch outside", values)


def put(url, path, body=None):
    data = b"" if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(url + path, data, headers, method="PUT"), timeout=5).read()


def laptop(url):
    """A service outside of the cluster, at the address of the host, whose heartbeats stop."""
    os.makedirs(f"{W}/laptop")
    open(f"{W}/laptop/index.html", "w").write("from the laptop\n")
    PROCESSES.append(subprocess.Popen(["busybox", "httpd", "-f", "-p", f"{HOST}:18123", "-h", f"{W}/laptop"]))
    slices = Follower(watch("/apis/discovery.k8s.io/v1beta1/namespaces/dev/endpointslices"), slice_ready)
    client = container("watcher", "main")
    ask = lambda: run("docker", "exec", client, "/bin/curl", "-s", "-m", "1", "http://laptop.dev.svc/", check=False)

    def answers():
        put(url, "/api/v1/services/laptop-1/heartbeat")
        return "from the laptop" in ask()

    body = {"name": "laptop", "host": HOST, "port": 18123, "protocol": "http", "ttl": 3}
    shown, reached, gone, late = [], [], [], []
    for _ in range(5):
        began = time.time()
        put(url, "/api/v1/services/laptop-1", body)
        shown.append(slices.wait(lambda it: it["ready"] == [HOST] and not it["deleted"], began) - began)
        wait("answer of the laptop", answers, 20)
        reached.append(time.time() - began)
        put(url, "/api/v1/services/laptop-1/heartbeat")
        last = time.time()
        gone_at = slices.wait(lambda it: it["deleted"] or not it["ready"], last, 20)
        gone.append(gone_at - last)
        wait("refusal", lambda: "from the laptop" not in ask(), 20)
        late.append(time.time() - last)
    figures("service outside, from its registration to the slice", shown)
    figures("service outside, from its registration to the first answer in a pod, by its cluster name", reached)
    figures("service outside that is gone, from its last heartbeat with a lease of 3 s to the slice without it", gone)
    figures("the same, to a pod that is refused", late)


def main():
    try:
        url = install()
        os.environ.update(PORTOLAN_REGISTRY_URL=url, PORTOLAN_TOKEN=TOKEN)
        for part in (readiness, agented, sidecar, annotated, laptop):
            if not sys.argv[2:] or part.__name__ in sys.argv[2:]:
                part(url)
        kubernetes = run("docker", "ps", "--format", "{{.Names}}")
        for process in ("import", "export", "pods"):
            for line in [it for it in kubernetes.split() if it.startswith(f"k8s_{process}_portolan-")]:
                memory = run("docker", "exec", line, "/bin/busybox", "grep", "VmRSS", "/proc/1/status")
                print(f"memory of the {process}: {memory.split()[1]} KiB", flush=True)
    finally:
        for process in PROCESSES:
            process.kill()


main()

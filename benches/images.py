#!/usr/bin/env python3
"""Size, start and idle memory of containers: python3 benches/images.py PORTOLAN [CONSUL] [TRIALS]

PORTOLAN and CONSUL are programs. Each gets an image of itself and its libraries, without a base, so that sizes compare; a real image has its base
below. Runs as root, with a Docker engine of its own in a network and mount namespace of its own, and needs docker.io and busybox-static.

A start is the time from `docker run` to the first answer that says that the server can be used: /readyz of Portolan, an elected leader of
Consul. That of `busybox httpd` is what Docker itself takes. Memory is that of all processes of the container, IDLE seconds after that.
"""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

IDLE = 10
BUSYBOX = "/bin/busybox"
SERVE = ["serve", "--listen", "127.0.0.1:7000"]
DEV = ["agent", "-dev", "-bind=127.0.0.1", "-client=127.0.0.1"]
AGENT = ["agent", "-server", "-bootstrap-expect=1", "-data-dir=/tmp/consul", "-bind=127.0.0.1", "-client=127.0.0.1"]
READYZ = "http://127.0.0.1:7000/readyz"
LEADER = "http://127.0.0.1:8500/v1/status/leader"


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    return done.stdout.strip()


def wait(what, ask, limit=60):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if ask():
            return
        time.sleep(0.005)
    raise SystemExit(f"no {what} within {limit} s")


def is_answered(url, is_ready):
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return is_ready(answer.read().decode())
    except OSError:
        return False


def is_listening(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def build(directory, name, program):
    """Makes an image of a program and its libraries; returns its size."""
    root = os.path.join(directory, name)
    for folder in ("bin", "tmp", "home"):
        os.makedirs(os.path.join(root, folder))
    os.chmod(os.path.join(root, "tmp"), 0o1777)
    os.chown(os.path.join(root, "home"), 65532, 65532)
    os.chmod(os.path.join(root, "home"), 0o700)
    run("strip", "-o", os.path.join(root, "bin", name), program)
    for word in subprocess.run(["ldd", program], capture_output=True, text=True).stdout.split():
        if word.startswith("/"):
            run("cp", "-L", "--parents", word, root)
    tar = os.path.join(directory, "image.tar")
    run("tar", "-C", root, "-cf", tar, ".")
    run("docker", "import", "-c", f'ENTRYPOINT ["/bin/{name}"]', "-c", "ENV HOME=/home", "-c", "WORKDIR /home", tar, name)
    return int(run("docker", "image", "inspect", "-f", "{{.Size}}", name))


def memory(container):
    """Resident and proportional memory of the container's processes, in MiB."""
    rss = pss = 0
    for line in run("docker", "top", container, "-eo", "pid").splitlines()[1:]:
        with open(f"/proc/{line.strip()}/smaps_rollup") as rollup:
            for entry in rollup:
                words = entry.split()
                rss += int(words[1]) if words[0] == "Rss:" else 0
                pss += int(words[1]) if words[0] == "Pss:" else 0
    return rss / 1024, pss / 1024


def start(name, options, arguments):
    return run("docker", "run", "--detach", "--network", "host", *options, name, *arguments)


def trials(count, name, options, arguments, is_ready):
    """Starts the container this often; measures the memory of the last one."""
    starts = []
    for trial in range(count):
        began = time.monotonic()
        container = start(name, options, arguments)
        wait(f"answer of {name}", is_ready)
        starts.append(1000 * (time.monotonic() - began))
        if trial == count - 1:
            time.sleep(IDLE)
            measured = memory(container)
        run("docker", "rm", "--force", container)
    return starts, measured


def report(what, size, starts, measured):
    median, longest = (f"{statistics.median(starts):.0f}", f"{max(starts):.0f}") if starts else ("-", "-")
    print(f"{what:<34} {size / 1e6:>8.1f} {median:>8} {longest:>8} {measured[0]:>8.1f} {measured[1]:>8.1f}", flush=True)


def beside(what, size, registry, options, arguments):
    """Measures a program that registers others, beside a registry."""
    container = start("portolan", registry, SERVE)
    wait("registry", lambda: is_answered(READYZ, lambda _: True))
    other = start("portolan", options, arguments)
    time.sleep(IDLE)
    if run("docker", "inspect", "-f", "{{.State.Running}}", other) != "true":
        logs = subprocess.run(["docker", "logs", other], capture_output=True, text=True)
        print(f"{what} has ended: {logs.stdout}{logs.stderr}", file=sys.stderr)
    else:
        report(what, size, [], memory(other))
    run("docker", "rm", "--force", container, other)


def measure(directory, portolan, consul, count):
    engine = os.environ["DOCKER_HOST"].removeprefix("unix://")
    print(f"load average at the start: {os.getloadavg()[0]:.1f}; starts: {count}")
    print(f"{'':<34} {'MB':>8} {'start':>8} {'longest':>8} {'RSS MiB':>8} {'PSS MiB':>8}")
    user = ["--user", "65532:65532", "--env", "PORTOLAN_BROADCAST__ENABLED=false", "--env", "PORTOLAN_PORT_ALLOCATOR__RUNTIME_DIR=/tmp/portolan"]
    size = build(directory, "busybox", BUSYBOX)
    httpd = ["httpd", "-f", "-p", "127.0.0.1:7080"]
    report("busybox httpd", size, *trials(count, "busybox", [], httpd, lambda: is_listening(7080)))
    size = build(directory, "portolan", portolan)
    report("portolan serve", size, *trials(count, "portolan", user, SERVE, lambda: is_answered(READYZ, lambda _: True)))
    root = ["--volume", f"{engine}:{engine}", "--env", "PORTOLAN_BROADCAST__ENABLED=false"]
    beside("portolan docker (registrator)", size, user, root, ["docker", "--socket", engine, "--registry", "http://127.0.0.1:7000"])
    sidecar = ["register", "web", "--port", "7000", "--while-listening", "--registry", "http://127.0.0.1:7000"]
    if "--while-listening" in run(portolan, "register", "--help"):
        beside("portolan register (sidecar)", size, user, user, sidecar)
    if consul:
        size = build(directory, "consul", consul)
        has_leader = lambda: is_answered(LEADER, lambda text: len(text) > 2)
        report("consul -dev, in memory", size, *trials(count, "consul", [], DEV, has_leader))
        report("consul, one server with a disk", size, *trials(count, "consul", [], AGENT, has_leader))


def run_quietly(*command):
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    if os.environ.get("IN_NAMESPACE") != "yes":
        os.environ["IN_NAMESPACE"] = "yes"
        os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, *sys.argv])
    portolan, consul = os.path.realpath(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    run("ip", "link", "set", "lo", "up")
    directory = tempfile.mkdtemp(prefix="portolan-images.")
    path = lambda name: os.path.join(directory, name)
    os.environ["DOCKER_HOST"] = f"unix://{path('docker.sock')}"
    with open(path("dockerd.log"), "w") as log:
        engine = subprocess.Popen(["dockerd", "-H", os.environ["DOCKER_HOST"], "--data-root", path("data"), "--exec-root", path("exec"),
                                   "--pidfile", path("pid"), "--exec-opt", "native.cgroupdriver=cgroupfs"], stdout=log, stderr=log)
    try:
        wait("Docker engine", lambda: run_quietly("docker", "info"))
        measure(directory, portolan, consul, count)
    finally:
        for container in run("docker", "ps", "--all", "--quiet").split():
            run_quietly("docker", "rm", "--force", container)
        engine.terminate()
        engine.wait()
        shutil.rmtree(directory, ignore_errors=True)


main()

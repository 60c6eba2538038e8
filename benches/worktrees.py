#!/usr/bin/env python3
"""Whether many worktrees of a project have ports of their own, the same ones each time: python3 benches/worktrees.py PORTOLAN [COUNT]

Each worktree has a stack of three servers and a job, as in examples/worktrees, with servers that only listen. They are started one
after the other until all run, stopped, and started in another order.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time

STACK = """services:
  postgres: {command: perl serve.pl, port: 5432, bind: loopback}
  migrate: {command: touch migrated, port: none, needs: [postgres]}
  api: {command: perl serve.pl, port: 8080, bind: loopback, needs: {postgres: ready, migrate: completed}}
  web: {command: perl serve.pl, port: 5173, bind: loopback, needs: [api]}
"""
SERVE = """
use IO::Socket::INET;
my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $ENV{PORT}, Listen => 16, ReuseAddr => 1) or die $@;
while (my $c = $s->accept) { close $c }
"""


def git(directory, *arguments):
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"]
    return subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True, text=True).stdout


def ports_of(log):
    ports = {}
    for line in open(log):
        name, _, text = line.partition(" * ")
        if ", passing" in text and " on port " in text:
            ports[name.strip()] = int(text.split(" on port ")[1].split(",")[0])
    return ports


def run_all(portolan, directories, environment):
    """Starts all, one after the other, returns the ports of each, and stops all."""
    began = time.monotonic()
    stacks, ports = [], {}
    for directory in directories:
        log = open(f"{directory}.log", "w")
        stacks.append(subprocess.Popen([portolan, "up"], cwd=directory, env=environment, stdout=log, stderr=subprocess.STDOUT))
        while len(found := ports_of(f"{directory}.log")) < 3:
            assert stacks[-1].poll() is None, open(f"{directory}.log").read()
            time.sleep(0.05)
        ports[directory] = found
    started = time.monotonic()
    for up in stacks:
        up.send_signal(signal.SIGTERM)
    statuses = {up.wait() for up in stacks}
    assert statuses == {0}, statuses
    print(f"  started in {started - began:5.1f} s, stopped in {time.monotonic() - started:5.1f} s")
    return ports


def main():
    portolan, count = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 50
    print(f"{count} worktrees, load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory() as base:
        project = f"{base}/shop"
        os.mkdir(project)
        for name, text in [("portolan.yaml", STACK), ("serve.pl", SERVE), (".gitignore", "migrated\n")]:
            with open(f"{project}/{name}", "w") as file:
                file.write(text)
        git(project, "init", "--quiet")
        git(project, "add", ".")
        git(project, "commit", "--quiet", "--message", "all")
        directories = [project]
        for number in range(1, count):
            directories.append(f"{base}/feature-{number}")
            git(project, "worktree", "add", "--quiet", "--detach", directories[-1])
        environment = dict(os.environ, XDG_RUNTIME_DIR=base, XDG_STATE_HOME=base)
        environment["PORTOLAN_SERVICE_REGISTRY__ALLOW_ROOT"] = "true"
        first = run_all(portolan, directories, environment)
        used = {port for ports in first.values() for port in ports.values()}
        print(f"  {len(used)} different ports of {3 * count} services")
        random.shuffle(directories)
        again = run_all(portolan, directories, environment)
        moved = sum(again[it][name] != port for it in first for name, port in first[it].items())
        changed = [it for it in directories if git(it, "status", "--porcelain")]
        print(f"  after a restart in another order, {moved} services have other ports; {len(changed)} worktrees have changed files")


main()

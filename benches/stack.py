#!/usr/bin/env python3
"""How long a large stack takes to start and to stop: python3 benches/stack.py PORTOLAN [SERVICES]

Each service is a server that only listens, in Perl, since that starts fast. They are also started and stopped without Portolan, one
after the other, as what the programs themselves cost. A second run has one more service that writes as many lines as it can. The CPU
time is that of all processes, from the start of the first to the end of the last, and per service.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

SERVE = """
use IO::Socket::INET;
my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $ENV{PORT}, Listen => 16, ReuseAddr => 1) or die $@;
while (my $c = $s->accept) { close $c }
"""
FIRST_PORT = 21000


def cpu_time():
    """That of all children that have ended, and of theirs."""
    times = os.times()
    return times.children_user + times.children_system


def wait_for_port(port):
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.005)


def plain(count, directory):
    """Starts and ends the programs themselves."""
    began, before = time.monotonic(), cpu_time()
    programs = []
    for port in range(FIRST_PORT, FIRST_PORT + count):
        environment = dict(os.environ, PORT=str(port))
        programs.append(subprocess.Popen(["perl", "serve.pl"], cwd=directory, env=environment))
    for port in range(FIRST_PORT, FIRST_PORT + count):
        wait_for_port(port)
    started = time.monotonic()
    for program in programs:
        program.terminate()
    for program in programs:
        program.wait()
    return started - began, time.monotonic() - started, cpu_time() - before


def stack(portolan, count, directory, flood):
    """Starts and stops them by `portolan up`."""
    lines = ["services:"]
    for number in range(count):
        lines.append(f"  s{number}: {{command: perl serve.pl, port: {FIRST_PORT + number}, bind: loopback}}")
    if flood:
        lines.append("  flood: {command: yes 0123456789012345678901234567890123456789, port: none}")
    with open(f"{directory}/portolan.yaml", "w") as file:
        file.write("\n".join(lines))
    environment = dict(os.environ, XDG_RUNTIME_DIR=directory, XDG_STATE_HOME=directory)
    environment["PORTOLAN_BROADCAST__ENABLED"] = "false"
    environment["PORTOLAN_SERVICE_REGISTRY__ALLOW_ROOT"] = "true"
    environment["PORTOLAN_SERVICE_REGISTRY__LISTEN_ADDRESS"] = "127.0.0.1:20999"
    began, before = time.monotonic(), cpu_time()
    up = subprocess.Popen([portolan, "up"], cwd=directory, env=environment, stdout=subprocess.PIPE, text=True)
    healthy = set()
    for line in up.stdout:
        if " * " in line and ", passing" in line:
            healthy.add(line.split()[0])
        if len(healthy - {"flood"}) == count:
            break
    started = time.monotonic()
    up.send_signal(signal.SIGTERM)
    for _ in up.stdout:
        pass
    status = up.wait()
    stopped = time.monotonic()
    assert status == 0, status
    return started - began, stopped - started, cpu_time() - before


def main():
    portolan, count = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200
    print(f"{count} services, load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory() as directory:
        with open(f"{directory}/serve.pl", "w") as file:
            file.write(SERVE)
        print(f"the programs alone: {report(count, *plain(count, directory))}")
        print(f"portolan up:        {report(count, *stack(portolan, count, directory, flood=False))}")
        print(f"with a flood:       {report(count, *stack(portolan, count, directory, flood=True))}")


def report(count, started, stopped, cpu):
    return f"started in {started:5.2f} s, ended in {stopped:5.2f} s, {cpu:5.1f} s of CPU time, {1000 * cpu / count:4.0f} ms a service"


main()

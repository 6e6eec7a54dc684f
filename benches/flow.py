#!/usr/bin/env python3
"""Measures what a guard costs an established TCP flow, in many short pairs with it and without it.

usage: flow.py PAIRS SERVER CLIENT ADDRESS PORT ON OFF

SERVER and CLIENT are network namespaces; the server listens on port 8000. ON and OFF are commands that
put the guard into force and out of it, quick ones, as they run between any two windows.

The flow stays the same, and both ends share one processor, so that the processor's time for 60 kB tells what
a packet costs also on a busy machine; there is no waiting in it.
"""

import os
import shlex
import statistics
import subprocess
import sys
import time

WINDOW = float(os.environ.get("WINDOW", "0.12"))
SETTLE = 0.02


def start(namespace, cpu, *iperf):
    command = ["nsenter", f"--net=/run/netns/{namespace}", "taskset", "-c", str(cpu), "iperf3", *iperf]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def softirq_thread(cpu):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm") as name:
                if name.read().strip() == f"ksoftirqd/{cpu}":
                    return pid
        except FileNotFoundError:
            pass
    raise SystemExit(f"error: no thread ksoftirqd/{cpu}")


def spent(pids):
    """Nanoseconds that these have had of their processor."""
    total = 0
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                total += int(file.read().split()[0])
    return total


def received(pid):
    with open(f"/proc/{pid}/net/dev") as devices:
        return next(int(line.split()[1]) for line in devices if line.strip().startswith("eth0:"))


def window(server, pids):
    """Microseconds for 60 kB; infinite when nothing came, as on a machine with other work."""
    before, at = spent(pids), received(server)
    time.sleep(WINDOW)
    came = (received(server) - at) / 60000
    return (spent(pids) - before) / 1000 / came if came else float("inf")


def main():
    pairs, inside, outside, address, port, on, off = sys.argv[1:]
    cpu = max(os.sched_getaffinity(0))
    server = start(inside, cpu, "--server", "--port", "8000")
    client = None
    try:
        time.sleep(0.5)
        subprocess.run(shlex.split(on), check=True)
        client = start(outside, cpu, "--client", address, "--port", port, "--time", "3600")
        time.sleep(0.5)
        pids = [server.pid, client.pid, softirq_thread(cpu)]
        costs = {on: [], off: []}
        for pair in range(int(pairs)):
            for command in (on, off) if pair % 2 else (off, on):
                subprocess.run(shlex.split(command), check=True)
                time.sleep(SETTLE)
                costs[command].append(window(server.pid, pids))
    finally:
        for process in filter(None, (server, client)):
            process.kill()
            process.wait()
    whole = [pair for pair in zip(costs[on], costs[off]) if float("inf") not in pair]
    share = [with_it / without - 1 for with_it, without in whole]
    base, more = statistics.median(without for _, without in whole), statistics.median(share)
    low, _, high = statistics.quantiles(share, n=4)
    print(
        f"{base:.1f} µs for 60 kB without the guard, {more:+.1%} with it "
        f"(half of the {len(whole)} pairs: {low:+.1%} to {high:+.1%})"
    )


main()

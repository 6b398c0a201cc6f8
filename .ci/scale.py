"""Restarts three servers behind HAProxy under load, and counts what becomes of the requests.

    python3 .ci/scale.py FOLDER_OF_THE_PROGRAMS ROUNDS

Two kinds of clients send all the time, one request after the other. Those of the first kind keep a
connection for half a second and close it themselves. Those of the second kind keep theirs until the
server closes it, which it does with an answer. Neither loses a request or is refused. At the end one
server is killed.
"""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

BIN, ROUNDS = sys.argv[1], int(sys.argv[2])
SERVERS = 3
# Half of it is longer than HAProxy takes to notice (twice 200 ms).
STOP_DELAY_S = 3
SHORT_S = 0.5
CLIENTS = 25
RATE = 1000
PATIENCE_S = 30
CONFIG = "docs/deploy/haproxy.cfg"


def fail(text):
    sys.exit(f"FAIL: {text}")


class Farm:
    """The servers, and HAProxy in front of them."""

    def __init__(self, folder):
        self.folder, self.servers, self.haproxy = folder, [None] * SERVERS, None
        self.children = []
        self.config = open(CONFIG).read()

    def start(self):
        """On ports that are free: HAProxy or a server ends at once where one is not."""
        for _ in range(10):
            # Below the ports that the system gives to clients: a server comes back to its own.
            self.port = random.randrange(20000, 30000)
            self.haproxy = self.spawn("haproxy", "haproxy", "-f", self.write_config())
            for number in range(SERVERS):
                self.start_server(number)
            time.sleep(1)
            if all(process.poll() is None for process in self.processes()):
                return self.wait_until_all_are_up()
            self.end()
        fail(f"HAProxy and the servers do not start: {self.said()}")

    def write_config(self):
        """That of the docs, with other ports and a socket to ask for its numbers."""
        config = self.config.replace("global\n", f"global\n    stats socket {self.folder}/stats\n", 1)
        config = config.replace("bind 127.0.0.1:9000", f"bind 127.0.0.1:{self.port}")
        for number in range(SERVERS):
            line, own = f"127.0.0.1:900{number + 1} port 910{number + 1}", self.ports(number)
            if line not in config:
                fail(f"{CONFIG} has no server at {line}")
            config = config.replace(line, f"127.0.0.1:{own[0]} port {own[1]}")
        path = f"{self.folder}/haproxy.cfg"
        with open(path, "w") as file:
            file.write(config)
        return path

    def ports(self, number):
        return self.port + 1 + number, self.port + 11 + number

    def start_server(self, number):
        port, admin = self.ports(number)
        flags = ["--workers", "4", "--stop-delay", str(STOP_DELAY_S), "--proxy-protocol"]
        address = ["--port", str(port), "--admin", f"127.0.0.1:{admin}"]
        self.servers[number] = self.spawn(f"server{number}", f"{BIN}/server", *address, *flags)

    def spawn(self, name, *command):
        with open(f"{self.folder}/{name}.log", "ab") as log:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.children.append(child)
        return child

    def restart(self, number):
        """Stops it as a supervisor does, starts it anew, and waits until HAProxy has seen that."""
        self.stop(number, signal.SIGTERM, expected=0)
        self.start_server(number)
        self.wait_until_all_are_up()

    def stop(self, number, how, expected):
        process = self.servers[number]
        process.send_signal(how)
        code = process.wait(PATIENCE_S)
        if code != expected:
            fail(f"server {number + 1} ended with {code}: {self.said()}")

    def wait_until_all_are_up(self):
        deadline = time.monotonic() + PATIENCE_S
        while self.up() < SERVERS:
            if time.monotonic() > deadline:
                fail(f"{self.up()} of {SERVERS} servers are up behind HAProxy: {self.said()}")
            time.sleep(0.05)

    def up(self):
        try:
            with socket.socket(socket.AF_UNIX) as stats:
                stats.connect(f"{self.folder}/stats")
                stats.sendall(b"show stat\n")
                table = stats.makefile().read()
        except OSError:
            return 0
        rows = [line.split(",") for line in table.splitlines()]
        return sum(row[0] == "servers" and row[1] != "BACKEND" and row[17] == "UP" for row in rows if len(row) > 17)

    def said(self):
        words = []
        for name in sorted(os.listdir(self.folder)):
            if name.endswith(".log"):
                lines = open(f"{self.folder}/{name}", errors="replace").read().splitlines()
                words += [f"\n{name}: {line}" for line in lines[-3:]]
        return "".join(words)

    def processes(self):
        return [process for process in [self.haproxy, *self.servers] if process]

    def end(self):
        for process in self.children:
            if process.poll() is None:
                process.kill()
                process.wait()


class Sum:
    """What became of the requests of several runs."""

    def __init__(self):
        self.sent = self.answered = self.refused = self.lost = 0
        self.connections = self.anew = self.connects_refused = 0
        self.others = []

    def add(self, path):
        run = json.load(open(path))
        ledger, connections = run["ledger"], run["connections"]
        self.sent += ledger["sent"]
        self.answered += ledger["ok"]
        self.refused += ledger["busy"]
        self.lost += ledger["lost"]
        self.connections += connections["made"]
        self.anew += connections["reconnects"]
        self.connects_refused += connections["refused"]
        failures = run["failures"]
        if set(failures["by_kind"]) - {"lost"}:
            self.others += failures["first"]

    def __str__(self):
        return (
            f"requests sent {self.sent}, answered {self.answered}, refused {self.refused}, lost {self.lost}; "
            f"connections {self.connections}, connects refused {self.connects_refused}"
        )


def load(farm, name, seconds, *more):
    """25 clients, 1000 requests a second in all. What it prints is in the log of that name."""
    path = f"{farm.folder}/{name}.json"
    rate = ["--rate", str(RATE), "--duration", str(seconds)]
    clients = ["--clients", str(CLIENTS), "--max-clients", str(CLIENTS)]
    command = [f"{BIN}/stress_test", "--port", str(farm.port), *clients, *rate, "--reconnect", *more, "--json", path]
    return path, farm.spawn(name, *command)


def short_runs(farm, enough, total):
    while not enough.is_set():
        path, process = load(farm, "short", SHORT_S)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            total.others.append(f"a run of {SHORT_S} s has not ended after {PATIENCE_S} s")
            return
        total.add(path)


def roll(farm):
    """All restarts, under both kinds of clients."""
    short, kept, enough = Sum(), Sum(), threading.Event()
    path, keeper = load(farm, "kept", 86400)
    runner = threading.Thread(target=short_runs, args=(farm, enough, short))
    runner.start()
    try:
        for _ in range(ROUNDS):
            for number in range(SERVERS):
                farm.restart(number)
    finally:
        enough.set()
        runner.join()
        keeper.send_signal(signal.SIGINT)
        keeper.wait(PATIENCE_S)
    kept.add(path)
    return short, kept


def kill(farm):
    """One server without warning, while it has requests in hand."""
    killed = Sum()
    path, process = load(farm, "killed", 2, "--mix", "sleep", "--sleep-ms", "10")
    time.sleep(1)
    farm.stop(0, signal.SIGKILL, expected=-signal.SIGKILL)
    farm.start_server(0)
    process.wait(PATIENCE_S)
    killed.add(path)
    return killed


def main():
    # What it started ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as folder:
        farm = Farm(folder)
        try:
            farm.start()
            short, kept = roll(farm)
            killed = kill(farm)
        finally:
            farm.end()
        print(f"{ROUNDS * SERVERS} restarts of {SERVERS} servers behind HAProxy, --stop-delay {STOP_DELAY_S}")
        print(f"connections of {SHORT_S} s: {short}")
        print(f"connections kept:     {kept}")
        print(f"one kill -9:          {killed}")
        wrong = short.others + kept.others + killed.others
        if wrong:
            fail(wrong[0] + farm.said())
        if short.lost or short.connects_refused:
            fail("clients that end their connections within the stop delay lost something")
        # HAProxy may pass on the end a little later than the answer.
        if kept.lost * 100 > kept.anew:
            fail("clients whose connections the server ended lost something")
        if killed.lost > CLIENTS:
            fail("more was lost than one request of each connection of the killed server")
        if short.answered < short.sent - short.refused:
            fail("not every request was answered")


main()

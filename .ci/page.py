"""Looks at the live page in headless Chromium while stress_test and others keep the server busy.

Knows ids of the page's elements, GET /status and /metrics, and WebDriver, the protocol of
chromedriver. Needs nothing but Python.

Rule: what the page says is compared with what the server says by another way, and a page that
cannot be trusted in one point fails the whole run.

    .ci/page.py DIRECTORY_OF_PROGRAMS DIRECTORY_FOR_PICTURES
"""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

PROGRAMS, PICTURES = sys.argv[1:3]
WORKERS, QUEUE = 4, 64

# The totals of the page, and what they are called in /metrics.
TOTALS = {
    "answered_ok": 'answers_total{outcome="ok"}',
    "answered_error": 'answers_total{outcome="error"}',
    "answered_internal": 'answers_total{outcome="internal"}',
    "quick_overruns": "quick_overruns_total",
    "refused_busy": 'refusals_total{reason="busy"}',
    "too_many": 'refusals_total{reason="too_many_connections"}',
    "too_long": 'refusals_total{reason="too_long"}',
    "incomplete": 'refusals_total{reason="incomplete"}',
    "idle_closed": 'refusals_total{reason="idle"}',
    "too_many_per_address": 'refusals_total{reason="too_many_connections_of_address"}',
    "bad_headers": 'refusals_total{reason="proxy_header"}',
    "foreign": 'refusals_total{reason="other_protocol"}',
    "request_timeouts": 'refusals_total{reason="request_timeout"}',
    "slow_closed": 'refusals_total{reason="slow_reader"}',
    "parted": "connections_parted_total",
    "lost": "connections_lost_total",
    "discarded": 'abandoned_requests_total{stage="not_run"}',
    "dropped": 'abandoned_requests_total{stage="not_sent"}',
    "read_pauses": 'pauses_total{reason="connection"}',
    "address_pauses": 'pauses_total{reason="address"}',
    "budget_pauses": 'pauses_total{reason="budget"}',
    "accept_pauses": 'pauses_total{reason="accept"}',
}


def wait_until(what, fact, seconds=10):
    """Asks again and again; whatever is true in the end is the result."""
    deadline = time.monotonic() + seconds
    while True:
        found = fact()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.1)


def expect(what, is_right, *seen):
    if not is_right:
        raise AssertionError(f"{what}: {seen}")


def get(url):
    with urllib.request.urlopen(url, timeout=5) as response:
        return response.headers, response.read().decode()


class Server:
    """The server and its admin interface, each at a free port unless one is given."""

    def __init__(self, port=0, admin="127.0.0.1:0", workers=WORKERS):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [f"{PROGRAMS}/server", "--port", str(port), "--admin", admin, "--workers", str(workers)]
            + ["--queue", str(QUEUE), "--busy-timeout", "2500", "--log-format", "json"],
            stderr=self.log,
        )
        entry = wait_until("it says where it listens", self.listening)
        self.port, self.admin = int(entry["addr"].rpartition(":")[2]), entry["admin"]

    def listening(self):
        expect("the server runs", self.process.poll() is None, self.process.returncode)
        self.log.seek(0)
        entries = [json.loads(line) for line in self.log]
        return next((entry for entry in entries if entry["message"] == "listening"), None)

    def status(self):
        return json.loads(get(f"http://{self.admin}/status")[1])

    def metrics(self):
        """The numbers of /metrics by name and labels, without the prefix that all have."""
        text = get(f"http://{self.admin}/metrics")[1]
        found = re.findall(r"^reactor_pool_(\S+) (\S+)$", text, re.M)
        return {name: float(value) for name, value in found}

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait(timeout=20)


class Browser:
    """Chromium without a window, and the few commands of WebDriver that are needed here."""

    def __init__(self):
        self.profile = tempfile.TemporaryDirectory()
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True
        )
        found = None
        while not found:
            line = self.driver.stdout.readline()
            expect("chromedriver starts", line)
            found = re.search(r"started successfully on port (\d+)", line)
        self.url = f"http://127.0.0.1:{found[1]}/session"
        arguments = [
            "--headless",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--hide-scrollbars",
        ]
        arguments += [
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ]
        arguments += [f"--user-data-dir={self.profile.name}"] + ["--no-sandbox"] * (
            os.getuid() == 0
        )
        wanted = {"browserName": "chrome", "goog:loggingPrefs": {"browser": "ALL"}}
        wanted["goog:chromeOptions"] = {"args": arguments}
        self.url += "/" + self.ask("", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def ask(self, path, body, method="POST"):
        body = json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, body, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(
                f"the browser, asked for {path}: {error.read().decode()[:600]}"
            ) from error

    def open(self, url):
        self.ask("/url", {"url": url})

    def run(self, script):
        return self.ask("/execute/sync", {"script": script, "args": []})

    def text(self, id):
        return self.run(f"return document.getElementById('{id}').textContent")

    def press(self, key, times=1):
        strokes = [
            {"type": kind, "value": key} for _ in range(times) for kind in ("keyDown", "keyUp")
        ]
        self.ask("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]})

    def tool(self, command, **parameters):
        return self.ask("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def console(self):
        """What the console has said since it was last asked."""
        return self.ask("/se/log", {"type": "browser"})

    def look(self, width, height=900, **media):
        self.tool(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [
            {"name": name.replace("_", "-"), "value": value} for name, value in media.items()
        ]
        self.tool("Emulation.setEmulatedMedia", features=features)

    def quit(self):
        try:
            self.ask("", {}, method="DELETE")
        finally:
            self.driver.terminate()
            self.driver.wait()
            self.profile.cleanup()


def numbers(text):
    """All numbers of a text, as people write them."""
    return [float(number.replace(",", "")) for number in re.findall(r"[\d,]*\.?\d+", text)]


def number(browser, id):
    return numbers(browser.text(id))[0]


def state(browser):
    return browser.run("return document.getElementById('state').dataset.state")


def pictures(browser, name):
    """The whole page, narrow and wide, light and dark; nothing may stick out at the side."""
    for width in (400, 1600):
        for scheme in ("light", "dark"):
            browser.look(width, prefers_color_scheme=scheme)
            height = browser.run("return document.documentElement.scrollHeight")
            browser.look(width, height, prefers_color_scheme=scheme)
            out = browser.run("return document.documentElement.scrollWidth - innerWidth")
            expect(f"nothing sticks out at {width} px", out <= 0, out)
            time.sleep(0.3)
            picture = browser.tool("Page.captureScreenshot", format="png")["data"]
            with open(f"{PICTURES}/{name}-{width}-{scheme}.png", "wb") as file:
                file.write(base64.b64decode(picture))
    browser.look(1600)


def answers(metrics):
    return sum(count for name, count in metrics.items() if name.startswith("answers_total{"))


def quantile(share, part, now, before):
    """What histogram_quantile of Prometheus says of the time between two scrapes."""
    prefix = f'request_{part}_seconds_bucket{{le="'
    bounds = [name.removeprefix(prefix)[:-2] for name in now if name.startswith(prefix)]
    up_to = [now[f'{prefix}{bound}"}}'] - before[f'{prefix}{bound}"}}'] for bound in bounds]
    rank = share * up_to[-1]
    index = next(index for index, count in enumerate(up_to) if count >= rank)
    start, below = (float(bounds[index - 1]), up_to[index - 1]) if index else (0, 0)
    return start + (float(bounds[index]) - start) * (rank - below) / (up_to[index] - below)


def agree(shown, right, factor):
    """Whether a time as text is about as many seconds, up to that factor."""
    found = re.fullmatch(r"(under )?([\d.]+)\s(µs|ms|s)", shown)
    time = found and float(found[2]) * {"µs": 1e-6, "ms": 1e-3, "s": 1}[found[3]]
    return found and (right < time if found[1] else right / factor <= time <= right * factor)


def load(server, browser):
    """An even load: rate, times and workers are those of the server; afterwards, all totals."""
    args = "--clients 50 --rate 600 --arrivals uniform --duration 20 --mix sleep --sleep-ms 3..3"
    stress_test = subprocess.Popen(
        [f"{PROGRAMS}/stress_test", "--quiet", "--port", str(server.port), *args.split()],
        stdout=subprocess.DEVNULL,
    )
    wait_until("the load is seen", lambda: number(browser, "rate") > 300)
    time.sleep(1)
    # What the page says, and what /metrics says, twice a second for a bit longer than ten seconds.
    rates, scrapes = [], [server.metrics()]
    for _ in range(21):
        time.sleep(0.5)
        rates.append(number(browser, "rate"))
        scrapes.append(server.metrics())
    took = scrapes[-1]["uptime_seconds"] - scrapes[0]["uptime_seconds"]
    right = (answers(scrapes[-1]) - answers(scrapes[0])) / took
    shown = sum(rates) / len(rates)
    print(f"answers a second: {shown:.0f} on the page, {right:.0f} by /metrics")
    expect("answers a second", abs(shown - right) < 0.1 * right, rates, right)
    compare_times(server, browser, scrapes)

    busy = browser.run("return document.querySelector('#line-busy b').textContent")
    expect("600 times 3 ms keep two workers busy", 1.5 <= float(busy) <= 3.5, busy)
    animation = "return getComputedStyle(document.querySelector('.arrow')).animationName"
    expect("arrows move while requests do", browser.run(animation) != "none")
    browser.look(1600, prefers_reduced_motion="reduce")
    expect("for those who want less motion they do not", browser.run(animation) == "none")
    pictures(browser, "load")
    served(stress_test.wait(timeout=30))
    time.sleep(2.5)
    compare_totals(server, browser)


def compare_times(server, browser, scrapes):
    """The page and /metrics do not look at the same ten seconds exactly, so this is tried again."""

    def compared():
        scrapes.append(server.metrics())
        now = scrapes[-1]
        of_window = [one for one in scrapes if now["uptime_seconds"] - one["uptime_seconds"] < 10.3]
        lines, are_right = [], True
        for part in ("waiting", "queued", "working", "written"):
            text = browser.run(f"return document.querySelector('#part-{part} span').textContent")
            p50, p99 = re.fullmatch("p50 (.*) · p99 (.*)", text).groups()
            right = [quantile(share, part, now, of_window[0]) for share in (0.5, 0.99)]
            are_right &= bool(agree(p50, right[0], 1.2) and agree(p99, right[1], 2))
            lines.append(f"{part}: {text} on the page, {right[0]:.2g} s and {right[1]:.2g} s")
        seen[:] = lines
        return are_right

    seen = []
    try:
        wait_until("the times agree", compared, 6)
    finally:
        print("\n".join(seen))
    working = quantile(0.5, "working", scrapes[-1], scrapes[0])
    expect("SLEEP 3 takes 3 ms of a worker", 0.002 <= working <= 0.005, working)


def served(exit_code):
    """5 is of stress_test alone: every answer was right, but not asked for on time."""
    expect("every answer was right", exit_code in (0, 5), exit_code)


def compare_totals(server, browser):
    """At rest, every total of the page is that of /metrics."""
    rows = browser.run(
        "return [...document.querySelectorAll('[id^=total-]')]"
        ".map(row => [row.id.slice(6), row.cells[2].textContent])"
    )
    shown = {name: int(text.replace(",", "")) for name, text in rows}
    metrics = server.metrics()
    right = {name: metrics[metric] for name, metric in TOTALS.items()}
    expect("every total is that of /metrics", shown == right, shown, right)
    elsewhere = {"framed", "accepted", "bytes_in", "bytes_out"}
    expect("no total is left out", set(server.status()["totals"]) == set(shown) | elsewhere)
    print(f"{len(shown)} totals agree, {shown['answered_ok']} answers OK")


def overload(server, browser):
    """Workers that are stuck, a queue that is full, and clients that are told so."""

    def send(line):
        client = socket.create_connection(("127.0.0.1", server.port))
        client.sendall(line)
        return client

    stuck = [send(b"SLEEP 9000\n") for _ in range(WORKERS)]
    wait_until("all workers run", lambda: browser.text("running") == f"{WORKERS} / {WORKERS}")
    queued = [send(b"ECHO queued\n") for _ in range(QUEUE)]
    wait_until("the queue is full", lambda: browser.text("queued") == f"{QUEUE} / {QUEUE}")
    refused = [send(b"ECHO refused\n") for _ in range(8)]
    wait_until("they wait", lambda: browser.text("waiting") == "8")
    is_long = "return document.querySelectorAll('#cells > [data-doing=long]').length"
    wait_until("the cells are marked", lambda: browser.run(is_long) == WORKERS)
    means = "Every worker has been running"
    wait_until("that is put into words", lambda: browser.text("verdict").startswith(means))
    busy = browser.run("return document.querySelector('#line-busy b').textContent")
    expect("they are busy all the time", busy == str(WORKERS), busy)
    print(f"overload: {browser.text('verdict')}")
    pictures(browser, "overload")
    for client in refused:
        answer = client.makefile().readline()
        expect("the queue is full", answer == "ERR server busy\n", answer)
    row = "return document.querySelector('#total-refused_busy').textContent"
    wait_until("refusals are counted", lambda: numbers(browser.run(row))[-1] == len(refused))
    for client in stuck + queued:
        answer = client.makefile().readline()
        expect("all others are answered", answer.startswith("OK"), answer)
        client.close()
    wait_until("the queue is empty", lambda: browser.text("queued") == f"0 / {QUEUE}")


def hands(browser):
    """All of it by keyboard; the page can be held."""
    tab, left, enter = "\ue004", "\ue012", "\ue007"
    browser.run("document.activeElement.blur()")
    focus = (
        "const element = document.activeElement;"
        "return [element.id || element.tagName, getComputedStyle(element).outlineStyle]"
    )
    reached = []
    for _ in range(5):
        browser.press(tab)
        reached.append(browser.run(focus))
    print("by the tab key:", ", ".join(name for name, _ in reached))
    every = ["pause", "SUMMARY", "SUMMARY", "look", "SUMMARY"]
    expect("what can be used can be reached", [name for name, _ in reached] == every, reached)
    expect("and is seen to be", all(outline == "solid" for _, outline in reached), reached)

    for id, least in (("workers", WORKERS), ("times", 10), ("past", 30)):
        browser.run(f"document.querySelector('#{id}-details summary').focus()")
        browser.press(enter)
        rows = f"return document.getElementById('{id}-table').rows.length"
        wait_until(f"a table of {id}", lambda: browser.run(rows) >= least)
        browser.press(enter)

    browser.run("document.getElementById('pause').focus()")
    browser.press(enter)
    expect("it says that it stands still", state(browser) == "paused")
    facts = browser.text("facts")
    browser.run("document.getElementById('look').focus()")
    browser.press(left, 5)
    looked = browser.text("looked")
    expect("lines are read by keyboard meanwhile", re.fullmatch(r"5\ss ago", looked), looked)
    time.sleep(2.2)
    expect("it stands still", browser.text("facts") == facts)
    browser.run("document.getElementById('look').value = 0")
    browser.run("document.getElementById('pause').focus()")
    browser.press(enter)
    wait_until("it goes on", lambda: browser.text("facts") != facts)
    expect("and says so", state(browser) == "serving")


def silence(server, browser):
    """A process that is stopped; and the admin port's words for a loop that does not answer."""
    server.process.send_signal(signal.SIGSTOP)
    wait_until("nothing answers", lambda: state(browser) == "gone")
    server.process.send_signal(signal.SIGCONT)
    wait_until("and it goes on", lambda: state(browser) == "serving")

    said = '{"error":"the event loop has not answered within 1s"}'
    answer = f"new Response('{said}', {{ status: 503 }})"
    browser.run(f"window.asked = fetch; fetch = async () => {answer}")
    wait_until("it says that the loop hangs", lambda: state(browser) == "hangs")
    expect("in words", "event loop hangs" in browser.text("state"), browser.text("state"))
    browser.run("fetch = window.asked")
    wait_until("and that it goes on", lambda: state(browser) == "serving")


def end_and_return(server, browser):
    """A drain, an end, a new server of another size at the same place, and a sudden end."""
    times = "return document.querySelector('#part-working span').textContent"
    forgotten = "p50 – · p99 –"
    wait_until("older times are forgotten", lambda: browser.run(times) == forgotten, 15)
    sleeper = socket.create_connection(("127.0.0.1", server.port))
    sleeper.sendall(b"SLEEP 3000\n")
    wait_until("it is seen to run", lambda: number(browser, "running") == 1)
    quiet(browser)
    server.process.send_signal(signal.SIGTERM)
    wait_until("it says that the server drains", lambda: state(browser) == "draining")
    wait_until("it says that the server has gone", lambda: state(browser) == "gone", 15)
    expect("in words", "gone" in browser.text("state"), browser.text("state"))
    server.process.wait(timeout=10)
    pictures(browser, "gone")

    server = Server(server.port, server.admin, workers=1024)
    try:
        wait_until("it finds the new server", lambda: state(browser) == "serving")
        wait_until("and says so", lambda: "restarted" in browser.text("facts"))
        cells = "return document.querySelectorAll('#cells > .cell').length"
        wait_until("a cell for each of many workers", lambda: browser.run(cells) == 1024)
        time.sleep(2)
        compare_totals(server, browser)
        expect("numbers began anew", answers(server.metrics()) < 10)
        args = "--clients 600 --rate 3000 --duration 6 --mix sleep --sleep-ms 1..300 --quiet"
        stress_test = [f"{PROGRAMS}/stress_test", "--port", str(server.port), *args.split()]
        with subprocess.Popen(stress_test, stdout=subprocess.DEVNULL) as many:
            wait_until("many workers are busy", lambda: number(browser, "running") > 100)
            pictures(browser, "many")
        served(many.returncode)
        console_of_an_end(browser)
    finally:
        server.end(signal.SIGKILL)
    wait_until("a sudden end is seen", lambda: state(browser) == "gone")


def quiet(browser):
    """Neither an error nor a violation of the policy in the console."""
    said = browser.console()
    expect("the console is quiet", not said, said)


def console_of_an_end(browser):
    """Nothing but requests that failed, as they must when there is no server."""
    said = browser.console()
    others = [
        entry for entry in said if entry["source"] != "network" or "/status" not in entry["message"]
    ]
    expect("requests failed while there was no server", said)
    expect("nothing else was wrong", not others, others)


def policy(server, browser):
    """The policy is in force: a foreign script does not run, and the console says so."""
    headers, page = get(f"http://{server.admin}/")
    policy = headers["Content-Security-Policy"]
    expect("a strict policy", "default-src 'none'" in policy and "unsafe" not in policy, policy)
    expect("a small page", len(page.encode()) < 60_000, len(page.encode()))
    quiet(browser)
    browser.run(
        "const script = document.createElement('script');"
        "script.text = 'window.foreign = 1'; document.body.append(script)"
    )
    expect("a foreign script does not run", browser.run("return window.foreign") is None)
    said = browser.console()
    violations = [entry for entry in said if "Content Security Policy" in entry["message"]]
    expect("and the console says so", violations, said)


def main():
    # An end from outside ends the browser, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    server, browser = Server(), None
    try:
        browser = Browser()
        browser.look(1600)
        browser.open(f"http://{server.admin}/")
        wait_until("the page is there", lambda: state(browser) == "serving")
        wait_until("and has compared two answers", lambda: browser.text("rate") == "0")
        load(server, browser)
        hands(browser)
        overload(server, browser)
        silence(server, browser)
        policy(server, browser)
        end_and_return(server, browser)
    finally:
        if browser:
            browser.quit()
        server.end(signal.SIGKILL)
    print(f"the live page: passed; pictures are in {PICTURES}")


main()

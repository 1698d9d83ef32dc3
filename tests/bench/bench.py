#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark table: uzram beside kernel zram, nbdkit's memory plugin and the
ceiling, on the same data in the same run. docs/BENCHMARKS.md says how each row
is measured."""

import argparse
import contextlib
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

sys.dont_write_bytecode = True
from accel_row import measure_accel  # noqa: E402
from offload_row import measure_offload  # noqa: E402
from peers import (BenchError, PAGE, Programs, Server, ZRAM_TABLE_ENTRY,  # noqa: E402
                   ZramDevice, median_ratio, run_program, zram_missing)
from wb_row import measure_wb  # noqa: E402

K128 = 128 << 10
MIB = 1 << 20
SHIFT = 7919  # pages; a prime, so that each overwrite brings every page other content


@dataclass(frozen=True)
class IoRow:
    """A row of reads or writes."""
    name: str
    mode: str
    request: int
    connections: int
    depth: int
    passes: int = 1
    # nbdkit memory allocator=zstd is slow: it does a sample of the requests.
    zstd_stride: int = 1
    zstd_count: int = None
    note: str = ""

    @property
    def fresh(self):
        """Each round begins with an empty disk."""
        return self.mode == "write"

    @property
    def small(self):
        return self.request == PAGE

    def figure(self, pages_per_second):
        if self.small:
            return round(pages_per_second)
        return round(pages_per_second * PAGE / 1e6, 1)

    @property
    def unit(self):
        return "IOPS" if self.small else "MB/s"


def io_rows(cpus):
    fresh = "every round writes to an empty disk"
    full = "every round reads a full disk"
    sample = "; memory-zstd does every fourth request"
    w128 = {"mode": "write", "request": K128, "depth": 4, "zstd_stride": 4, "note": fresh + sample}
    r128 = {"mode": "read", "request": K128, "depth": 4, "passes": 3, "zstd_stride": 4,
            "note": full + sample}
    return [
        IoRow("w128", connections=cpus, **w128),
        IoRow("r128", connections=cpus, **r128),
        IoRow("w128c1", connections=1, **w128),
        IoRow("r128c1", connections=1, **r128),
        IoRow("w4k", "randwrite", PAGE, 2, 16, zstd_count=8192,
              note="every round overwrites all pages of a full disk, each with another one's "
                   "content; memory-zstd 8192 of them"),
        IoRow("r4k", "randread", PAGE, 2, 16, zstd_count=16384,
              note="every round reads all pages of a full disk; memory-zstd 16384 of them"),
    ]


# What a ratio has to reach, and where it should get in the end (if more).
TARGETS = {
    "w128": {"zram-1": (">=", 1.4, 1.6), "zram-all": (">=", 0.8), "memory-zstd": (">=", 3.6),
             "ceiling": (">=", 0.9, 0.95)},
    "r128": {"zram-1": (">=", 1.4), "zram-all": (">=", 0.74), "memory-zstd": (">=", 6.0),
             "ceiling": (">=", 0.9, 0.95)},
    "w128c1": {"zram-1": (">=", 1.5), "ceiling": (">=", 0.95), "through": (">=", 1.8)},
    "r128c1": {"ceiling": (">=", 0.95)},
    "w4k": {"memory-zstd": (">=", 8.0), "ceiling": (">=", 0.95), "through": (">=", 0.97)},
    "r4k": {"ceiling": (">=", 0.95)},
    "lat4k": {"callback-us": ("<=", 2.0)},
    "mem": {"load": ("<=", 1.03, 1.02), "half": ("<=", 1.06)},
    "accel": {"host-us": ("<=", 0.5), "closed-us": ("<=", 1.0), "in-flight": (">=", 256),
              "iaa-8-each": ("<=", 1.1), "iaa-8-batch": ("<=", 1.1), "hisi-off": ("<=", 0.15),
              "zstd-batch-gain": ("<=", 0.01)},
    "offload": {"zstd-engine": (">", 1.0), "zstd-software": (">", 1.0),
                "lz4-engine": (">", 1.0), "lz4-software": (">", 1.0),
                "in-flight": (">=", 256), "batched": (">", 0.5)},
    "wb": {"write": (">=", 1.0), "read": (">=", 1.0), "bytes": ("<=", 1.03, 1.01)},
    "empty": {"start-16T-s": ("<=", 0.1), "rss-16T-MiB": ("<=", 8.0)},
}


class NbdContender:
    """A server, measured by nbd-load."""

    def __init__(self, name, bench, row, args, sample=None):
        self.name, self.bench, self.row = name, bench, row
        self.args = args
        self.sample = sample or {}  # options of a rival that does a part of the work
        self.server = None
        self.shift = None

    def prepare(self, stack):
        """A full disk, for all rounds."""
        if self.row.fresh:
            return
        self.server = stack.enter_context(Server(self.args))
        self.bench.programs.nbd(self.server, "write", K128, workers=self.bench.cpus, depth=4,
                                stride=self.sample.get("stride"))

    def round(self, number):
        if not self.row.fresh:
            return self._load(self.server, number)
        with Server(self.args) as self.server:
            result = self._load(self.server, number)
            if number == 0:
                self.verify()
        return result

    def _load(self, server, number):
        row = self.row
        self.shift = (number + 1) * SHIFT if row.mode == "randwrite" else 0
        done = self.bench.programs.nbd(server, row.mode, row.request, workers=row.connections,
                                       depth=row.depth, passes=row.passes, shift=self.shift,
                                       seed=number + 1, **self.sample)
        return done["pages"] / done["wall"], done

    def verify(self):
        """Is what the disk holds now what was written?"""
        self.bench.programs.nbd(self.server, "read", self.row.request, depth=self.row.depth,
                                shift=self.shift, stride=self.sample.get("stride"), verify=True)


class ZramContender:
    """Kernel zram with a number of threads."""

    def __init__(self, name, bench, row, device, threads):
        self.name, self.bench, self.row = name, bench, row
        self.device, self.threads = device, threads

    def prepare(self, _stack):
        if not self.row.fresh:
            self.bench.programs.block(self.device, "write", K128, workers=self.bench.cpus)

    def round(self, number):
        row = self.row
        if row.fresh:
            self.device.reset()
        shift = (number + 1) * SHIFT if row.mode == "randwrite" else 0
        done = self.bench.programs.block(self.device, row.mode, row.request, passes=row.passes,
                                         workers=self.threads, shift=shift, seed=number + 1)
        return done["pages"] / done["wall"], done


class Ceiling:
    """NBD with nothing behind it, plus the codec with nothing around it, on all
    the cores that the row can use, without a moment's idling."""

    def __init__(self, name, bench, row, null_args):
        self.name, self.bench, self.row = name, bench, row
        self.null_args = null_args
        # A connection keeps a thread of the client and one of the server busy.
        self.cores = min(bench.cpus, 2 * row.connections)
        self.server = None

    def prepare(self, stack):
        args = self.null_args + [f"size={self.bench.disk_size}"]
        self.server = stack.enter_context(Server(args))

    def round(self, number):
        row, programs = self.row, self.bench.programs
        reads = "read" in row.mode
        nbd = programs.nbd(self.server, row.mode, row.request, workers=row.connections,
                           depth=row.depth, passes=1 if row.small else 8, seed=number + 1)
        codec = programs.codec(row.mode, row.request, workers=self.cores, seed=number + 1,
                               stride=1 if reads else 4)
        nbd_page = (nbd["cpu"] + nbd["server_cpu"]) / nbd["pages"]
        codec_page = codec["cpu"] / codec["pages"]
        detail = {"nbd_us": nbd_page * 1e6, "codec_us": codec_page * 1e6, "cores": self.cores}
        return self.cores / (nbd_page + codec_page), detail


class Bench:
    """What all rows share."""

    def __init__(self, options):
        self.rounds = options.rounds
        self.build = options.build
        self.cpus = len(os.sched_getaffinity(0))
        build = options.build
        folder = os.path.join(build, "tests/bench")
        self.programs = Programs(folder, options.data)
        self.null_plugin = os.path.join(folder, ".libs/nbdkit-uzrambenchnull-plugin.so")
        self.plugin = options.plugin
        self.uzramctl = os.path.join(build, "plugin/uzramctl")
        # As the load programs cut the data.
        self.disk_size = os.path.getsize(options.data) // K128 * K128
        self.zram_missing = zram_missing()

    def uzram_args(self, size):
        args = [self.plugin, f"size={size}"]
        if self.is_uzram():
            args += ["algorithm=lz4", "control=CONTROL"]
        return args

    def is_uzram(self):
        """Else the driver is being tried with another plugin."""
        return "uzram" in self.plugin

    def control(self, server, *command):
        out = run_program([self.uzramctl, "-s", server.control, "--json", *command])
        return json.loads(out)


def verdict(row, ratios, limits):
    """`ok`, `short`, or `limit` if the report accounts for all that is short."""
    short = [key for key, target in TARGETS[row].items()
             if key in ratios and is_short(target, ratios[key])]
    if not short:
        return "ok"
    return "limit" if all((row, key) in limits for key in short) else "short"


def is_short(target, value):
    op, bound = target[:2]
    return {">=": value < bound, ">": value <= bound, "<=": value > bound}[op]


def read_limits(source):
    """(row, ratio) of each heading `### Limit: ROW RATIO` in the report."""
    path = os.path.join(source, "docs/BENCHMARKS.md")
    if not os.path.exists(path):
        return set()
    with open(path, encoding="utf-8") as f:
        return set(re.findall(r"^### Limit: (\S+) (\S+)$", f.read(), re.M))


def make_result(row, figure, unit, rivals, ratios, limits, note, detail):
    """One entry of results.json."""
    targets = TARGETS[row]
    return {
        "row": row, "figure": figure, "unit": unit, "rivals": rivals,
        "ratios": {key: round(value, 4) for key, value in ratios.items()},
        "target": {key: f"{t[0]} {t[1]:g}" for key, t in targets.items()},
        "goal": {key: f"{t[0]} {t[2]:g}" for key, t in targets.items() if len(t) > 2},
        "verdict": verdict(row, ratios, limits), "note": note, "detail": detail,
    }


def cost_note(details, bench):
    """Where the time of a page goes, in medians."""
    def median(name, value):
        return statistics.median(value(d) for d in details[name])

    client = median("uzram", lambda d: d["cpu"] / d["pages"] * 1e6)
    server = median("uzram", lambda d: d["server_cpu"] / d["pages"] * 1e6)
    busy = median("uzram", lambda d: (d["cpu"] + d["server_cpu"]) / d["wall"])
    nbd = median("ceiling", lambda d: d["nbd_us"])
    codec = median("ceiling", lambda d: d["codec_us"])
    return (f"CPU us a page: uzram's client {client:.2f} + server {server:.2f}, {busy:.2f} of "
            f"{bench.cpus} cores busy; ceiling's NBD {nbd:.2f} + codec {codec:.2f} on "
            f"{details['ceiling'][0]['cores']} cores")


def measure_io(bench, row, limits):
    """Rounds of all contenders, one after the other, in turning order."""
    size = f"size={bench.disk_size}"
    uzram = NbdContender("uzram", bench, row, bench.uzram_args(bench.disk_size))
    zstd_sample = {"stride": row.zstd_stride, "count": row.zstd_count}
    contenders = [uzram]
    speeds, details = {}, {}
    note = row.note
    with contextlib.ExitStack() as stack:
        if bench.zram_missing:
            note += f"; kernel zram: {bench.zram_missing}"
        else:
            device = stack.enter_context(ZramDevice(bench.disk_size))
            contenders += [ZramContender("zram-1", bench, row, device, 1),
                           ZramContender("zram-all", bench, row, device, bench.cpus)]
        contenders += [NbdContender("memory-zstd", bench, row,
                                    ["memory", size, "allocator=zstd"], zstd_sample),
                       Ceiling("ceiling", bench, row, ["-t", "1", "null"]),
                       Ceiling("ceiling-bare", bench, row, [bench.null_plugin])]
        if "write" in row.mode and bench.is_uzram():
            contenders.append(NbdContender("through", bench, row,
                                           bench.uzram_args(bench.disk_size) + ["write=through"]))
        for contender in contenders:
            contender.prepare(stack)
            speeds[contender.name], details[contender.name] = [], []
        # Round 0 warms caches and the host's memory up, and is not counted.
        for number in range(bench.rounds + 1):
            turn = number % len(contenders)
            for contender in contenders[turn:] + contenders[:turn]:
                speed, detail = contender.round(number)
                if number > 0:
                    speeds[contender.name].append(speed)
                    details[contender.name].append(detail)
        if not row.fresh:
            uzram.verify()
    mine = speeds.pop("uzram")
    note += "; " + cost_note(details, bench)
    rivals = {name: row.figure(statistics.median(s)) for name, s in speeds.items()}
    if bench.zram_missing:
        rivals = {"zram-1": None, "zram-all": None, **rivals}
    ratios = {name: median_ratio(mine, s) for name, s in speeds.items()}
    result = make_result(row.name, row.figure(statistics.median(mine)), row.unit, rivals, ratios,
                         limits, note, details)
    result["spread"] = round((max(mine) - min(mine)) / statistics.median(mine), 4)
    return result


POINTS = {"load": "after load", "freed": "a random half freed",
          "half": "the same compacted", "overwritten": "all overwritten twice"}


def mem_points(disk, pages):
    """The life that the mem row gives a disk: yields each point's figure."""
    disk.load("write", K128)
    yield "load", disk.point()
    disk.load("randtrim", PAGE, count=pages // 2)
    yield "freed", disk.point()
    disk.compact()
    time.sleep(1)
    yield "half", disk.point()
    for turn in (1, 2):
        disk.load("randwrite", PAGE, shift=turn * SHIFT, seed=turn)
    yield "overwritten", disk.point()


class MemUzram:
    """Growth of the server's resident memory over the compressed bytes."""

    def __init__(self, bench, server):
        self.bench, self.server = bench, server
        self.before = server.memory()
        self.detail = {}

    def load(self, mode, request, **options):
        self.bench.programs.nbd(self.server, mode, request, workers=self.bench.cpus, depth=4,
                                **options)

    def point(self):
        time.sleep(0.5)  # what staging took goes back a moment after the last write
        stat = self.bench.control(self.server, "stat")["disks"][0]
        now = self.server.memory()
        growth = {key: now[key] - self.before[key] for key in now}
        return growth["Rss"] / stat["mm_stat"]["compr_data_size"], {**growth, **stat["mm_stat"]}

    def compact(self):
        self.bench.control(self.server, "compact")


class MemZram:
    """Its pool and table over the compressed bytes."""

    def __init__(self, bench, device):
        self.bench, self.device = bench, device

    def load(self, mode, request, **options):
        self.bench.programs.block(self.device, mode, request, workers=self.bench.cpus, **options)

    def point(self):
        total, compressed = self.device.memory()
        return total / compressed, {"total": total, "compr_data_size": compressed}

    def compact(self):
        self.device.compact()


def measure_mem(bench, limits):
    if not bench.is_uzram():
        raise BenchError("only uzram says how many bytes its compressed pages take")
    mine = {key: [] for key in POINTS}
    rival = {key: [] for key in POINTS}
    details = []
    pages = bench.disk_size // PAGE
    note = ("resident growth over compressed bytes; points: " +
            ", ".join(f"{key} = {text}" for key, text in POINTS.items()) +
            "; both are compacted by command, no upkeep thread exists yet")
    for _ in range(bench.rounds):
        with Server(bench.uzram_args(bench.disk_size)) as server:
            for key, (ratio, detail) in mem_points(MemUzram(bench, server), pages):
                mine[key].append(ratio)
                details.append({"point": key, **detail})
            bench.programs.nbd(server, "read", PAGE, depth=16, shift=2 * SHIFT, verify=True)
        if bench.zram_missing:
            continue
        with ZramDevice(bench.disk_size) as device:
            for key, (ratio, _) in mem_points(MemZram(bench, device), pages):
                rival[key].append(ratio)
    ratios = {key: statistics.median(values) for key, values in mine.items()}
    zram = None
    if bench.zram_missing:
        note += f"; kernel zram: {bench.zram_missing}"
    else:
        zram = {key: round(statistics.median(values), 4) for key, values in rival.items()}
    return make_result("mem", round(ratios["load"], 4), "x", {"zram": zram}, ratios, limits, note,
                       details)


def measure_empty(bench, limits):
    """Start-up time and resident memory beside nbdkit's null plugin."""
    sizes = {"1G": 1 << 30, "100G": 100 << 30, "16T": 16 << 40}
    figures, null, ratios = {}, {}, {}
    for name, size in sizes.items():
        start, rss, null_start = [], [], []
        for _ in range(bench.rounds):
            with Server(["null", f"size={size}"]) as other:
                null_start.append(other.start_seconds)
                beside = other.memory()["Rss"]
            with Server(bench.uzram_args(size)) as server:
                start.append(server.start_seconds)
                rss.append((server.memory()["Rss"] - beside) / MIB)
        ratios[f"start-{name}-s"] = statistics.median(start)
        ratios[f"rss-{name}-MiB"] = statistics.median(rss)
        null[name] = round(statistics.median(null_start), 4)
        figures[name] = {"start_s": start, "rss_MiB": rss}
    rivals = {"null-start-s": null,
              "zram-table-MiB": {name: size // PAGE * ZRAM_TABLE_ENTRY // MIB
                                 for name, size in sizes.items()}}
    note = ("from spawn to the first handshake; resident memory beyond nbdkit null's; kernel "
            "zram's table by arithmetic")
    return make_result("empty", round(ratios["start-16T-s"], 4), "s", rivals, ratios, limits, note,
                       figures)


def measure_lat4k(bench, limits):
    """One request of 4 KiB at a time: the write callback's own time, and the client's."""
    count = 20000
    rivals = {"through": ["write=through"], "accel": ["accel=iaa"]}
    times = {name: {"callback": [], "client": []} for name in ("uzram", *rivals, "null")}
    detail = {}
    for _ in range(bench.rounds):
        for name in times:
            args = bench.uzram_args(bench.disk_size) + rivals.get(name, [])
            if name == "null":
                args = ["-t", "1", "null", f"size={bench.disk_size}"]
            with Server(args) as server:
                done = bench.programs.nbd(server, "randwrite", PAGE, workers=1, depth=1,
                                          count=count)
                times[name]["client"].append(done["wall"] / done["pages"] * 1e6)
                if name != "null":
                    stat = bench.control(server, "stat")["disks"][0]["latency_us"]["write"]
                    times[name]["callback"].append(stat["p50"])
                    detail[name] = stat
    middle = {name: {kind: round(statistics.median(v), 2) for kind, v in kinds.items() if v}
              for name, kinds in times.items()}
    ratios = {"callback-us": middle["uzram"]["callback"],
              "client-over-null": middle["uzram"]["client"] / middle["null"]["client"],
              "accel-over-plain": middle["accel"]["callback"] / middle["uzram"]["callback"]}
    note = ("one connection, depth 1, random 4 KiB writes to an empty disk; p50 of the write "
            "callback by the server's own histogram; p99 of the last round "
            f"{detail['uzram']['p99']:.1f} us; at the client the mean of a write and its reply")
    return make_result("lat4k", middle["uzram"]["callback"], "us",
                       {name: kinds.get("callback", kinds["client"])
                        for name, kinds in middle.items() if name != "uzram"},
                       ratios, limits, note, middle)


def measure_alone(bench, row, measure, limits):
    """A row that has a module of its own."""
    figure, unit, rivals, ratios, note, detail = measure(bench)
    return make_result(row, figure, unit, rivals, ratios, limits, note, detail)


def number(value):
    if value is None:
        return "-"
    if isinstance(value, dict):
        return "/".join(number(v) for v in value.values())
    return f"{value:.0f}" if value >= 100 else f"{value:.4g}"


def format_ratio(result, key):
    """`0.93 (>= 0.9, goal 0.95)`, with `short of` in place of the sign."""
    if key not in result["ratios"]:
        return ""
    text = f"{result['ratios'][key]:.3f}"
    target = TARGETS[result["row"]].get(key)
    if not target:
        return text
    sign = {True: "over" if target[0] == "<=" else "short of", False: target[0]}
    text += f" ({sign[is_short(target, result['ratios'][key])]} {target[1]:g}"
    if len(target) > 2:
        text += f", goal {target[2]:g}"
    return text + ")"


def format_line(result):
    """A row's one line."""
    parts = [f"{result['row']:<7} uzram {number(result['figure'])} {result['unit']}"]
    if "spread" in result:
        parts[0] += f" (spread {result['spread']:.0%})"
    shown = set()
    for name, figure in result["rivals"].items():
        text = f"{name} {number(figure)}"
        if name in result["ratios"]:
            text += f" ratio {format_ratio(result, name)}"
            shown.add(name)
        parts.append(text)
    parts += [f"{key} {format_ratio(result, key)}" for key in result["ratios"] if key not in shown]
    return " | ".join(parts + [result["verdict"]])


def others_busy():
    """How many cores other processes keep busy while this one sleeps."""
    def busy_ticks():
        with open("/proc/stat", encoding="ascii") as f:
            user, nice, system, _, _, irq, softirq, steal = map(int, f.readline().split()[1:9])
        return user + nice + system + irq + softirq + steal

    before, begin = busy_ticks(), time.monotonic()
    time.sleep(1)
    ticks = busy_ticks() - before
    return ticks / os.sysconf("SC_CLK_TCK") / (time.monotonic() - begin)


def warn_if_busy():
    busy = others_busy()
    if busy > 0.1:
        print(f"warning: other processes keep {busy:.1f} cores busy: these figures mean little",
              flush=True)


def describe(bench):
    """The machine and the data, one line each."""
    cpu = "unknown CPU"
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        found = re.search(r"^model name\s*: (.*)$", f.read(), re.M)
        cpu = found.group(1) if found else cpu
    nbdkit = run_program(["nbdkit", "--version"]).strip()
    print(f"machine: {bench.cpus} x {cpu}, Linux {platform.release()}, {nbdkit}")
    content = bench.programs.codec("read", K128, workers=bench.cpus)["content"]
    print(f"data: {content['pages'] * PAGE / MIB:.0f} MiB, compressed to "
          f"{content['compressed_bytes'] / content['pages'] / PAGE:.1%} page by page, "
          f"{content['same_pages']} pages same-filled, {content['raw_pages']} incompressible; "
          f"{bench.rounds} rounds, medians", flush=True)


def write_results(build, results):
    folder = os.path.join(build, "bench")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "results.json")
    with open(path + ".new", "w", encoding="utf-8") as f:
        json.dump(results, f, indent=1)
        f.write("\n")
    os.rename(path + ".new", path)
    return path


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default=".", help="the build folder")
    parser.add_argument("--source", default=".", help="the source folder")
    parser.add_argument("--data", help="a file of at least 1 MiB (made once from /usr)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plugin", help="measure this one in uzram's place")
    parser.add_argument("rows", nargs="*", metavar="ROW")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    if not options.plugin:
        options.plugin = os.path.join(options.build, "plugin/.libs/nbdkit-uzram-plugin.so")
        if not os.path.exists(options.plugin):
            parser.error(f"{options.plugin} is not there: run make first")
    if options.rounds < 1:
        parser.error("--rounds takes a number from 1 on")
    if options.data and not (os.path.isfile(options.data) and
                             os.path.getsize(options.data) >= MIB):
        parser.error(f"{options.data}: not a file of at least 1 MiB")
    if not options.data:
        options.data = os.path.join(options.build, "bench/data.img")
        if not os.path.exists(options.data):
            os.makedirs(os.path.dirname(options.data), exist_ok=True)
            mkdata = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mkdata")
            subprocess.run([mkdata, options.data], check=True)
    return parser, options


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def stop(signum, _frame):
    """Servers and devices go as the stack unwinds, which no second Ctrl-C disturbs."""
    for other in STOP_SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + signum)


def main():
    for signum in STOP_SIGNALS:
        signal.signal(signum, stop)
    parser, options = parse_options()
    bench = Bench(options)
    limits = read_limits(options.source)
    measures = {row.name: lambda row=row: measure_io(bench, row, limits)
                for row in io_rows(bench.cpus)}
    measures["mem"] = lambda: measure_mem(bench, limits)
    measures["lat4k"] = lambda: measure_lat4k(bench, limits)
    for name, measure in (("accel", measure_accel), ("offload", measure_offload),
                          ("wb", measure_wb)):
        measures[name] = lambda n=name, m=measure: measure_alone(bench, n, m, limits)
    measures["empty"] = lambda: measure_empty(bench, limits)
    for name in options.rows:
        if name not in measures:
            parser.error(f"no row {name}: {' '.join(measures)}")
    describe(bench)
    warn_if_busy()
    results, failed = [], False
    for name in options.rows or measures:
        try:
            results.append(measures[name]())
        except BenchError as e:
            print(f"{name:<7} failed: {e}", flush=True)
            failed = True
            continue
        print(format_line(results[-1]), flush=True)
    warn_if_busy()
    print()
    for result in results:
        print(f"{result['row']}: {result['note']}")
    print(f"written to {write_results(options.build, results)}")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as e:
        sys.exit(f"bench: {e}")

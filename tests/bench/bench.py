#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark table: uzram beside kernel zram, nbdkit's memory plugin and the
ceiling, on the same data in the same run. docs/BENCHMARKS.md says how each row
is measured."""

import argparse
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from accel_row import measure_accel  # noqa: E402
from cpu_row import measure_cpu  # noqa: E402
from io_rows import K128, MIB, io_rows, measure_io  # noqa: E402
from lat_row import measure_lat4k  # noqa: E402
from mem_row import measure_mem  # noqa: E402
from offload_row import measure_offload  # noqa: E402
from peers import (BenchError, PAGE, Programs, Server, ZRAM_TABLE_ENTRY,  # noqa: E402
                   run_program, zram_missing)
from results import format_line, make_result, read_limits  # noqa: E402
from wb_row import measure_wb  # noqa: E402


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

    def uzram_args(self, size, algorithm="lz4"):
        args = [self.plugin, f"size={size}"]
        if self.is_uzram():
            args += [f"algorithm={algorithm}", "control=CONTROL"]
        return args

    def is_uzram(self):
        """Else the driver is being tried with another plugin."""
        return "uzram" in self.plugin

    def control(self, server, *command):
        out = run_program([self.uzramctl, "-s", server.control, "--json", *command])
        return json.loads(out)

    def drain(self, server):
        """Until all that was written is compressed."""
        while self.is_uzram() and self.control(server, "stat")["disks"][0]["stage"]["pages"]:
            time.sleep(0.005)


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


def measure_alone(bench, row, measure, limits):
    """A row that has a module of its own."""
    figure, unit, rivals, ratios, note, detail = measure(bench)
    return make_result(row, figure, unit, rivals, ratios, limits, note, detail)


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
    return busy


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
    for name, measure in (("lat4k", measure_lat4k), ("cpu", measure_cpu), ("accel", measure_accel),
                          ("offload", measure_offload), ("wb", measure_wb)):
        measures[name] = lambda n=name, m=measure: measure_alone(bench, n, m, limits)
    measures["empty"] = lambda: measure_empty(bench, limits)
    for name in options.rows:
        if name not in measures:
            parser.error(f"no row {name}: {' '.join(measures)}")
    describe(bench)
    busy = warn_if_busy()
    results, failed = [], False
    for name in options.rows or measures:
        try:
            results.append(measures[name]())
        except BenchError as e:
            print(f"{name:<7} failed: {e}", flush=True)
            failed = True
            continue
        print(format_line(results[-1]), flush=True)
    busy = max(busy, warn_if_busy())
    print()
    for result in results:
        result.update(rounds=bench.rounds, others_busy=round(busy, 2))
        print(f"{result['row']}: {result['note']}")
    print(f"written to {write_results(options.build, results)}")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as e:
        sys.exit(f"bench: {e}")

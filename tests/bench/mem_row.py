# SPDX-License-Identifier: BSD-3-Clause
"""The mem row: resident memory over compressed bytes, at points of a disk's life."""

import statistics
import time

from io_rows import K128, SETTLE, SHIFT
from peers import BenchError, PAGE, Server, ZramDevice
from results import make_result

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
        time.sleep(SETTLE)
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

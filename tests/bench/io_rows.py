# SPDX-License-Identifier: BSD-3-Clause
"""The rows of reads and writes: what is compared, and the rounds."""

import contextlib
import statistics
import time
from dataclasses import dataclass

from peers import PAGE, Server, ZramDevice, median_ratio
from results import make_result

K128 = 128 << 10
MIB = 1 << 20
SETTLE = 0.5  # s; what staging took goes back a moment after the last write
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
    algorithm: str = "lz4"

    @property
    def weighed(self):
        """What the servers take for the data is compared, too: then all hold all of it."""
        return self.algorithm == "zstd"

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
        IoRow("w128z", connections=cpus, algorithm="zstd",
              **{**w128, "zstd_stride": 1, "note": fresh}),
        IoRow("r128z", connections=cpus, algorithm="zstd",
              **{**r128, "zstd_stride": 1, "note": full}),
        IoRow("w4k", "randwrite", PAGE, 2, 16, zstd_count=8192,
              note="every round overwrites all pages of a full disk, each with another one's "
                   "content; memory-zstd 8192 of them"),
        IoRow("r4k", "randread", PAGE, 2, 16, zstd_count=16384,
              note="every round reads all pages of a full disk; memory-zstd 16384 of them"),
    ]


class NbdContender:
    """A server, measured by nbd-load."""

    def __init__(self, name, bench, row, args, sample=None):
        self.name, self.bench, self.row = name, bench, row
        self.args = args
        self.sample = sample or {}  # options of a rival that does a part of the work
        self.server = None
        self.shift = None
        self.before = None  # resident bytes of the server, without data

    def prepare(self, stack):
        """A full disk, for all rounds."""
        if self.row.fresh:
            return
        self.server = stack.enter_context(Server(self.args))
        self.before = self.server.memory()["Rss"]
        self.bench.programs.nbd(self.server, "write", K128, workers=self.bench.cpus, depth=4,
                                stride=self.sample.get("stride"))

    def round(self, number):
        if not self.row.fresh:
            return self._load(self.server, number)
        with Server(self.args) as self.server:
            self.before = self.server.memory()["Rss"]
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
        if row.weighed:
            time.sleep(SETTLE)
            done["resident"] = server.memory()["Rss"] - self.before
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
        codec = programs.codec(row.mode, row.request, algorithm=row.algorithm,
                               workers=self.cores, seed=number + 1, stride=1 if reads else 4)
        nbd_page = (nbd["cpu"] + nbd["server_cpu"]) / nbd["pages"]
        codec_page = codec["cpu"] / codec["pages"]
        detail = {"nbd_us": nbd_page * 1e6, "nbd_server_us": nbd["server_cpu"] / nbd["pages"] * 1e6,
                  "codec_us": codec_page * 1e6, "cores": self.cores}
        return self.cores / (nbd_page + codec_page), detail

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


def make_rivals(bench, row, stack):
    size = f"size={bench.disk_size}"
    rivals = []
    if row.algorithm == "lz4" and not bench.zram_missing:
        device = stack.enter_context(ZramDevice(bench.disk_size))
        rivals += [ZramContender("zram-1", bench, row, device, 1),
                   ZramContender("zram-all", bench, row, device, bench.cpus)]
    rivals += [NbdContender("memory-zstd", bench, row, ["memory", size, "allocator=zstd"],
                            {"stride": row.zstd_stride, "count": row.zstd_count}),
               Ceiling("ceiling", bench, row, ["-t", "1", "null"])]
    if row.algorithm == "lz4":
        rivals.append(Ceiling("ceiling-bare", bench, row, [bench.null_plugin]))
        if "write" in row.mode and bench.is_uzram():
            rivals.append(NbdContender("through", bench, row,
                                       bench.uzram_args(bench.disk_size) + ["write=through"]))
    return rivals


def run_rounds(bench, contenders):
    """All of them, one after the other, in turning order: what each round found, by name."""
    found = {contender.name: [] for contender in contenders}
    # Round 0 warms caches and the host's memory up, and is not counted.
    for number in range(bench.rounds + 1):
        turn = number % len(contenders)
        for contender in contenders[turn:] + contenders[:turn]:
            result = contender.round(number)
            if number > 0:
                found[contender.name].append(result)
    return found


def weigh(details):
    """The ratio of resident memory, and both sides in MiB."""
    grown = {name: [d["resident"] for d in details[name]] for name in ("uzram", "memory-zstd")}
    mib = {name: round(statistics.median(g) / MIB, 1) for name, g in grown.items()}
    return median_ratio(grown["uzram"], grown["memory-zstd"]), mib


def measure_io(bench, row, limits):
    note = row.note
    uzram = NbdContender("uzram", bench, row, bench.uzram_args(bench.disk_size, row.algorithm))
    with contextlib.ExitStack() as stack:
        contenders = [uzram, *make_rivals(bench, row, stack)]
        for contender in contenders:
            contender.prepare(stack)
        found = run_rounds(bench, contenders)
        if not row.fresh:
            uzram.verify()
    speeds = {name: [speed for speed, _ in results] for name, results in found.items()}
    details = {name: [detail for _, detail in results] for name, results in found.items()}
    mine = speeds.pop("uzram")
    rivals = {name: row.figure(statistics.median(s)) for name, s in speeds.items()}
    ratios = {name: median_ratio(mine, s) for name, s in speeds.items()}
    if row.weighed:
        ratios["memory"], rivals["resident-MiB"] = weigh(details)
    elif bench.zram_missing:
        note += f"; kernel zram: {bench.zram_missing}"
        rivals = {"zram-1": None, "zram-all": None, **rivals}
    note += "; " + cost_note(details, bench)
    result = make_result(row.name, row.figure(statistics.median(mine)), row.unit, rivals, ratios,
                         limits, note, details)
    result["spread"] = round((max(mine) - min(mine)) / statistics.median(mine), 4)
    return result

# SPDX-License-Identifier: BSD-3-Clause
"""The lat4k row: one request of 4 KiB at a time, at the client and in the
plugin's callback."""

import contextlib
import statistics

from io_rows import K128
from peers import BenchError, PAGE, Server, ZramDevice, median_ratio

COUNT = 20000
OPTIONS = {"uzram": [], "through": ["write=through"], "accel": ["accel=iaa"]}
READERS = ("uzram", "null", "zram")  # what else writes differently reads the same way


class NbdLatency:
    """A server: times of random requests to an empty disk, and to a full one."""

    def __init__(self, bench, name):
        self.bench, self.name = bench, name
        size = f"size={bench.disk_size}"
        self.args = (["-t", "1", "null", size] if name == "null" else
                     bench.uzram_args(bench.disk_size) + OPTIONS[name])

    def run(self, seed):
        """What a round found, by operation."""
        with Server(self.args) as server:
            found = {"write": self._load(server, "write", seed)}
            if self.name in READERS:
                self._fill(server)
                found["read"] = self._load(server, "read", seed)
                if self.name != "null" and seed == 1:
                    self.bench.programs.nbd(server, "read", K128, depth=4, verify=True)
        return found

    def _fill(self, server):
        if self.name != "null":
            self.bench.programs.nbd(server, "write", K128, workers=self.bench.cpus, depth=4)
            self.bench.drain(server)

    def _load(self, server, mode, seed):
        done = self.bench.programs.nbd(server, "rand" + mode, PAGE, count=COUNT, seed=seed,
                                       timed=True)
        done["mean"] = done["wall"] / done["pages"] * 1e6
        if self.name != "null":
            done["callback"] = self.bench.control(server, "stat")["disks"][0]["latency_us"][mode]
        return done


class ZramLatency:
    """The same work for kernel zram, whose caller does it all."""

    name = "zram"

    def __init__(self, bench, device):
        self.bench, self.device = bench, device

    def run(self, seed):
        block = self.bench.programs.block
        self.device.reset()
        random = {"count": COUNT, "seed": seed, "timed": True}
        found = {"write": block(self.device, "randwrite", PAGE, **random)}
        block(self.device, "write", K128, workers=self.bench.cpus)
        found["read"] = block(self.device, "randread", PAGE, **random)
        for done in found.values():
            done["mean"] = done["wall"] / done["pages"] * 1e6
        return found


def figures(rounds, mode, *keys):
    """One of each round."""
    found = [one[mode] for one in rounds]
    for key in keys:
        found = [value[key] for value in found]
    return found


def client_ratio(rounds, mode, rival):
    """Of the client's means."""
    return median_ratio(*(figures(rounds[name], mode, "mean") for name in ("uzram", rival)))


def points(rounds, mode, key):
    return {p: round(statistics.median(figures(rounds, mode, key, p)), 2) for p in ("p50", "p99")}


def run_all(bench):
    with contextlib.ExitStack() as stack:
        contenders = [NbdLatency(bench, name) for name in (*OPTIONS, "null")]
        if not bench.zram_missing:
            device = stack.enter_context(ZramDevice(bench.disk_size))
            contenders.append(ZramLatency(bench, device))
        rounds = {contender.name: [] for contender in contenders}
        for number in range(bench.rounds):
            turn = number % len(contenders)
            for contender in contenders[turn:] + contenders[:turn]:
                rounds[contender.name].append(contender.run(number + 1))
    return rounds


def measure_lat4k(bench):
    """The figure, unit, rivals, ratios, note and detail of the row."""
    if not bench.is_uzram():
        raise BenchError("only uzram times its callbacks")
    rounds = run_all(bench)
    callback = {name: figures(rounds[name], "write", "callback", "p50") for name in OPTIONS}
    reads = figures(rounds["uzram"], "read", "callback", "p50")
    middle = {name: round(statistics.median(values), 2) for name, values in callback.items()}
    null = statistics.median(figures(rounds["null"], "write", "mean"))
    rivals = {"through": middle["through"], "accel": middle["accel"], "null": round(null, 2)}
    ratios = {"callback-us": middle["uzram"],
              "client-over-null": client_ratio(rounds, "write", "null"),
              "accel-over-plain": median_ratio(callback["accel"], callback["uzram"]),
              "read-callback-us": statistics.median(reads),
              "read-client-over-null": client_ratio(rounds, "read", "null")}
    for mode in ("write", "read"):
        rivals[f"{mode}-callback"] = points(rounds["uzram"], mode, "callback")
        for name in READERS:
            label = "client" if name == "uzram" else name
            if name in rounds:
                rivals[f"{mode}-{label}"] = points(rounds[name], mode, "latency_us")
                if name == "zram":
                    ratios[f"{mode}-client-over-zram"] = client_ratio(rounds, mode, name)
            else:
                rivals[f"{mode}-{label}"] = None
    note = (f"one connection, depth 1, {COUNT} random requests of 4 KiB: writes to an empty disk, "
            "reads from a full one with nothing staged; the first figures: p50 of the write "
            "callback by the server's own histogram, null: the client's mean; pairs: p50/p99 in "
            "the callback, at the client, with the null plugin, with kernel zram (its caller's "
            "system call); ratios of clients are of means")
    if bench.zram_missing:
        note += f"; kernel zram: {bench.zram_missing}"
    return middle["uzram"], "us", rivals, ratios, note, rounds

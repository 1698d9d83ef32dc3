# SPDX-License-Identifier: BSD-3-Clause
"""The cpu row: what the server spends on a GiB written and a GiB read, beside
NBD and the codec alone."""

import contextlib
import statistics

from io_rows import Ceiling, io_rows, run_rounds
from peers import PAGE, Server, median_ratio

PAGES_A_GIB = (1 << 30) // PAGE


class UzramCost:
    """CPU seconds of a GiB by who spends them. What is staged at the last reply is waited for."""

    name = "uzram"

    def __init__(self, bench, row):
        self.bench, self.row = bench, row
        self.server = None
        self.args = bench.uzram_args(bench.disk_size)

    def prepare(self, stack):
        if not self.row.fresh:
            self.server = stack.enter_context(Server(self.args))
            self._load(self.server, "write", 1)

    def round(self, _number):
        if not self.row.fresh:
            return self._load(self.server, "read", self.row.passes)
        with Server(self.args) as server:
            return self._load(server, "write", self.row.passes)

    def _load(self, server, mode, passes):
        before = server.cpu()
        done = self.bench.programs.nbd(server, mode, self.row.request, passes=passes,
                                       workers=self.row.connections, depth=self.row.depth)
        self.bench.drain(server)
        gib = done["pages"] / PAGES_A_GIB
        return {"server": (server.cpu() - before) / gib, "client": done["cpu"] / gib,
                "window": done["server_cpu"] / gib}


class FloorCost(Ceiling):
    """The sum that the ceiling is made of."""

    def round(self, number):
        _, us = super().round(number)
        nbd, server, codec = (us[key] * PAGES_A_GIB / 1e6
                              for key in ("nbd_us", "nbd_server_us", "codec_us"))
        return {"server": server + codec, "client": nbd - server, "codec": codec}


def measure_direction(bench, row):
    """Each round's costs by contender."""
    with contextlib.ExitStack() as stack:
        contenders = [UzramCost(bench, row), FloorCost("ceiling", bench, row, ["-t", "1", "null"])]
        for contender in contenders:
            contender.prepare(stack)
        return run_rounds(bench, contenders)


def ratio(found, *parts):
    """uzram's cost over the floor's."""
    mine, floor = ([sum(cost[part] for part in parts) for cost in found[name]]
                   for name in ("uzram", "ceiling"))
    return median_ratio(mine, floor)


def middle(found, name, part):
    return statistics.median(cost[part] for cost in found[name])


def measure_cpu(bench):
    """The figure, unit, rivals, ratios, note and detail of the row."""
    rows = {row.name: row for row in io_rows(bench.cpus)}
    found = {mode: measure_direction(bench, rows[name])
             for mode, name in (("write", "w128"), ("read", "r128"))}
    ratios = {mode: ratio(of, "server") for mode, of in found.items()}
    for mode, of in found.items():
        ratios[f"{mode}-with-client"] = ratio(of, "server", "client")
    rivals = {"ceiling": {mode: round(middle(of, "ceiling", "server"), 3)
                          for mode, of in found.items()}}
    figure = {mode: round(middle(of, "uzram", "server"), 3) for mode, of in found.items()}
    parts = "; ".join(f"{mode}: client {middle(of, 'uzram', 'client'):.3f} (null plugin's "
                      f"{middle(of, 'ceiling', 'client'):.3f}), codec alone "
                      f"{middle(of, 'ceiling', 'codec'):.3f}" for mode, of in found.items())
    note = ("CPU seconds of the server for a GiB written / read as in w128 / r128, all threads, "
            "until nothing is staged; ceiling: the null plugin's server + liblz4 alone; "
            f"with-client: both with their client's; {parts}")
    return figure, "s/GiB", rivals, ratios, note, found

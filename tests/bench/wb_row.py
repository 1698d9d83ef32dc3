# SPDX-License-Identifier: BSD-3-Clause
"""The wb row: the second tier beside raw pages through the same I/O, on one
file, by wb-bench."""

import contextlib
import os
import statistics

from peers import median_ratio


def measure_wb(bench):
    """The figure, unit, rivals, ratios, note and detail of the row."""
    path = os.path.join(bench.build, "bench/wb.img")
    # Pages of a request, threads: 32 in flight, as two connections ask; and single pages.
    shapes = {"read": (16, 2), "scattered": (1, 32)}
    speeds = {mode: {"write": [], **{name: [] for name in shapes}} for mode in ("uzram", "raw")}
    tight, cpu, io = [], {"uzram": [], "raw": []}, None
    try:
        for number in range(bench.rounds + 1):
            for mode in ("uzram", "raw") if number % 2 else ("raw", "uzram"):
                for name, (group, threads) in shapes.items():
                    done = bench.programs.writeback(mode, path, depth=32, group=group,
                                                    threads=threads if mode == "uzram" else 1,
                                                    verify=number == 0)
                    if number == 0:
                        continue
                    if name == "read":
                        speeds[mode]["write"].append(done["pages"] / done["write"]["wall"])
                        cpu[mode].append(done["write"]["cpu"] / done["pages"] * 1e6)
                    speeds[mode][name].append(done["pages"] / done["read"]["wall"])
                    io = done["io"]
                    if mode == "uzram":
                        tight.append(done["bytes"] / done["compressed"])
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    ratios = {name: median_ratio(mine, speeds["raw"][name])
              for name, mine in speeds["uzram"].items()}
    ratios["bytes"] = statistics.median(tight)
    figures = {mode: {name: round(statistics.median(s)) for name, s in of.items()}
               for mode, of in speeds.items()}
    mine = figures["uzram"]
    note = (f"pages/s written back by one command, 32 in flight, by {io}; read back {mine['read']} "
            f"pages/s by 2 threads in requests of 16 pages, {mine['scattered']} by 32 threads of a "
            "page each (raw: one thread, 32 in flight); bytes = records with headers over "
            f"compressed bytes; CPU us a page written {statistics.median(cpu['uzram']):.2f}, raw "
            f"{statistics.median(cpu['raw']):.2f}; no NBD")
    return mine["write"], "pages/s", {"raw": figures["raw"]}, ratios, note, {"speeds": speeds}

# SPDX-License-Identifier: BSD-3-Clause
"""The accel row: what the simulated accelerator costs its host, and both of its
clocks, by accel-bench."""

import json
import os

from offload_row import cpu_text, cpu_us, middle, offload_bench
from peers import run_program

# The profile whose engine is software, too, so that both clocks speak of the same thing.
DEVICE = ("--profile", "swthread", "--transport", "msgring", "--engines", "1",
          "--set", "coalesce=32")
BATCHES = (1, 8, 32, 128)
DEPTH = 256
STAGED = DEPTH - 32  # the disk's: its queue is never full, so all pages are the device's
CLOSED = 32  # batch and depth: the host waits for each whole batch


def accel_bench(bench, *options):
    program = os.path.join(bench.programs.folder, "accel-bench")
    return json.loads(run_program([program, "--json", *options], timeout=600))


def measure_accel(bench):
    """The figure, unit, rivals, ratios, note and detail of the row."""
    common = ("--data", bench.programs.data, "--rounds", str(bench.rounds), *DEVICE)
    deep = accel_bench(bench, *common, "--depth", str(DEPTH),
                       "--batch", ",".join(map(str, BATCHES)))["cases"]
    closed = accel_bench(bench, *common, "--depth", str(CLOSED), "--batch", str(CLOSED))["cases"]
    software = accel_bench(bench, "--software", "--data", bench.programs.data,
                           "--rounds", str(bench.rounds))
    model = accel_bench(bench, "--model")
    disk = [offload_bench(bench, "lz4", "engine", "-q", str(DEPTH), "-w", str(STAGED))
            for _ in range(bench.rounds)]

    direct = deep[0]["host_cpu_ns"] / 1e3
    by_batch = {case["batch"]: case for case in deep[1:]}
    host = by_batch[32]["host_cpu_ns"] / 1e3
    closed_host = closed[1]["host_cpu_ns"] / 1e3
    iaa = next(row for row in model["iaa"] if row["batch"] == 8)
    worst_hisi = max(abs(row["gb_s"] / row["published_gb_s"] - 1) for row in model["hisi"])
    ratios = {"host-us": host, "closed-us": closed_host, "in-flight": by_batch[32]["in_flight_max"],
              "iaa-8-each": iaa["each_us"] / 33.0, "iaa-8-batch": iaa["batch_us"] / 9.7,
              "hisi-off": worst_hisi, "zstd-batch-gain": abs(software["zstd"]["gain_32"])}
    rivals = {"lz4-inline-us": round(direct, 2), "disk-cpu-us": round(middle(disk, cpu_us), 2),
              "wall-kpages-s": {b: round(by_batch[b]["wall_pages_s"] / 1e3, 1) for b in BATCHES},
              "model-kpages-s": {b: round(by_batch[b]["model_pages_s"] / 1e3, 1) for b in BATCHES}}
    note = (f"host CPU a page to submit and reap, depth {DEPTH}, coalesce 32, batches of 32; "
            f"closed: a loop of {CLOSED}; wall and modelled pages/s at batches of "
            f"{', '.join(map(str, BATCHES))}; engine CPU {by_batch[32]['engine_cpu_ns'] / 1e3:.2f} "
            f"us a page; the disk's total, of all threads: {cpu_text(disk)}; iaa and hisi: the "
            "model over the published figures")
    detail = {"deep": deep, "closed": closed, "software": software, "model": model,
              "disk": disk}
    return round(host, 3), "us", rivals, ratios, note, detail

# SPDX-License-Identifier: BSD-3-Clause
"""The offload row: the disk with its accelerator. Who compresses how fast, by
offload-bench; and what 4 KiB writes over NBD make of an accelerator's queue."""

import json
import os
import statistics

from peers import BenchError, PAGE, Server, median_ratio, run_program

CODECS = ("zstd", "lz4")
BATCH = 32
STAGED = 480  # pages: more than the queue of `both` holds, less by a batch than that of `engine`
MODES = {"both": ("-q", "128"), "engine": ("-q", str(STAGED + BATCH)), "software": (),
         "through": ()}
RIVALS = ("engine", "software")
NBD_ARGS = ("accel=iaa", "accel-queue-depth=256")


def offload_bench(bench, codec, mode, *options):
    program = os.path.join(bench.programs.folder, "offload-bench")
    return json.loads(run_program([program, "-f", bench.programs.data, "-a", codec, "-m", mode,
                                   "-b", str(BATCH), *options]))


def check_run(done, first):
    """All modes make the same of the pages, and in none does the writer lend a hand."""
    if done["direct"]:
        raise BenchError(f"offload-bench: {done['direct']} pages compressed by the writer")
    if done["compressed"] != first["compressed"]:
        raise BenchError(f"offload-bench: {done['compressed']} bytes stored, and "
                         f"{first['compressed']} in another mode")


def measure_modes(bench, codec):
    """Each round's runs by mode, in turning order."""
    runs = {mode: [] for mode in MODES}
    first = None
    for number in range(bench.rounds + 1):
        turn = number % len(MODES)
        order = list(MODES)[turn:] + list(MODES)[:turn]
        for mode in order:
            verify = ("-V",) if number == 0 else ()
            done = offload_bench(bench, codec, mode, "-w", str(STAGED), *MODES[mode], *verify)
            first = first or done
            check_run(done, first)
            if number > 0:
                runs[mode].append(done)
    return runs


def middle(runs, value):
    return statistics.median(value(done) for done in runs)


def rate(done):
    return done["pages"] / done["wall"]


def cpu_us(done):
    return done["cpu"] / done["pages"] * 1e6


def thread_us(name):
    return lambda done: done["threads"][name] / done["pages"] * 1e6


def cpu_text(runs):
    """A page's CPU time by thread, of the threads that had any."""
    parts = {name: middle(runs, thread_us(name)) for name in runs[0]["threads"]}
    return " + ".join(f"{name} {us:.2f}" for name, us in parts.items() if us >= 0.005)


def codec_note(codec, runs):
    busy = middle(runs["engine"], lambda d: d["threads"]["engine"] / d["wall"])
    helped = middle(runs["engine"], lambda d: d["percpu"] / d["pages"])
    fallback = middle(runs["both"], lambda d: d["fallback"] / d["pages"])
    cpu = "; ".join(f"{mode} {middle(done, cpu_us):.2f} = {cpu_text(done)}"
                    for mode, done in runs.items())
    return (f"{codec}: fallback did {fallback:.0%} of the pages of both and {helped:.1%} of "
            f"engine's, whose engine was busy {busy:.0%} of the time; CPU us a page: {cpu}")


def measure_nbd(bench):
    """The end of each round: both documents of the control socket."""
    ends = []
    for number in range(bench.rounds):
        with Server(bench.uzram_args(bench.disk_size) + list(NBD_ARGS)) as server:
            done = bench.programs.nbd(server, "randwrite", PAGE, workers=2, depth=16,
                                      seed=number + 1)
            disk = bench.control(server, "stat")["disks"][0]
            accel = bench.control(server, "accel")["accel"]
            if number == 0:
                bench.programs.nbd(server, "read", PAGE, depth=16, verify=True)
        ends.append({"load": done, "streams": disk["streams"], "stage": disk["stage"],
                     "accel": accel})
    return ends


def batched(end):
    """Which share of the pages came in batches of more than one?"""
    streams = end["streams"]
    single = dict(streams["batch_sizes"]).get(1, 0)
    return 1 - single / streams["batch_pages"] if streams["batch_pages"] else 0


def nbd_note(ends):
    last = ends[-1]
    sizes = dict(last["streams"]["batch_sizes"])
    pages = last["load"]["pages"]
    device = middle(ends, lambda e: e["streams"]["managed"] / pages)
    direct = middle(ends, lambda e: e["stage"]["direct"] / pages)
    mean = middle(ends, lambda e: e["streams"]["batch_pages"] / e["streams"]["batches"])
    speed = middle(ends, lambda e: pages / e["load"]["wall"])
    histogram = ", ".join(f"{most}: {n}" for most, n in sizes.items())
    return (f"over NBD ({' '.join(NBD_ARGS)}, 2 connections, depth 16): {speed:.0f} writes/s, "
            f"{device:.0%} of the pages by the device, {direct:.0%} by their writers; "
            f"{mean:.1f} pages a batch, batches of up to so many pages: {histogram}")


def measure_offload(bench):
    """The figure, unit, rivals, ratios, note and detail of the row."""
    if not bench.is_uzram():
        raise BenchError("only uzram has an accelerator")
    rivals, ratios, notes, detail = {}, {}, [], {}
    for codec in CODECS:
        runs = measure_modes(bench, codec)
        rates = {mode: [rate(done) for done in of] for mode, of in runs.items()}
        rivals[f"{codec}-both"] = round(statistics.median(rates["both"]))
        for mode in RIVALS:
            rivals[f"{codec}-{mode}"] = round(statistics.median(rates[mode]))
            ratios[f"{codec}-{mode}"] = median_ratio(rates["both"], rates[mode])
        rivals[f"{codec}-cpu-us"] = {mode: round(middle(of, cpu_us), 2)
                                     for mode, of in runs.items()}
        notes.append(codec_note(codec, runs))
        detail[codec] = runs
    ends = measure_nbd(bench)
    ratios["in-flight"] = min(end["accel"]["in_flight_max"] for end in ends)
    ratios["batched"] = middle(ends, batched)
    detail["nbd"] = ends
    figure = rivals.pop(f"{CODECS[0]}-both")
    note = (f"pages/s of {CODECS[0]} with one engine and one software worker (both), one writer, "
            f"at most {STAGED} pages staged, no NBD; cpu-us: of all threads, {'/'.join(MODES)}; ")
    return figure, "pages/s", rivals, ratios, note + "; ".join([*notes, nbd_note(ends)]), detail

#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Draws a results.json of the benchmark: ratios against their targets, memory,
and the accelerator. Figures of rows that were not measured are left out."""

import argparse
import json
import os
import sys

try:
    import matplotlib
except ImportError:
    sys.exit("bench-plots: matplotlib is missing: apt-get install python3-matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402

MINE, OTHER, THIRD = "#0072b2", "#999999", "#e69f00"
VERDICTS = {"target reached": "#0072b2", "short, accounted for": "#e69f00", "short": "#d55e00"}
TARGET = {"color": "black", "linestyle": "--", "linewidth": 1.2}
GOAL = {"color": "black", "linestyle": ":", "linewidth": 1.2}


def split_target(text):
    """`>= 0.8`, as the sign and the bound."""
    sign, bound = text.split()
    return sign, float(bound)


def outcome(result, key):
    sign, bound = split_target(result["target"][key])
    value = result["ratios"][key]
    if {">=": value >= bound, ">": value > bound, "<=": value <= bound}[sign]:
        return "target reached"
    return "short, accounted for" if result["verdict"] == "limit" else "short"


def bars_against_targets(axes, title, cases):
    """One bar for a ratio: its value over its target, which is the line at 1."""
    for y, (result, key) in enumerate(cases):
        sign, bound = split_target(result["target"][key])
        value = result["ratios"][key]
        axes.barh(y, value / bound, color=VERDICTS[outcome(result, key)], height=0.7)
        text = f" {value:.4g}  ({sign} {bound:g}"
        if key in result["goal"]:
            goal = split_target(result["goal"][key])[1]
            axes.plot([goal / bound] * 2, [y - 0.35, y + 0.35], **GOAL)
            text += f", goal {goal:g}"
        at = max(value, split_target(result["goal"].get(key, f"{sign} 0"))[1], bound) / bound
        axes.text(at, y, text + ")", va="center", fontsize=8)
    axes.axvline(1, **TARGET)
    axes.set_yticks(range(len(cases)), [f"{r['row']}  {key}" for r, key in cases], fontsize=8)
    axes.set_ylim(len(cases) - 0.4, -0.6)
    axes.set_xlim(0, 1.35 * max(1.6, axes.get_xlim()[1]))
    axes.set_xlabel("measured / target (no unit)")
    axes.set_title(title, fontsize=10)


def draw_ratios(results):
    sides = {">": ("more is better: at least 1", []), "<": ("less is better: at most 1", [])}
    for result in results.values():
        for key, target in result["target"].items():
            if key in result["ratios"]:
                sides[target[0]][1].append((result, key))
    sides = [side for side in sides.values() if side[1]]
    if not sides:
        return None
    most = max(len(cases) for _, cases in sides)
    figure, all_axes = pyplot.subplots(1, len(sides), squeeze=False,
                                       figsize=(7 * len(sides), 1.8 + 0.26 * most))
    for axes, (title, cases) in zip(all_axes[0], sides):
        bars_against_targets(axes, title, cases)
    legend = [Patch(color=color, label=label) for label, color in VERDICTS.items()]
    legend += [Line2D([], [], label="target", **TARGET), Line2D([], [], label="goal", **GOAL)]
    figure.legend(handles=legend, loc="lower center", ncols=len(legend), fontsize=8)
    figure.suptitle("Ratios of the benchmark over their targets")
    figure.tight_layout(rect=(0, 0.5 / figure.get_figheight(), 1, 1))
    return figure


def number(value):
    """Four digits where the targets differ in the third."""
    return f"{value:.0f}" if value >= 100 else f"{value:.4g}" if 1 <= value < 3 else f"{value:.3g}"


def label_bars(axes, bars, color):
    """Inside, where no line runs; above those that are too low for that."""
    inside = "white" if color == MINE else "black"
    for bar in bars:
        value, x = bar.get_height(), bar.get_x() + bar.get_width() / 2
        low = value < 0.12 * axes.get_ylim()[1]
        axes.text(x, value if low else value / 2, number(value),
                  ha="center", va="bottom" if low else "center", fontsize=8,
                  color="black" if low else inside)


def grouped(axes, groups, columns, unit):
    """`columns`: name -> (color, a value for each group, None where there is none)."""
    width = 0.8 / len(columns)
    most = max(v for _, values in columns.values() for v in values if v is not None)
    axes.set_ylim(0, most * 1.3)  # room for the legend
    for i, (name, (color, values)) in enumerate(columns.items()):
        there = [(x + (i - (len(columns) - 1) / 2) * width, value)
                 for x, value in enumerate(values) if value is not None]
        label_bars(axes, axes.bar([x for x, _ in there], [value for _, value in there],
                                  width * 0.92, color=color, label=name), color)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel(unit)


def level(axes, group, value, **style):
    """A line across one group of bars."""
    axes.plot([group - 0.45, group + 0.45], [value, value], **style)


def draw_life(axes, result):
    zram = result["rivals"]["zram"]
    points = ["load", "freed", "half", "overwritten"]
    columns = {"uzram": (MINE, [result["ratios"][p] for p in points])}
    if zram:
        columns["kernel zram, lz4"] = (OTHER, [zram[p] for p in points])
    grouped(axes, ["loaded", "random half\nfreed", "the same,\ncompacted", "overwritten\ntwice"],
            columns, "resident bytes / compressed bytes")
    for name, style in (("target", TARGET), ("goal", GOAL)):
        for point, text in result[name].items():
            level(axes, points.index(point), split_target(text)[1], **style)
    handles = axes.get_legend_handles_labels()[0]
    axes.legend(handles=handles + [Line2D([], [], label="target", **TARGET),
                                   Line2D([], [], label="goal", **GOAL)], fontsize=8)
    axes.set_title("A disk's life, algorithm=lz4", fontsize=10)


def draw_zstd_memory(axes, result):
    mib = result["rivals"]["resident-MiB"]
    axes.set_ylim(0, 1.5 * max(mib.values()))
    label_bars(axes, axes.bar("uzram\n(4 KiB pages)", mib["uzram"], 0.6, color=MINE), MINE)
    label_bars(axes, axes.bar("nbdkit memory\nallocator=zstd", mib["memory-zstd"], 0.6,
                              color=OTHER), OTHER)
    for kind, style in (("target", TARGET), ("goal", GOAL)):
        bound = split_target(result[kind]["memory"])[1]
        axes.plot([-0.4, 0.4], [bound * mib["memory-zstd"]] * 2,
                  label=f"{kind}: {bound:g} x the rival", **style)
    axes.set_ylabel("resident memory for the same data, MiB")
    axes.legend(fontsize=8)
    axes.set_title(f"After {result['row']}, algorithm=zstd", fontsize=10)


def draw_memory(results):
    zstd = results.get("w128z") or results.get("r128z")
    parts = [(draw, result, width) for draw, result, width in
             ((draw_life, results.get("mem"), 7), (draw_zstd_memory, zstd, 4)) if result]
    if not parts:
        return None
    widths = [width for _, _, width in parts]
    figure, all_axes = pyplot.subplots(1, len(parts), squeeze=False, figsize=(sum(widths), 4.5),
                                       width_ratios=widths)
    for axes, (draw, result, _) in zip(all_axes[0], parts):
        draw(axes, result)
    figure.suptitle("Resident memory")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    return figure


CODECS = ("lz4", "zstd")
MODES = {"engine": ("engine alone", OTHER), "software": ("software worker alone", THIRD),
         "both": ("both", MINE)}


def draw_offload_speed(axes, result):
    rivals = {"zstd-both": result["figure"], **result["rivals"]}
    speed = {mode: [rivals[f"{codec}-{mode}"] / 1e3 for codec in CODECS] for mode in MODES}
    grouped(axes, CODECS, {label: (color, speed[mode]) for mode, (label, color) in MODES.items()},
            "1000 pages/s")
    for x in range(len(CODECS)):
        level(axes, x, max(speed["engine"][x], speed["software"][x]),
              label="target for both: more than either" if x == 0 else None, **TARGET)
    axes.legend(fontsize=8)
    axes.set_title("offload: pages overwritten", fontsize=10)


def draw_offload_cpu(axes, result):
    cpu = {codec: result["rivals"][f"{codec}-cpu-us"] for codec in CODECS}
    columns = {label: (color, [cpu[codec][mode] for codec in CODECS])
               for mode, (label, color) in MODES.items()}
    columns["the writer itself"] = ("#cccccc", [cpu[codec]["through"] for codec in CODECS])
    grouped(axes, CODECS, columns, "CPU time of all threads, us a page")
    axes.legend(fontsize=8)
    axes.set_title("offload: CPU (a real device would do the engine's)", fontsize=10)


def draw_accel_cost(axes, result):
    keys = {"host-us": "deep queue", "closed-us": "a loop of\n32 pages"}
    grouped(axes, list(keys.values()), {"": (MINE, [result["ratios"][key] for key in keys])},
            "host CPU to submit and reap, us a page")
    for x, key in enumerate(keys):
        level(axes, x, split_target(result["target"][key])[1],
              label="target" if x == 0 else None, **TARGET)
    axes.set_ylim(0, 1.3 * max(axes.get_ylim()[1] / 1.3,
                               *(split_target(result["target"][key])[1] for key in keys)))
    axes.legend(fontsize=8)
    axes.set_title("accel: what a page costs its host", fontsize=10)


def draw_accel_speed(axes, result):
    wall, model = (result["rivals"][key] for key in ("wall-kpages-s", "model-kpages-s"))
    grouped(axes, list(wall), {"wall clock": (MINE, list(wall.values())),
                               "modelled clock": (OTHER, list(model.values()))}, "1000 pages/s")
    axes.set_xlabel("pages a batch")
    axes.legend(fontsize=8, ncols=2)
    axes.set_title("accel: one engine, lz4, depth 256", fontsize=10)


def draw_accelerator(results):
    parts = [(draw, results[row]) for row, draw in
             (("offload", draw_offload_speed), ("offload", draw_offload_cpu),
              ("accel", draw_accel_cost), ("accel", draw_accel_speed)) if row in results]
    if not parts:
        return None
    figure, all_axes = pyplot.subplots(len(parts) // 2, 2, squeeze=False,
                                       figsize=(11, 4.2 * len(parts) / 2))
    for axes, (draw, result) in zip(all_axes.flat, parts):
        draw(axes, result)
    figure.suptitle("The accelerator (simulated)")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    return figure


def provenance(results):
    """How far these figures can be trusted."""
    last = list(results.values())[-1]
    text = f"medians of {last.get('rounds', '?')} rounds"
    if last.get("others_busy", 0) > 0.1:
        text += f"; OTHER PROCESSES KEPT {last['others_busy']:.1f} CORES BUSY"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="where results.json is, and the pictures go")
    folder = parser.parse_args().folder
    try:
        with open(os.path.join(folder, "results.json"), encoding="utf-8") as f:
            results = {result["row"]: result for result in json.load(f)}
    except FileNotFoundError as e:
        sys.exit(f"bench-plots: {e.filename} is not there: make bench writes it")
    for name, draw in (("ratios", draw_ratios), ("memory", draw_memory),
                       ("accelerator", draw_accelerator)):
        path = os.path.join(folder, name + ".png")
        figure = draw(results)
        if figure:
            figure.text(0.995, 0.005, provenance(results), ha="right", fontsize=7)
            figure.savefig(path, dpi=110)
            print(path)
        elif os.path.exists(path):
            os.unlink(path)  # of another run


if __name__ == "__main__":
    main()

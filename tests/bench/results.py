# SPDX-License-Identifier: BSD-3-Clause
"""What a row comes to: its targets, its verdict, its entry in results.json and
its line."""

import os
import re

# What a ratio has to reach, and where it should get in the end (if more).
TARGETS = {
    "w128": {"zram-1": (">=", 1.4, 1.6), "zram-all": (">=", 0.8), "memory-zstd": (">=", 3.6),
             "ceiling": (">=", 0.9, 0.95)},
    "r128": {"zram-1": (">=", 1.4), "zram-all": (">=", 0.74), "memory-zstd": (">=", 6.0),
             "ceiling": (">=", 0.9, 0.95)},
    "w128c1": {"zram-1": (">=", 1.5), "ceiling": (">=", 0.95), "through": (">=", 1.8)},
    "r128c1": {"ceiling": (">=", 0.95)},
    "w128z": {"memory-zstd": (">=", 2.0), "memory": ("<=", 1.2, 1.0), "ceiling": (">=", 0.95)},
    "r128z": {"memory-zstd": (">=", 2.0), "memory": ("<=", 1.2, 1.0), "ceiling": (">=", 0.95)},
    "w4k": {"memory-zstd": (">=", 8.0), "ceiling": (">=", 0.95), "through": (">=", 0.97)},
    "r4k": {"ceiling": (">=", 0.95)},
    "lat4k": {"callback-us": ("<=", 2.0)},
    "cpu": {"write": ("<=", 1.05), "read": ("<=", 1.05)},
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

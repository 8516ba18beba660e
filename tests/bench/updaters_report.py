#!/usr/bin/env python3
"""Tables and plots of tests/bench/updaters.

Usage: updaters_report.py table FIGURES --commit ID --about TEXT --command TEXT [--check] [--record]
       updaters_report.py plot BY_SIZE BY_SHARE --share-size MIB --output FOLDER
Each line of the figures is one run: NAME=VALUE words as measure_update prints them, contender=NAME and, for plots,
at=X before them.
"""
import argparse
import collections
import datetime
import os
import platform
import re
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RESULTS = os.path.join(ROOT, "tests", "RESULTS.md")
HEADING = "## Updates by Slotkeeper and by others (`tests/bench/updaters`)"
MIB = 1 << 20
WHAT = {
    "slotkeeper": "Slotkeeper, target holds rubbish",
    "slotkeeper-rebuild": "Slotkeeper, target holds the old image",
    "slotkeeper-same": "Slotkeeper, target holds this image",
    "rauc": "RAUC plain (gzip)",
    "rauc-zstd": "RAUC plain (zstd)",
    "rauc-adaptive": "RAUC block-hash-index, target holds the old image",
    "swupdate": "SWUpdate raw (zstd)",
    "zstd-dd": "zstd -dc, dd oflag=direct",
    "raw-write": "raw write (dd oflag=direct)",
    "raw-read": "raw read (dd iflag=direct)",
}


def read_runs(path):
    """{(at, contender): {figure: [value of each run]}} in the order of the file."""
    runs = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            words = dict(word.split("=", 1) for word in line.split())
            figures = runs.setdefault((words.pop("at", None), words.pop("contender")), collections.defaultdict(list))
            for name, value in words.items():
                figures[name].append(float(value))
    return runs


def medians(path):
    return {key: {name: statistics.median(values) for name, values in figures.items()}
            for key, figures in read_runs(path).items()}


def ratio(value, reference):
    return None if value is None or not reference else value / reference


def cell(value, form):
    return "" if value is None else format(value, form)


def table_lines(medium):
    """The table, `medium` being {contender: {figure: median}}."""
    rauc = medium.get("rauc", {})
    raw_s = raw_time(medium)
    lines = ["| | wall s | / RAUC plain | / raw write + read | CPU s | / RAUC plain | largest process MiB | written MiB | "
             "flushes | read of the target MiB | transferred MiB |", "|---|" + "---|" * 10]
    for name, figures in medium.items():
        # The image of the raw write is no bundle and lies elsewhere.
        transferred = None if name.startswith("raw-") else figures["transferred"] / MIB
        lines.append("| " + " | ".join([
            WHAT[name], cell(figures["wall_s"], ".2f"), cell(ratio(figures["wall_s"], rauc.get("wall_s")), ".2f"),
            cell(ratio(figures["wall_s"], raw_s), ".2f"), cell(figures["cpu_s"], ".2f"),
            cell(ratio(figures["cpu_s"], rauc.get("cpu_s")), ".2f"), cell(figures["peak_kib"] / 1024, ".1f"),
            cell(figures["written"] / MIB, ".1f"), cell(figures["flushes"], ".0f"), cell(figures["read"] / MIB, ".1f"),
            cell(transferred, ".1f")]) + " |")
        if "stage_s" in figures:
            lines.append("| " + " | ".join([
                "– its staging alone", cell(figures["stage_s"], ".2f"),
                cell(ratio(figures["stage_s"], rauc.get("wall_s")), ".2f"), cell(ratio(figures["stage_s"], raw_s), ".2f")]
                + [""] * 7) + " |")
    return lines


def raw_time(medium):
    if "raw-write" not in medium or "raw-read" not in medium:
        return None
    return medium["raw-write"]["wall_s"] + medium["raw-read"]["wall_s"]


def bars(medium):
    """(what, ratio, largest ratio allowed) of everything that was measured."""
    ours = medium.get("slotkeeper")
    if ours is None:
        return []
    figure = lambda name, which: medium.get(name, {}).get(which)
    wanted = [
        ("staging / RAUC plain", ours["stage_s"], figure("rauc", "wall_s"), 0.6),
        ("staging / SWUpdate", ours["stage_s"], figure("swupdate", "wall_s"), 0.6),
        ("staging / raw write + read", ours["stage_s"], raw_time(medium), 1.0),
        ("CPU / RAUC plain", ours["cpu_s"], figure("rauc", "cpu_s"), 1.0),
        ("whole command / RAUC plain", ours["wall_s"], figure("rauc", "wall_s"), 0.9),
        ("whole command / raw write + read", ours["wall_s"], raw_time(medium), 1.3),
    ]
    return [(what, value / reference, limit) for what, value, reference, limit in wanted if reference]


def bar_lines(found):
    lines = ["| bar | ratio | at most | |", "|---|---|---|---|"]
    lines += [f"| {what} | {value:.2f} | {limit:.1f} | {'holds' if value <= limit else 'missed'} |"
              for what, value, limit in found]
    return lines


def spread(runs):
    """How far the runs of a contender lie apart: a machine that is not idle shows here."""
    parts = [max(figures["wall_s"]) / min(figures["wall_s"]) for figures in runs.values()]
    return max(parts)


def output_of(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"^model name\s*: (.*)$", file.read(), re.MULTILINE)
    versions = [f"{package} {version}" for package in ("rauc", "swupdate", "zstd")
                if (version := output_of("dpkg-query", "-W", "-f", "${Version}", package))]
    return (f"{os.cpu_count()} processors, {model.group(1) if model else platform.machine()}, Linux {platform.release()}; "
            + ", ".join(versions))


def record(text):
    """Puts `text` under our heading, in the place of what stands there."""
    with open(RESULTS, encoding="utf-8") as file:
        parts = re.split(r"^(?=## )", file.read(), flags=re.MULTILINE)
    ours = f"{HEADING}\n\n{text}\n"
    places = [i for i, part in enumerate(parts) if part.startswith(HEADING + "\n")]
    if places:
        parts[places[0]] = ours + ("\n" if places[0] + 1 < len(parts) else "")
    else:
        parts[-1] = parts[-1].rstrip("\n") + "\n\n"
        parts.append(ours)
    with open(RESULTS + ".new", "w", encoding="utf-8") as file:
        file.write("".join(parts))
    os.replace(RESULTS + ".new", RESULTS)


def table(arguments):
    runs = {name: figures for (_, name), figures in read_runs(arguments.figures).items()}
    # In the order of WHAT: rounds begin with different ones.
    runs = {name: runs[name] for name in WHAT if name in runs}
    medium = {name: {figure: statistics.median(values) for figure, values in figures.items()}
              for name, figures in runs.items()}
    count = min(len(figures["wall_s"]) for figures in runs.values())
    found = bars(medium)
    lines = [f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}, commit {arguments.commit}, `{arguments.command}`, medians of "
             f"{count} rounds; the slowest run of a contender took up to {spread(runs):.2f} times its fastest.",
             f"Machine: {machine()}.", arguments.about[:1].upper() + arguments.about[1:] + ".", ""]
    lines += table_lines(medium)
    if found:
        lines += [""] + bar_lines(found)
    text = "\n".join(lines)
    print(text)
    if arguments.record:
        record(text)
    return 1 if arguments.check and any(value > limit for _, value, limit in found) else 0


def draw(path, title, labels, series):
    """One SVG by gnuplot; `series` is {name: [(x, y)]}."""
    commands = ["set terminal svg size 1000,560 font 'sans,12' background '#ffffff'", f"set output '{path}'",
                f"set title '{title}'", f"set xlabel '{labels[0]}'", f"set ylabel '{labels[1]}'", "set key outside below maxrows 3",
                "set grid", "set xrange [0:*]", "set yrange [0:*]"]
    data = []
    for number, points in enumerate(series.values()):
        data.append(f"$series{number} << EOD\n" + "".join(f"{x:g} {y:g}\n" for x, y in sorted(points)) + "EOD")
    plots = [f"$series{number} using 1:2 with linespoints pointtype {number + 4} title '{name}'"
             for number, name in enumerate(series)]
    subprocess.run(["gnuplot"], input="\n".join(data + commands + ["plot " + ", \\\n  ".join(plots)]) + "\n", text=True, check=True)
    print(path)


def plot(arguments):
    by_size = collections.defaultdict(list)
    raw = collections.Counter()
    for (size, name), figures in medians(arguments.by_size).items():
        if name.startswith("raw-"):
            raw[float(size)] += figures["wall_s"]
            continue
        by_size[WHAT[name]].append((float(size), figures["wall_s"]))
        if "stage_s" in figures:
            by_size["Slotkeeper, staging alone"].append((float(size), figures["stage_s"]))
    if raw:
        by_size["raw write + raw read"] = list(raw.items())
    draw(os.path.join(arguments.output, "time-against-size.svg"), "Time of an update", ("image, MiB", "seconds"), by_size)

    by_share = collections.defaultdict(list)
    for (share, name), figures in medians(arguments.by_share).items():
        by_share[WHAT[name]].append((float(share), figures["written"] / MIB))
    draw(os.path.join(arguments.output, "written-against-change.svg"),
         f"Bytes written to the target slot, image of {arguments.share_size} MiB", ("blocks that changed, %", "MiB written"),
         by_share)
    return 0


def main():
    parser = argparse.ArgumentParser(description="tables and plots of tests/bench/updaters")
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("table")
    one.add_argument("figures")
    one.add_argument("--commit", required=True)
    one.add_argument("--about", required=True)
    one.add_argument("--command", required=True)
    one.add_argument("--check", action="store_true")
    one.add_argument("--record", action="store_true")
    one.set_defaults(run=table)
    one = commands.add_parser("plot")
    one.add_argument("by_size")
    one.add_argument("by_share")
    one.add_argument("--share-size", required=True)
    one.add_argument("--output", required=True)
    one.set_defaults(run=plot)
    arguments = parser.parse_args()
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""A logging process: appends a line and calls fsync, again and again, and writes down how long each took.

Usage: fsync_latency.py LOG RESULT SECONDS [INTERVAL_MS]
RESULT gets one line a sync: when it began (CLOCK_MONOTONIC, s) and how long it took (ms). Ends after SECONDS, or at SIGTERM.
"""
import os
import signal
import sys
import time

LINE = b"2026-01-17T10:00:00Z concentrator[812]: tunnel 17 is up, 4711 bytes in, 815 bytes out, peer 192.0.2.17\n"


def main() -> None:
    log_path, result_path, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    interval = float(sys.argv[4]) / 1000 if len(sys.argv) > 4 else 0.02
    is_over = False

    def end(_signal, _frame):
        nonlocal is_over
        is_over = True

    signal.signal(signal.SIGTERM, end)
    samples = []
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    deadline = time.monotonic() + seconds
    while not is_over:
        began = time.monotonic()
        if began >= deadline:
            break
        os.write(log, LINE)
        os.fsync(log)
        samples.append((began, (time.monotonic() - began) * 1000))
        time.sleep(interval)
    os.close(log)
    with open(result_path, "w", encoding="ascii") as out:
        out.writelines(f"{began:.6f} {took:.3f}\n" for began, took in samples)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Makes a root file system of files of this machine and a rebuild of it, as a vendor's next version would be.

Usage: rebuilt_images.py FOLDER SIZE_MIB [--changed PERCENT | --scattered PERCENT]
  FOLDER/old.img   ext4, SIZE_MIB large, about 70 % of its blocks in use
  FOLDER/new.img   --changed (3): the same system built again, PERCENT of its content changed: half of that is files
                   replaced by others, half is files with the same contents moved by a few bytes; files behind them move.
                   --scattered: old.img with PERCENT of all its 4 KiB blocks overwritten by random bytes
Prints how the two differ, see describe(). The same arguments give the same files on an unchanged machine.
"""
import argparse
import bisect
import hashlib
import os
import random
import shutil
import stat
import subprocess
import sys

BLOCK = 4096
ZERO = bytes(BLOCK)
FILLED = 0.70
ONE_GONE_IN = 1000
# Where the files come from; what does not exist is left out.
SOURCES = ("usr", "opt")


def rank(salt, path):
    """An order of the files that has nothing to do with their names, always the same."""
    return hashlib.sha1(f"{salt} {path}".encode("utf-8", "surrogateescape")).digest()


def blocks(size_bytes):
    return -(-size_bytes // BLOCK)


def find_files(largest_bytes):
    """(path without leading '/', size) of all regular files and symbolic links, folder by folder."""
    found = []
    for source in SOURCES:
        for folder, _, names in os.walk("/" + source):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    status = os.lstat(path)
                except OSError:
                    continue
                if stat.S_ISLNK(status.st_mode):
                    found.append((path[1:], 0))
                elif stat.S_ISREG(status.st_mode) and status.st_size <= largest_bytes:
                    found.append((path[1:], status.st_size))
    # Whole folders, so that there are not more of them for each file than a system has.
    found.sort(key=lambda entry: (rank("choose", os.path.dirname(entry[0])), entry[0]))
    return found


def choose(found, size_bytes):
    """Files until the image is filled as wanted, and those that were not taken."""
    room = int(size_bytes // BLOCK * FILLED)
    used = 0
    chosen, spare, folders = [], [], set()
    for path, size in found:
        parent = os.path.dirname(path)
        # A block for a new folder, a sixteenth of one for the inode.
        cost = blocks(size) + 1 / 16 + (0 if parent in folders else 1)
        if used + cost <= room:
            used += cost
            folders.add(parent)
            chosen.append((path, size))
        elif size > 0:
            spare.append((path, size))
    return chosen, spare


def copy(path, tree):
    """Copies a file or link with the folders above it. False when it is gone by now."""
    target = os.path.join(tree, path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        shutil.copy2("/" + path, target, follow_symlinks=False)
    except OSError:
        return False
    return True


def rebuilt(data, generator):
    """What a compiler makes of nearly the same source: everything a few bytes further on, other addresses here and there."""
    data = bytearray(generator.randbytes(generator.randrange(4, 64)) + data)
    for place in range(0, len(data) - 8, 16384):
        place = min(place + generator.randrange(16384), len(data) - 8)
        data[place:place + 8] = generator.randbytes(8)
    return bytes(data)


def change(tree, chosen, spare, percent):
    """Changes this much of the content below `tree`. One file in ONE_GONE_IN goes and another comes, so that inodes are
    numbered anew, too."""
    generator = random.Random(1)
    files = sorted((entry for entry in chosen if entry[1] > 0), key=lambda entry: rank("change", entry[0]))
    wanted = sum(size for _, size in files) * percent / 100
    # What replaces a file is the file of the nearest size that is not in the image.
    spare = sorted(spare, key=lambda entry: entry[1])
    changed = 0
    by_replacing = True
    for path, size in files:
        if changed + size > wanted * 1.01:
            continue
        place = os.path.join(tree, path)
        mode = stat.S_IMODE(os.stat(place).st_mode)
        with open(place, "rb") as file:
            data = file.read()
        other = None
        if by_replacing and spare:
            nearest = min(bisect.bisect_left(spare, size, key=lambda entry: entry[1]), len(spare) - 1)
            try:
                with open("/" + spare.pop(nearest)[0], "rb") as file:
                    other = file.read()
            except OSError:
                pass
        os.unlink(place)
        with open(place, "wb") as file:
            file.write(rebuilt(data, generator) if other is None else other)
        os.chmod(place, mode)
        by_replacing = not by_replacing
        changed += size
    for path, _ in files[-1:-len(files):-ONE_GONE_IN]:
        os.unlink(os.path.join(tree, path))
    small = [entry for entry in spare if entry[1] < 65536]
    for path, _ in small[::len(small) * ONE_GONE_IN // len(files) + 1]:
        copy(path, tree)


def make_image(tree, image, size_bytes, inodes, build):
    """An ext4 image of `tree`. The identity is the same for every build, as where builds can be repeated: checksums of
    directories and inodes begin with it, so that otherwise all of them would differ."""
    identity = "736c6f74-6b65-4570-8572-726562756c74"
    if os.path.exists(image):
        os.unlink(image)
    with open(image, "wb") as file:
        file.truncate(size_bytes)
    environment = dict(os.environ, E2FSPROGS_FAKE_TIME=str(1767225600 + 86400 * build))
    environment["PATH"] += ":/usr/sbin:/sbin"
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-b", str(BLOCK), "-m", "0", "-L", "rootfs",
                    "-N", str(inodes), "-U", identity, "-E", f"hash_seed={identity},root_owner=0:0,lazy_itable_init=0,nodiscard",
                    "-d", tree, image], env=environment, check=True)


def read_blocks(image):
    with open(image, "rb") as file:
        while block := file.read(BLOCK):
            yield block


def scatter(old, new, percent):
    """`new` is `old` with this much of its blocks, anywhere, overwritten."""
    generator = random.Random(2)
    shutil.copyfile(old, new)
    count = os.path.getsize(old) // BLOCK
    with open(new, "r+b") as file:
        for number in generator.sample(range(count), round(count * percent / 100)):
            file.seek(number * BLOCK)
            file.write(generator.randbytes(BLOCK))


def describe(old, new):
    """Prints the figures that decide what an update could save."""
    digest = lambda block: hashlib.blake2b(block, digest_size=16).digest()
    known = {digest(block) for block in read_blocks(old)}
    total = used_old = used = differ = unknown = 0
    for before, after in zip(read_blocks(old), read_blocks(new)):
        total += 1
        used_old += before != ZERO
        differ += before != after
        if after != ZERO:
            used += 1
            unknown += digest(after) not in known
    print(f"images: {total * BLOCK >> 20} MiB, blocks in use {used_old / total:.1%} before and {used / total:.1%} after; "
          f"{differ / total:.1%} of all blocks and {differ / used:.1%} of those in use differ in place, "
          f"{unknown / used:.1%} of those in use hold what the old image has nowhere")


def main():
    parser = argparse.ArgumentParser(description="a root file system and a rebuild of it")
    parser.add_argument("folder")
    parser.add_argument("size_mib", type=int)
    parser.add_argument("--changed", type=float, default=3)
    parser.add_argument("--scattered", type=float)
    arguments = parser.parse_args()
    size_bytes = arguments.size_mib << 20
    old, new, tree = (os.path.join(arguments.folder, name) for name in ("old.img", "new.img", "tree"))
    # No file may be so large that a few of them are the whole image.
    found = find_files(min(48 << 20, size_bytes // 16))
    chosen, spare = choose(found, size_bytes)
    inodes = max(size_bytes // 16384, int(len(chosen) * 1.25) + 64)
    try:
        os.makedirs(tree)
        chosen = [entry for entry in chosen if copy(entry[0], tree)]
        make_image(tree, old, size_bytes, inodes, 1)
        if arguments.scattered is not None:
            scatter(old, new, arguments.scattered)
        else:
            change(tree, chosen, spare, arguments.changed)
            make_image(tree, new, size_bytes, inodes, 2)
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    describe(old, new)


if __name__ == "__main__":
    sys.exit(main())

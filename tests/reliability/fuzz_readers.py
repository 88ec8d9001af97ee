"""Every reader of annotations against damaged and hostile files.

    python tests/reliability/fuzz_readers.py [--inputs 10000] [--reader wflw] [--seed 0]

An input is a small valid set with one file of it changed: cut off, bits flipped, parts deleted, doubled, exchanged,
numbers and words replaced by hostile ones, or all of it random. A reader returns faces or raises ValueError or
FileNotFoundError that names a file of the set: anything else, an input of more than 5 s or a process that grows by more
than 1 GiB fails. No label may be wrong that could be known to be: what is cut off gives faces of the whole file only,
and a change within one line, or in the file of one face, changes that face only. Every other input is read with
`data.on_error: skip`. Input n of a reader is the same in every run with that seed.
"""

import argparse
import faulthandler
import logging
import multiprocessing
import re
import resource
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from small_sets import BUILD, SmallSet

from wingmark.data.sources.reading import leaving_out
from wingmark.types import Face

SLOWEST, HANGS, GROWTH = 5.0, 60.0, 1024  # seconds, seconds, MiB
SHOWN = 5  # of the failures of a reader
LINE_ENDS = b"\n\r\v\f\x1c\x1d\x1e\x85"
HOSTILE = [
    *(b"nan", b"-inf", b"1e999", b"1e308", b"-1", b"0", b"-0", b"1e-320", b"0x10", b"1_0", b"99999999999999999999"),
    *(b"9" * 5000, "٣".encode(), b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc2\x85", b"\\ud800", b"null", b"true"),
    *(b"", b" ", b"\n", b"\r", b",", b";", b'"', b"'", b"{", b"}", b"[", b"]", b"<", b">", b"&#0;", b"&x;"),
    *(b"[" * 100_000, b'{"a":' * 900, b"[" * 980 + b"]" * 980, b"<a>" * 5000, b"a" * 5000, b"#" * 200_000),
    *(b"../../../../../../etc/passwd", b"/etc/passwd", b"C:\\a.jpg", b"..\\..\\a.jpg", b"\\\\host\\a.jpg", b"."),
    *(b"<!DOCTYPE d [<!ENTITY a 'aaaa'>]>", b"<?xml version='1.0' encoding='utf-7'?>", b"ISO-2022-JP", b"hex", b"idna"),
]
INTEGERS = [0, 1, 2, 14, 15, 255, 2**15, 2**16 - 1, 10**9, 2**31 - 1, 2**31, 2**32 - 1, 10**10, 2**63 - 1, 2**64 - 1]

Random = np.random.Generator


def place(content: bytes, random: Random) -> int:
    return int(random.integers(len(content) + 1))


def length(random: Random) -> int:
    return int(2 ** random.uniform(0, 9))


def cut_off(content: bytes, random: Random) -> bytes:
    return content[: place(content, random)]


def flip(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for position in random.integers(len(content), size=random.integers(1, 9)) if content else ():
        changed[position] ^= 1 << random.integers(8)
    return bytes(changed)


def delete(content: bytes, random: Random) -> bytes:
    start = place(content, random)
    return content[:start] + content[start + length(random) :]


def double(content: bytes, random: Random) -> bytes:
    start, to = place(content, random), place(content, random)
    return content[:to] + content[start : start + length(random)] + content[to:]


def overwrite(content: bytes, random: Random) -> bytes:
    start, size = place(content, random), length(random)
    other = place(content, random)
    new = random.bytes(size) if random.random() < 0.5 else content[other : other + size]
    return content[:start] + new + content[start + size :]


def replace_word(content: bytes, random: Random) -> bytes:
    start = place(content, random)
    word = re.compile(rb"[\w.+#/-]+").search(content, start)
    start, end = word.span() if word else (start, start)
    return content[:start] + HOSTILE[random.integers(len(HOSTILE))] + content[end:]


def insert(content: bytes, random: Random) -> bytes:
    start = place(content, random)
    return content[:start] + HOSTILE[random.integers(len(HOSTILE))] + content[start:]


def integer(content: bytes, random: Random) -> bytes:
    size, order = 2 ** int(random.integers(4)), ("little", "big")[random.integers(2)]
    start = place(content, random) // size * size
    value = INTEGERS[random.integers(len(INTEGERS))] % 256**size
    return content[:start] + value.to_bytes(size, order) + content[start + size :]


CHANGES = (flip, delete, double, overwrite, replace_word, replace_word, insert, integer, integer)


def several(content: bytes, random: Random) -> bytes:
    for _ in range(random.geometric(0.6)):
        content = CHANGES[random.integers(len(CHANGES))](content, random)
    return content


def within_a_line(content: bytes, random: Random) -> bytes:
    lines = content.splitlines(keepends=True)
    at = random.integers(len(lines))
    inner = lines[at].rstrip(b"\r\n")
    end = lines[at][len(inner) :]
    lines[at] = bytes(byte for byte in several(inner, random) if byte not in LINE_ENDS) + end
    return b"".join(lines)


def within_a_container(content: bytes, random: Random) -> bytes:
    """Below the checksums of an .npz file, and in the compressed variable of a MATLAB file."""
    if content[:2] != b"PK":
        inner = zlib.compress(several(content[128:], random))
        return content[:128] + np.array([15, len(inner)], "<u4").tobytes() + inner
    with zipfile.ZipFile(BytesIO(content)) as whole:
        members = {name: whole.read(name) for name in whole.namelist()}
    name = list(members)[random.integers(len(members))]
    members[name] = several(members[name], random)
    changed = BytesIO()
    with zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as file:
        for member, data in members.items():
            file.writestr(member, data)
    return changed.getvalue()


def random_bytes(content: bytes, random: Random) -> bytes:
    return random.bytes(length(random))


def change_of(small: SmallSet, path: Path, random: Random) -> Callable[[bytes, Random], bytes]:
    kind = random.random()
    if kind < 0.03:
        return random_bytes
    if kind < 0.25:
        return cut_off
    if kind < 0.55 and small.one_face == "line":
        return within_a_line
    if kind < 0.55 and path.suffix in (".npz", ".mat"):
        return within_a_container
    return several


def label(face: Face) -> tuple:
    """All that must not change unnoticed."""
    arrays = (face.landmarks_image, face.valid, face.occluded)
    return (*(array.tobytes() for array in arrays), *sorted(face.boxes.items()))


def wrong_label(small: SmallSet, change: Callable, whole: bytes, changed: bytes, known: set, faces: list) -> str | None:
    new = {label(face) for face in faces} - known
    if change is cut_off:
        in_a_number = re.search(rb"[\d.]$", changed) and re.match(rb"[\d.]", whole[len(changed) :])
        allowed = 1 if small.last_number and in_a_number else 0
    elif small.one_face == "file" or change is within_a_line:
        allowed = 1
    else:
        return None
    return f"{len(new)} faces of another label than before" if len(new) > allowed else None


def read(small: SmallSet, folder: Path, skip: bool) -> tuple[str, list[Face]]:
    """What comes of reading a set, in a word or in the words of what must not come, and its faces."""
    try:
        if not skip:
            return "faces", small.read()
        with leaving_out() as left_out:
            faces = small.read()
        unnamed = [fault for fault in left_out if str(folder) not in fault]
        return f"left out without a name: {unnamed[0]}" if unnamed else "faces", faces
    except Exception as error:
        if type(error) in (ValueError, FileNotFoundError) and str(folder) in str(error):
            return "error", []
        return f"{type(error).__name__}: {error}"[:300], []


def try_reader(name: str, inputs: int, seed: int, report: Connection) -> None:
    """Send how often each outcome came, the slowest input in s, the growth in MiB and failures by input."""
    logging.disable()
    warnings.simplefilter("ignore")
    counts, failures, slowest = Counter(), {}, 0.0
    with tempfile.TemporaryDirectory() as folder:
        small = BUILD[name](Path(folder))
        known = {label(face) for face in small.read()}
        contents = {path: path.read_bytes() for path in small.files}
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(inputs):
            random = np.random.default_rng([seed, number])
            path = small.files[random.integers(len(small.files))]
            change = change_of(small, path, random)
            changed = change(contents[path], random)
            path.write_bytes(changed)
            faulthandler.dump_traceback_later(HANGS, exit=True, file=sys.__stdout__)
            start = time.perf_counter()
            outcome, faces = read(small, Path(folder), skip=number % 2 == 1)
            slowest = max(slowest, time.perf_counter() - start)
            faulthandler.cancel_dump_traceback_later()
            if outcome == "faces":
                outcome = wrong_label(small, change, contents[path], changed, known, faces) or outcome
            if outcome not in ("faces", "error"):
                failures[number] = f"{change.__name__} of {path.relative_to(folder)}: {outcome}"
            counts[outcome if outcome in ("faces", "error") else "failed"] += 1
            path.write_bytes(contents[path])
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    report.send((counts, slowest, growth, failures))


def main(options: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000, help="for each reader")
    parser.add_argument("--reader", choices=list(BUILD), help="one of them alone")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(options)
    context, failed = multiprocessing.get_context("fork"), False
    print(f"{'reader':20}{'inputs':>8}{'faces':>8}{'our error':>11}{'other':>7}{'slowest ms':>12}{'grown MiB':>11}")
    for name in [arguments.reader] if arguments.reader else BUILD:
        results, report = context.Pipe(duplex=False)
        process = context.Process(target=try_reader, args=(name, arguments.inputs, arguments.seed, report))
        process.start()
        report.close()
        try:
            counts, slowest, growth, failures = results.recv()
        except EOFError:
            process.join()
            print(f"{name:20} the process died with status {process.exitcode}")
            failed = True
            continue
        process.join()
        print(
            f"{name:20}{counts.total():>8,}{counts['faces']:>8,}{counts['error']:>11,}{counts['failed']:>7,}"
            f"{1000 * slowest:>12.0f}{growth:>11.0f}",
            flush=True,
        )
        for number, failure in list(failures.items())[:SHOWN]:
            print(f"    input {number}, {failure}")
        failed |= bool(failures) or slowest > SLOWEST or growth > GROWTH
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

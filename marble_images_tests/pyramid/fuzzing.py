"""Converts thousands of damaged files and says what went wrong: ``make fuzz``.

Each case is a valid file of some format, cut or changed at random. A conversion may succeed, with an output
that the validator accepts, or fail with one of our errors and leave nothing. All else is a finding: an
unexpected exception, a run past the deadline, a file left behind, an invalid success.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pypdfium2
from PIL import Image

from marble_images.errors import ConversionOutOfMemory, ConversionTimeout, DecoderCrashed, MarbleImagesError
from marble_images.pyramid.model import Box, ConvertOptions
from marble_images.pyramid.pool import PyramidPool
from marble_images.pyramid.validate import validate_pyramid
from marble_images_tests.pyramid.cases import CASES
from marble_images_tests.pyramid.images import rgb
from marble_images_tests.pyramid.pyramids import levels_of, photograph, write_levels

BOX = Box(600, 600)
DEADLINE = 20.0
MEMORY = 2**30
# Killing a worker, and the machine's other work, take time too.
_GRACE = 60.0
_HEAD = 600
_EDGES = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF)
_NUMBERS = (0, 1, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass
class Report:
    """What a run found.

    Attributes
    ----------
    outcomes
        How many cases ended how: ``made``, or the code of an error.
    findings
        One line for each thing that must not happen.
    """

    cases: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.cases:,} cases in {self.seconds:.0f} s, {len(self.findings)} findings"]
        lines += [f"  {count:7,} {name}" for name, count in self.outcomes.most_common()]
        return "\n".join([*lines, *(f"FINDING {text}" for text in self.findings)])


def seeds(folder: Path) -> dict[str, bytes]:
    """A valid file of every kind that is read, by name."""
    found = {}
    for name, case in CASES.items():
        path = folder / "seed"
        path.unlink(missing_ok=True)
        case.write(path)
        found[name] = path.read_bytes()
    for profile in ("deflate", "jpeg", "webp", "zstd"):
        found[f"pyramid, {profile}"] = write_levels(
            folder / "seed", levels_of(photograph(600, 100)), profile
        ).read_bytes()
    found["pdf"] = _pdf()
    return found


def _pdf() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb()).save(buffer, "PDF")
    with pypdfium2.PdfDocument(buffer.getvalue()) as document:
        document.new_page(200, 100)
        output = io.BytesIO()
        document.save(output)
    return output.getvalue()


def _cut(data: bytearray, chance: random.Random) -> bytearray:
    return data[: chance.randrange(len(data))]


def _cut_end(data: bytearray, chance: random.Random) -> bytearray:
    return data[: max(0, len(data) - chance.randint(1, 64))]


def _flip(data: bytearray, chance: random.Random) -> bytearray:
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return data


def _change_head(data: bytearray, chance: random.Random) -> bytearray:
    for _ in range(chance.choice((1, 2, 4))):
        data[chance.randrange(min(len(data), _HEAD))] = chance.choice((*_EDGES, chance.randrange(256)))
    return data


def _change_number(data: bytearray, chance: random.Random) -> bytearray:
    size = chance.choice((2, 4))
    at = chance.randrange(max(1, min(len(data), _HEAD) - size))
    order = chance.choice(("little", "big"))
    data[at : at + size] = (chance.choice(_NUMBERS) & (256**size - 1)).to_bytes(size, order)
    return data


def _change_tail(data: bytearray, chance: random.Random) -> bytearray:
    for _ in range(chance.choice((1, 2, 4))):
        at = len(data) - 1 - chance.randrange(min(len(data), _HEAD))
        data[at] = chance.choice((*_EDGES, chance.randrange(256)))
    return data


def _zero(data: bytearray, chance: random.Random) -> bytearray:
    start = chance.randrange(len(data))
    end = min(len(data), start + chance.choice((4, 64, 1024, len(data))))
    data[start:end] = bytes(end - start)
    return data


def _repeat(data: bytearray, chance: random.Random) -> bytearray:
    start = chance.randrange(len(data))
    part = data[start : start + chance.choice((2, 16, 256))]
    data[start:start] = part * chance.choice((1, 2, 50))
    return data


def _remove(data: bytearray, chance: random.Random) -> bytearray:
    start = chance.randrange(len(data))
    del data[start : start + chance.choice((1, 2, 16, 256))]
    return data


MUTATIONS: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    *(_cut, _cut_end, _flip, _change_head, _change_number, _change_tail, _zero, _repeat, _remove),
)


def mutants(originals: dict[str, bytes], number: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Damaged files with the name of each; the same seed gives the same ones."""
    chance = random.Random(seed)
    names = sorted(originals)
    for i in range(number):
        name = names[i % len(names)]
        data = bytearray(originals[name])
        done = []
        for mutate in chance.choices(MUTATIONS, k=chance.choice((1, 1, 1, 2, 3))):
            if data:
                data = mutate(data, chance)
                done.append(mutate.__name__.strip("_"))
        yield f"{i} {name}: {', '.join(done)}", bytes(data)


class _Run:
    def __init__(self, pool: PyramidPool, folder: Path, keep: Path | None) -> None:
        self.report = Report()
        self._pool = pool
        self._folder = folder
        self._keep = keep
        self._lock = threading.Lock()

    def guarded(self, name: str, data: bytes) -> None:
        """Convert one damaged file; a fault of this harness is a finding too."""
        try:
            self.one(name, data)
        except Exception as problem:  # noqa: BLE001 - it would be lost in the thread
            self._found(name, data, f"could not be judged: {problem!r}")

    def one(self, name: str, data: bytes) -> None:
        """Convert one damaged file and look at what came of it."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        source, target = folder / "source", folder / "target.tif"
        source.write_bytes(data)
        # Small pictures by far, so that no profile's own cost hides what decoders do.
        options = ConvertOptions(profile="jpeg" if len(data) % 2 else "deflate", box=BOX)
        started = time.monotonic()
        try:
            self._pool.convert(source, target, options)
            outcome = "made"
        except MarbleImagesError as problem:
            outcome = problem.code
            if isinstance(problem, (DecoderCrashed, ConversionTimeout, ConversionOutOfMemory)):
                outcome += f" {name.split(':')[0].split(' ', 1)[1]}"
        except Exception as problem:  # noqa: BLE001 - any other exception is what is looked for
            outcome = f"{type(problem).__name__}: {problem}"
            self._found(name, data, f"raised {outcome}")
        seconds = time.monotonic() - started
        if seconds > DEADLINE + _GRACE:
            self._found(name, data, f"took {seconds:.0f} s")
        left = sorted(p.name for p in folder.iterdir())
        due = ["source", "target.tif"] if outcome == "made" else ["source"]
        if left != due:
            self._found(name, data, f"left {left} after {outcome}")
        if outcome == "made":
            wrong = [p for p in validate_pyramid(target, box=BOX) if p.kind == "error"]
            if wrong:
                self._found(name, data, f"made an invalid pyramid: {wrong[0]}")
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        with self._lock:
            self.report.cases += 1
            self.report.outcomes[outcome] += 1

    def _found(self, name: str, data: bytes, what: str) -> None:
        with self._lock:
            self.report.findings.append(f"{name}: {what}")
            if self._keep is not None:
                self._keep.mkdir(parents=True, exist_ok=True)
                (self._keep / name.split(" ")[0]).write_bytes(data)


def fuzz(
    *, cases: int, seed: int, processes: int, seconds: float, folder: Path, keep: Path | None = None
) -> Report:
    """Convert damaged files in a pool.

    Parameters
    ----------
    cases, seconds
        When to stop: whichever comes first.
    seed
        The same seed gives the same files.
    folder
        Where temporary files go.
    keep
        Where files that led to a finding are kept.
    """
    started = time.monotonic()
    originals = seeds(folder)
    pool = PyramidPool(
        processes=processes, deadline=DEADLINE, memory_limit=MEMORY, work_folder=folder / "work"
    )
    with pool, ThreadPoolExecutor(processes) as threads:
        run = _Run(pool, folder, keep)
        # Not more than the threads can take, or all cases would lie in memory.
        room = threading.Semaphore(4 * processes)
        for name, data in mutants(originals, cases, seed):
            if time.monotonic() - started > seconds:
                break
            room.acquire()
            threads.submit(run.guarded, name, data).add_done_callback(lambda _: room.release())
    left = [p for p in (folder / "work").rglob("*") if p.is_file()]
    if left:
        run.report.findings.append(f"temporary files were left: {left}")
    run.report.seconds = time.monotonic() - started
    return run.report


def main() -> None:
    """Run from the command line; the exit status is 1 if there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=3600, help="stop after so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path(".local/fuzz"), help="where findings are kept")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = fuzz(
            cases=chosen.cases,
            seed=chosen.seed,
            processes=chosen.processes,
            seconds=chosen.seconds,
            folder=Path(folder),
            keep=chosen.keep,
        )
    print(report)  # noqa: T201 - the result of a command
    sys.exit(bool(report.findings))


if __name__ == "__main__":
    main()

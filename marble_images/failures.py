"""Every reason why a file is not made, in words for people; ``docs/failures.md`` is made from this.

``python -m marble_images.failures`` prints that page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from marble_images.errors import Fate, FileError, RemovalFuseBlown, with_subclasses
from marble_images.failure_log import QUARANTINE_AFTER

_FATES = {
    Fate.WAITS: "waits for the next run",
    Fate.REMOVED: "is removed from the queue",
    Fate.LEFT: "waits as a changed file",
}

_ADVICE = {
    "changed-meanwhile": "Nothing: the next daily run makes it from its new source.",
    "conversion-memory": "Raise CONVERSION_MEMORY, or replace the source by a smaller file.",
    "conversion-timeout": "Raise CONVERSION_DEADLINE, or replace the source by a smaller file.",
    "corrupt-image": "Open the source in another program, and replace it by a sound copy.",
    "decoder-crashed": "Replace the source by a copy saved anew, and tell an engineer.",
    "encrypted-pdf": "Replace the source by a PDF without a password.",
    "image-too-large": "Replace the source by a smaller image, or ask an engineer to raise MAX_PIXELS.",
    "invalid-pyramid": "Tell an engineer; nothing was published, and an older pyramid is still there.",
    "no-disk-space": "Nothing at first; if it comes again, ask an engineer for a larger work folder.",
    "not-an-image": "Look at what the address gives; often it is a page that says no. Correct the record.",
    "publish": "Nothing at first; if it comes again, the image bucket or its permissions need an engineer.",
    "pool-stopped": "Nothing: its run was stopped, and the next one tries it again.",
    "pyramid-too-large": "Choose a profile that compresses more, such as jpeg, for this file.",
    "queue": "Nothing: AppSync failed, and the file is tried again by the next run.",
    "queue-refused": "Ask an engineer to put a valid API key of AppSync where the settings say.",
    "record-missing": "Nothing, if the file was deleted on purpose; housekeeping retires its partition.",
    "removal-fuse": "See whether the source is down. If the files are gone, raise the MAX_REMOVED settings.",
    "retired": "Nothing; the file comes back with its record.",
    "run-failed": "Open the run: it was stopped, or its machine was lost. Re-execute it from its failure.",
    "source": "Open the address in the message; if it works, rematerialize the file.",
    "source-checksum": "Compare the source with the checksum in its record; correct whichever is wrong.",
    "source-forbidden": "Ask who keeps the source to let the pipeline read it; then rematerialize the file.",
    "source-gone": "Nothing. If the file should be there, put it back and let its source be harvested again.",
    "source-incomplete": "Nothing at first; if it comes again, the source is cut short where it is stored.",
    "source-timeout": "Nothing at first; if it comes again, the source is too slow for SOURCE_DEADLINE.",
    "source-too-large": "Replace the source by a smaller file, or ask an engineer to raise MAX_SOURCE_BYTES.",
    "source-unavailable": "Nothing at first; if it comes again, see whether the source's server is down.",
    "state": "Ask an engineer to look at the state bucket and its permissions.",
    "truncated-image": "The file is cut short where it is stored: upload it again.",
    "unexpected": "Tell an engineer: this is a fault of the pipeline. The run's log has the details.",
    "unsafe-address": "Correct the address in the record, or ask an engineer about ALLOWED_SOURCE_HOSTS.",
    "unsafe-image": "Replace the source by a picture of it: SVG, PostScript and such are never opened.",
    "unsupported-format": "Save the image in another format, for instance TIFF, and replace the source.",
    "unsupported-source-type": "Correct the record's sourceType, or ask an engineer for the new kind.",
    "unusable-record": "Correct the record: its id or its source is missing or cannot be used.",
    "work-folder": "Ask an engineer to look at the disk of the machine that ran it.",
    "worker-not-started": "Ask an engineer to look at the memory of the machine that ran it.",
}

_OTHERS = {
    "source": "The source answered in a way that gives no file.",
    "pool-stopped": "Its run was stopped before its conversion was done.",
    "queue-refused": "AppSync refused the API key, so no file of the run could be marked.",
    "removal-fuse": (RemovalFuseBlown.__doc__ or "").partition("\n")[0],
    "retired": "Its partition was retired before a run took it up: AppSync no longer knows the file.",
    "run-failed": "Its run ended before the file was done.",
    "state": "The state bucket could not be read or written.",
    "unexpected": "A fault of the pipeline itself; it costs this file only.",
    "work-folder": "The disk on which files are worked on failed.",
    "worker-not-started": "A process to convert it in could not be started.",
}

_UNKNOWN = {"record-missing", "retired"}

# Bases that are never raised as they are.
_ABSTRACT = {"file", "image"}


@dataclass(frozen=True)
class FailureReason:
    """One row of the table.

    Attributes
    ----------
    code
        As reports and tables show it.
    meaning, advice
        What it says, and what a person does about it.
    transient
        Whether another try may succeed with nothing changed.
    fate
        What becomes of the file.
    quarantine
        Whether it counts towards being set aside.
    """

    code: str
    meaning: str
    advice: str
    transient: bool
    fate: Fate
    quarantine: bool


def failure_reasons() -> dict[str, FailureReason]:
    """All reasons by their code, sorted."""
    reasons: dict[str, FailureReason] = {}
    for error in with_subclasses(FileError):
        if error.code not in _ABSTRACT:
            meaning = (error.__doc__ or "").strip().partition("\n")[0].replace("``", "`")
            kept = reasons.setdefault(error.code, _reason(error.code, meaning, error))
            assert kept.code == error.code
    for code, meaning in _OTHERS.items():
        reasons[code] = _reason(code, meaning, FileError)
    return dict(sorted(reasons.items()))


def meaning_of(code: str) -> str:
    """What a code says, in one sentence; empty for one that nobody knows."""
    reason = failure_reasons().get(code)
    return reason.meaning if reason else ""


def _reason(code: str, meaning: str, error: type[FileError]) -> FailureReason:
    return FailureReason(code, meaning, _ADVICE.get(code, ""), error.transient, error.fate, error.quarantine)


def page() -> str:
    """The text of ``docs/failures.md``."""
    lines = [
        "# Why a file was not made",
        "",
        "<!-- Made by `make pages` from marble_images/failures.py and errors.py. -->",
        "",
        "Each file that was not made has one of these codes and a sentence of its own, in the run that tried",
        "it, in the day's result, and in the table of `changed_files` while it waits.",
        "",
        f"*Set aside*: after {QUARANTINE_AFTER} such failures in a row of one unchanged source, daily runs",
        "pass the file over until its source changes or a person rematerializes it. A setting that decides",
        "the failure gives the file one more try when it changes. These do:",
        "",
        *_deciding_lines(),
        "",
        "| code | meaning | may pass by itself | the file | set aside | what to do |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for reason in failure_reasons().values():
        cells = (
            f"`{reason.code}`",
            reason.meaning,
            "yes" if reason.transient else "no",
            "is not in the queue" if reason.code in _UNKNOWN else _FATES[reason.fate],
            "yes" if reason.quarantine else "no",
            reason.advice,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _deciding_lines() -> Iterator[str]:
    for error in sorted(with_subclasses(FileError), key=lambda error: error.code):
        if error.settings:
            yield f"- `{error.code}`: {', '.join(f'`{name.upper()}`' for name in error.settings)}"


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201

"""The fault matrix: where a fault strikes, what it is, and how a cell of the two is set up."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from marble_images.local import layout
from marble_images_tests.promise.conftest import Sources, picture

SOURCES = ("S3", "Uri", "Curate", "Museum")
IN_THE_QUEUE = ("AppSync reread", "AppSync mark", "AppSync remove")
IN_THE_BUCKET = ("S3 put", "S3 head")
LIST = "AppSync list"
PLACES = (*SOURCES, LIST, *IN_THE_QUEUE, *IN_THE_BUCKET)

REFUSED, REFUSING, CHECKSUM = "refused connection", "403", "wrong checksum"
PRIVATE = "redirect to a private address"

FAULTS: dict[str, dict[str, Any]] = {
    "reset in mid-body": {"action": "reset", "when": "mid"},
    "time-out": {"action": "hang", "seconds": 30},
    "slow drip": {"action": "drip", "rate": 400},
    REFUSING: {"action": "status", "status": 403},
    "404": {"action": "status", "status": 404},
    "429 once, with Retry-After": {"action": "status", "status": 429, "retry_after": "1", "times": 1},
    "429 always, without": {"action": "status", "status": 429},
    "500 once": {"action": "status", "status": 500, "times": 1},
    "500 always": {"action": "status", "status": 500},
    "truncated, right length": {"action": "truncate", "length": "right"},
    "truncated, wrong length": {"action": "truncate", "length": "wrong"},
    "HTML with 200": {"action": "replace"},
    CHECKSUM: {"action": "corrupt"},
    "redirect loop": {"action": "redirect"},
    PRIVATE: {"action": "redirect"},
}
"""Every fault but the refused connection, which is no answer of a server."""

IN_THE_BODY = (
    "reset in mid-body",
    "slow drip",
    "truncated, right length",
    "truncated, wrong length",
    CHECKSUM,
)

COLUMNS = (REFUSED, *FAULTS)
ONCE = tuple(name for name, fault in FAULTS.items() if "times" in fault)


@dataclass(frozen=True)
class Cell:
    """One place and one fault, on a file of its own."""

    place: str
    fault: str

    @property
    def path(self) -> str:
        """The file's id."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.place}-{self.fault}".lower()).strip("-") + ".jpg"

    @property
    def kind(self) -> str:
        """The kind of source that the file has."""
        return self.place if self.place in SOURCES else "S3"

    def fill(self, sources: Sources, closed_port: int) -> None:
        """Put the file at its source and its record into the queue."""
        content = picture(shade=len(self.path))
        if self.place == "AppSync remove":
            sources.s3(self.path, None)
        elif self.fault == REFUSED and self.kind in ("Uri", "Curate"):
            sources.record(
                self.path, sourceType=self.kind, sourceUri=f"http://{layout.LOOPBACK}:{closed_port}/a.jpg"
            )
        else:
            sources.put(self.kind, self.path, content, **self._checksum(content))

    def _checksum(self, content: bytes) -> dict[str, str]:
        return {"md5Checksum": hashlib.md5(content).hexdigest()} if self.fault == CHECKSUM else {}

    def command(self, private: str) -> dict[str, Any]:
        """The fault as the stand-ins are commanded; ``private`` is where a redirect leads to."""
        fault = {**FAULTS[self.fault], **self._where()}
        if self.fault == PRIVATE:
            fault["location"] = private
        if self.place == "S3 put" and fault["action"] == "corrupt":
            # It is the request that carries the bytes.
            fault["when"] = "before"
        return fault

    def _where(self) -> dict[str, str]:
        path = re.escape(self.path)
        stem = re.escape(self.path.removesuffix(".jpg"))
        name = Sources.name(self.path)
        return {
            "S3": {"service": "aws", "operation": "GetObject", "path": f"/in/{path}"},
            "Uri": {"service": "uri", "path": path},
            # Curate itself answers with a redirect to its storage, which sends the body.
            "Curate": {"service": "uri" if self.fault in IN_THE_BODY else "curate", "path": name},
            "Museum": {"service": "google", "path": name},
            LIST: {"service": "appsync", "operation": "listFilesToProcess"},
            # One variable and no more: the records of a whole run are asked for many at once.
            "AppSync reread": {
                "service": "appsync",
                "operation": "getFileToProcessRecord",
                "body": rf'\{{"f0": ?"{path}"\}}',
            },
            "AppSync mark": {"service": "appsync", "operation": "saveFileLastProcessedDate", "body": path},
            "AppSync remove": {"service": "appsync", "operation": "removeItemToProcess", "body": path},
            "S3 put": {"service": "aws", "operation": "PutObject", "path": rf"/images/{stem}\.tif"},
            "S3 head": {"service": "aws", "operation": "HeadObject", "path": rf"/images/{stem}\.tif"},
        }[self.place]


TABLE_HEAD = """\
# What becomes of a file when something fails

<!-- Made by its test: UPDATE_FAULT_OUTCOMES=1 pytest -m slow marble_images_tests/promise -->

Every row is a call that a run makes, every column something that goes wrong with it. What is not marked
*once* goes wrong in every try of the run. `published`: the pyramid is in the bucket, verified, and AppSync
has its size. `waits`: the file stays in the queue with the code of its reason ([failures](failures.md)).
`removed`: it left the queue, because its source said twice that it no longer exists. When the cause is
gone, the next run publishes all that wait.
"""


def table(outcomes: dict[Cell, str]) -> str:
    """The outcomes as a page."""
    lines = [TABLE_HEAD, f"| | {' | '.join(PLACES)} |", f"| --- {'| --- ' * len(PLACES)}|"]
    for fault in COLUMNS:
        row = " | ".join(outcomes[Cell(place, fault)] for place in PLACES)
        lines.append(f"| {fault} | {row} |")
    return "\n".join(lines) + "\n"

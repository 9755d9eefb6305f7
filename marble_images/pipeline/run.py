"""The files of one run through a bounded pool of threads, and what becomes of those that are gone."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from marble_images.errors import FileError, MarbleImagesError, QueueError, RemovalFuseBlown, StateError
from marble_images.models import ChangedFile, FileReport, Outcome
from marble_images.pipeline.one_file import FilePipeline, Job, Options, Services
from marble_images.pipeline.reports import failed, unexpected

_SMALLEST_RUN_WITH_A_FRACTION = 10


@dataclass(frozen=True)
class Fuse:
    """How many files may be removed from the queue.

    Attributes
    ----------
    most
        Files of one run.
    most_fraction
        Share of the run's files, counted once a run has ten.
    most_a_day
        Files of all runs of a day: a source that is down spreads over many runs, each with few of its
        files.
    """

    most: int = 20
    most_fraction: float = 0.2
    most_a_day: int = 100

    def blows(self, gone: int, listed: int) -> bool:
        """Whether ``gone`` of ``listed`` files are too many to believe."""
        too_large_a_share = listed >= _SMALLEST_RUN_WITH_A_FRACTION and gone > self.most_fraction * listed
        return gone > self.most or too_large_a_share


def run_files(
    file_paths: Sequence[str],
    services: Services,
    options: Options,
    *,
    folder: Path,
    threads: int,
    fuse: Fuse | None = None,
) -> Generator[FileReport, None, None]:
    """Work on files, several at once, and yield one report for each as it is done.

    Files that their source says are gone come last, when it is known how many they are: each is removed
    from the queue, unless there are more than ``fuse`` allows, and then none is.

    Parameters
    ----------
    file_paths
        File ids; one that is there twice is worked on once.
    services, options
        What to talk to, and what to do.
    folder
        The run's work folder.
    threads
        Files in flight at once, so also the most source files on disk.
    fuse
        Limit of removals.

    Raises
    ------
    QueueError
        AppSync cannot be asked for the records at all.
    """
    paths = list(dict.fromkeys(file_paths))
    records = services.queue.get_records(paths)
    jobs = [Job(path, records.get(path)) for path in paths]
    # One look at all failures on record, where each file would need a look of its own.
    services.state.failures_of(record for record in records.values() if isinstance(record, ChangedFile))
    pipeline = FilePipeline(services, options, folder)
    gone: list[FileReport] = []
    with closing(_in_threads(pipeline, services, jobs, threads)) as reports:
        for report in reports:
            if report.outcome is Outcome.REMOVED:
                gone.append(report)
            else:
                yield report
    yield from _remove(gone, records, pipeline, services, fuse or Fuse(), listed=len(paths))


def _in_threads(
    pipeline: FilePipeline, services: Services, jobs: Sequence[Job], threads: int
) -> Generator[FileReport, None, None]:
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    done: queue.SimpleQueue[FileReport] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)

    def work() -> None:
        while not pipeline.stopped:
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            done.put(_worked_on(pipeline, services, job))

    try:
        _start(work, min(threads, len(jobs)))
        for _ in jobs:
            yield done.get()
    except BaseException:
        pipeline.stop()
        raise


def _start(work: Callable[[], None], threads: int) -> None:
    for number in range(threads):
        try:
            # Daemons: a thread that is stuck in a read must not keep an interrupted run alive.
            threading.Thread(target=work, name=f"file-{number}", daemon=True).start()
        except RuntimeError:
            # The system gives no more threads: those that there are do all the work.
            if not number:
                raise
            return


def _worked_on(pipeline: FilePipeline, services: Services, job: Job) -> FileReport:
    try:
        report = pipeline.process(job)
        # What a stopped run leaves undone is no failure of the file.
        return report if pipeline.stopped else _put_on_record(report, job.record, services)
    except BaseException as error:  # noqa: BLE001 - a thread that dies without a report would hang the run
        return unexpected(FileReport(job.file_path, Outcome.FAILED), error)


def _put_on_record(
    report: FileReport, record: ChangedFile | FileError | None, services: Services
) -> FileReport:
    """Keep the reason of a failure in the state, and forget it after a success."""
    if not isinstance(record, ChangedFile):
        return report
    try:
        if report.outcome is Outcome.FAILED:
            services.state.record_failure(record, report)
        elif report.outcome in (Outcome.MADE, Outcome.CURRENT, Outcome.REMOVED):
            services.state.clear(record.file_path)
    except StateError as error:
        return replace(report, warnings=(*report.warnings, f"its record was not kept: {error.reason}"))
    return report


def _remove(
    gone: Sequence[FileReport],
    records: dict[str, ChangedFile | FileError | None],
    pipeline: FilePipeline,
    services: Services,
    fuse: Fuse,
    *,
    listed: int,
) -> Iterator[FileReport]:
    refusal = _refusal(len(gone), services, fuse, listed=listed)
    for report in gone:
        record = records[report.file_path]
        assert isinstance(record, ChangedFile)
        if refusal is None:
            ended = _remove_one(report, record, pipeline)
        else:
            reason = f"not removed, for {refusal.reason}: {report.reason}"
            ended = replace(report, outcome=Outcome.FAILED, code=refusal.code, reason=reason)
        yield _put_on_record(ended, record, services)


def _refusal(gone: int, services: Services, fuse: Fuse, *, listed: int) -> MarbleImagesError | None:
    """Why none of the files that are gone is removed, or ``None`` if all may be."""
    if not gone:
        return None
    if fuse.blows(gone, listed):
        return RemovalFuseBlown(f"{gone} of {listed} files seem gone at once")
    try:
        today = services.state.plan_removals(gone, at_most=fuse.most_a_day)
    except StateError as error:
        return error
    return RemovalFuseBlown(f"{today} files seem gone today") if today > fuse.most_a_day else None


def _remove_one(report: FileReport, record: ChangedFile, pipeline: FilePipeline) -> FileReport:
    try:
        pipeline.marks.remove(record)
    except FileError as error:
        return failed(report, error)
    except QueueError as error:
        return replace(report, outcome=Outcome.FAILED, code=error.code, reason=error.reason)
    except Exception as error:  # noqa: BLE001 - the reports of the files after it must not be lost
        return unexpected(report, error)
    return report

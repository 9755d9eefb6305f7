from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import requests
from PIL import Image

from marble_images.errors import SettingsError
from marble_images.local.samples import seed_folder, seed_samples
from marble_images.local.stack import LocalStack
from marble_images.models import ChangedFile, Outcome, SourceType


def image(path: Path, colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20), colour).save(path)
    return path


def test_samples_are_of_all_source_types_and_each_source_is_as_its_note_says(stack: LocalStack) -> None:
    samples = seed_samples(stack)
    files = {sample.file_path: ChangedFile.from_record(sample.record) for sample in samples}
    assert {file.source for file in files.values()} == set(SourceType)
    assert sum(file.copyrighted for file in files.values()) == 1
    assert sum(file.is_pdf for file in files.values()) == 1
    ends = [sample.expected for sample in samples]
    assert (ends.count(Outcome.REMOVED), ends.count(Outcome.FAILED)) == (1, 1)
    assert ends.count(Outcome.MADE) == len(samples) - 2
    for sample in samples:
        file = files[sample.file_path]
        if file.source is SourceType.S3:
            found = stack.s3.get_object(Bucket=file.source_bucket_name, Key=file.source_file_path)
            assert found["ETag"] == f'"{file.e_tag}"'
        elif file.source is not SourceType.MUSEUM:
            answer = requests.get(str(file.source_uri), timeout=10)
            assert answer.status_code == (404 if sample.expected is Outcome.REMOVED else 200)
            assert file.md5_checksum in (None, hashlib.md5(answer.content).hexdigest())


def test_a_second_seeding_finds_only_what_still_waits(stack: LocalStack) -> None:
    samples = seed_samples(stack)
    made, gone = samples[0].file_path, next(s.file_path for s in samples if s.expected is Outcome.REMOVED)
    before = {found["filePath"]: found for found in stack.appsync.records()}
    stack.appsync.put_records([before[made] | {"dateLastProcessed": "2026-01-01T00:00:00.000Z"}])
    stack.appsync.remove(gone)
    assert [sample.file_path for sample in seed_samples(stack)] == [sample.file_path for sample in samples]
    after = {found["filePath"]: found for found in stack.appsync.records()}
    assert set(after) == set(before) - {gone}
    assert after[made]["dateLastProcessed"] == "2026-01-01T00:00:00.000Z"


def test_a_persons_folder_is_served_as_it_is_whatever_the_names(stack: LocalStack, tmp_path: Path) -> None:
    folder = tmp_path / "my scans"
    names = ["a b/Pagé 1.JPG", "a b/100% [x], y.png", "日本/🗺.tif", "line\nbreak.jpg", "deep/er/still/x.jpeg"]
    for name in names:
        image(folder / name)
    found = seed_folder(stack, folder)
    assert {sample.file_path for sample in found.samples} == set(names)
    for sample in found.samples:
        place = {"Bucket": sample.record["sourceBucketName"], "Key": sample.record["sourceFilePath"]}
        assert stack.s3.get_object(**place)["Body"].read() == (folder / sample.file_path).read_bytes()
    assert {found["filePath"] for found in stack.appsync.records()} == set(names)


def test_only_files_that_changed_wait_anew(stack: LocalStack, tmp_path: Path) -> None:
    for name in ("same.png", "changed.png"):
        image(tmp_path / name)
    seed_folder(stack, tmp_path)
    done = [found | {"dateLastProcessed": "2026-01-01T00:00:00.000Z"} for found in stack.appsync.records()]
    stack.appsync.put_records(done)
    image(tmp_path / "changed.png", "blue")
    image(tmp_path / "new.png")
    assert len(seed_folder(stack, tmp_path).samples) == 3
    waiting = [found["id"] for found in stack.appsync.records() if "dateLastProcessed" not in found]
    assert waiting == ["changed.png", "new.png"]


def test_what_is_no_sample_is_named_with_its_reason(stack: LocalStack, tmp_path: Path) -> None:
    for name in ("a.png", "A.png", "b.jpg", "b.png", ".hidden.png", ".cache/x.png"):
        image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere")
    found = seed_folder(stack, tmp_path)
    assert [sample.file_path for sample in found.samples] == ["A.png", "b.jpg"]
    assert found.skipped == {
        "a.png": "has the same id as A.png: case and blanks do not count",
        "b.png": "its pyramid would be that of b.jpg",
        "broken.png": "is no file",
        "notes.txt": "is no image, by its name",
    }


def test_a_name_that_is_not_utf_8_is_skipped(stack: LocalStack, tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    try:
        image(tmp_path / "x\udcff.png")
    except OSError:
        pytest.skip("the file system takes no such name")
    assert list(seed_folder(stack, tmp_path).skipped.values()) == ["its name is not UTF-8"]


@pytest.mark.parametrize("name", ["missing", "empty", "a.png"])
def test_a_folder_that_has_no_image_is_one_clear_error(stack: LocalStack, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    image(tmp_path / "a.png")
    with pytest.raises(SettingsError, match=name):
        seed_folder(stack, tmp_path / name)

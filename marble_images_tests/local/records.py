"""Records as DynamoDB stores them, for tests."""

from __future__ import annotations

from typing import Any


def record(file_path: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": file_path,
        "filePath": file_path,
        "TYPE": "FileToProcess",
        "sourceType": "S3",
        "dateAddedToDynamo": "2021-07-13T06:00:58.682922",
        "dateModifiedInDynamo": "2021-07-13T06:00:58.682922",
        **fields,
    }

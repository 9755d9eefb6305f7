"""What Dagster is told of one file: its materialization, and the checks of its pyramid."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import dagster as dg

from marble_images import RULES_VERSION
from marble_images.models import FileReport, Outcome
from marble_images.partitions import image_file_partitions
from marble_images.settings import Settings

PYRAMID_TIFFS = dg.AssetKey("pyramid_tiffs")

CHECKS = [
    dg.AssetCheckSpec(
        "pyramid_is_valid",
        asset=PYRAMID_TIFFS,
        partitions_def=image_file_partitions,
        description="The pyramid is as docs/valid-pyramid.md says, its pixels included.",
    ),
    dg.AssetCheckSpec(
        "bucket_holds_what_was_made",
        asset=PYRAMID_TIFFS,
        partitions_def=image_file_partitions,
        description="The object in the image bucket has the size, checksum and metadata of what was made.",
    ),
    dg.AssetCheckSpec(
        "copyright_box_holds",
        asset=PYRAMID_TIFFS,
        partitions_def=image_file_partitions,
        description="At most 843 x 560 pixels when copyrighted, at most 4000 x 4000 otherwise.",
    ),
]


def events_of(report: FileReport, key: str) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """The events of a file that is published; none for any other."""
    if report.outcome not in (Outcome.MADE, Outcome.CURRENT):
        return
    yield dg.AssetMaterialization(
        PYRAMID_TIFFS,
        partition=key,
        metadata=materialization_metadata(report),
        tags={
            "dagster/data_version": f"{report.fingerprint}-{report.profile}",
            "dagster/code_version": RULES_VERSION,
        },
    )
    if report.outcome is Outcome.MADE:
        for check in CHECKS:
            yield dg.AssetCheckEvaluation(
                asset_key=PYRAMID_TIFFS, check_name=check.name, passed=True, partition=key
            )


def materialization_metadata(report: FileReport) -> dict[str, Any]:
    """What a person finds on a partition's page."""
    metadata: dict[str, Any] = {"file": report.file_path, "outcome": report.outcome.value}
    if report.thumbnail:
        picture = base64.b64encode(report.thumbnail).decode("ascii")
        metadata["preview"] = dg.MetadataValue.md(f"![preview](data:image/jpeg;base64,{picture})")
    metadata |= {
        "width": dg.MetadataValue.int(report.width or 0),
        "height": dg.MetadataValue.int(report.height or 0),
        "levels": report.levels,
        "tile size": report.tile_size,
        "bytes": dg.MetadataValue.int(report.bytes_out),
        "profile": report.profile,
        "source type": report.source_type,
        "source address": report.address,
        "source checksum": report.source_sha256,
        "pyramid": dg.MetadataValue.url(report.uri) if report.uri else None,
    }
    if report.width and report.height and report.bytes_out:
        raw = report.width * report.height * 3
        metadata["compression ratio"] = round(raw / report.bytes_out, 2)
    if report.warnings:
        metadata["warnings"] = dg.MetadataValue.md("\n".join(f"- {text}" for text in report.warnings))
    metadata |= {f"seconds to {phase}": seconds for phase, seconds in report.seconds.items()}
    metadata |= _links(report)
    return {name: value for name, value in metadata.items() if value is not None}


def _links(report: FileReport) -> dict[str, Any]:
    base = Settings.load().iiif_base_url
    if not base or not report.uri:
        return {}
    key = report.uri.split("/", 3)[3].rpartition(".")[0]
    image = f"{base.rstrip('/')}/{quote(key, safe='')}"
    return {
        "IIIF info.json": dg.MetadataValue.url(f"{image}/info.json"),
        "IIIF image": dg.MetadataValue.url(f"{image}/full/!1200,1200/0/default.jpg"),
    }

"""What Dagster is told of one file that is published: its materialization."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import dagster as dg
from dagster import AssetRecordsFilter

from marble_images import RULES_VERSION
from marble_images.assets.pyramid_checks import PYRAMID_TIFFS
from marble_images.failures import failure_reasons
from marble_images.models import FileReport, Outcome
from marble_images.settings import Settings

DATA_VERSION_TAG, CODE_VERSION_TAG = "dagster/data_version", "dagster/code_version"


def materialization_of(
    report: FileReport, key: str, settings: Settings, before: dg.AssetMaterialization | None = None
) -> dg.AssetMaterialization | None:
    """The event of a file that is published; ``None`` for any other.

    Parameters
    ----------
    report
        What happened to the file.
    key
        Its partition.
    settings
        Those of the run: they say where the IIIF server and the viewer are.
    before
        The partition's last event: of a pyramid that was found current, it still tells how it was made.
    """
    if report.outcome not in (Outcome.MADE, Outcome.CURRENT):
        return None
    version = data_version(report)
    metadata = materialization_metadata(report, settings)
    if before is not None and (before.tags or {}).get(DATA_VERSION_TAG) == version:
        metadata = {**before.metadata, **metadata}
    return dg.AssetMaterialization(
        PYRAMID_TIFFS,
        partition=key,
        metadata=metadata,
        tags={DATA_VERSION_TAG: version, CODE_VERSION_TAG: RULES_VERSION},
    )


def observation_of(report: FileReport, key: str) -> dg.AssetObservation | None:
    """The event of a file that has a reason for not being made: what its partition's page says of it."""
    if not report.reason:
        return None
    told = failure_reasons().get(report.code or "")
    metadata = {
        "file": report.file_path,
        "outcome": report.outcome.value,
        "reason": report.reason,
        "code": report.code,
        "what to do": told.advice if told else None,
        "source type": report.source_type,
        "source address": report.address,
        "detail": report.detail,
    }
    return dg.AssetObservation(
        PYRAMID_TIFFS,
        partition=key,
        description=report.reason,
        metadata={name: value for name, value in metadata.items() if value is not None},
    )


def data_version(report: FileReport) -> str:
    """The source's fingerprint and the profile: what decides how a pyramid looks, the rules aside."""
    return f"{report.fingerprint}-{report.profile}"


def last_materialization(instance: dg.DagsterInstance, key: str) -> dg.AssetMaterialization | None:
    """A partition's last event, or ``None``."""
    found = instance.fetch_materializations(
        AssetRecordsFilter(asset_key=PYRAMID_TIFFS, asset_partitions=[key]), limit=1
    ).records
    return found[0].asset_materialization if found else None


def plain_metadata(materialization: dg.AssetMaterialization | None) -> Mapping[str, Any]:
    """The metadata of an event as plain values."""
    if materialization is None:
        return {}
    return {name: value.value for name, value in materialization.metadata.items()}


def materialization_metadata(report: FileReport, settings: Settings) -> dict[str, Any]:
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
        "copyrighted": report.copyrighted,
        "source type": report.source_type,
        "source address": report.address,
        "source bytes": report.bytes_in or None,
        "source checksum": report.source_sha256,
        "pyramid": dg.MetadataValue.url(report.uri) if report.uri else None,
        "pyramid checksum": report.sha256,
    }
    if report.width and report.height and report.bytes_out:
        raw = report.width * report.height * 3
        metadata["compression ratio"] = round(raw / report.bytes_out, 2)
    if report.warnings:
        metadata["warnings"] = dg.MetadataValue.md("\n".join(f"- {text}" for text in report.warnings))
    metadata |= {f"seconds to {phase}": seconds for phase, seconds in report.seconds.items()}
    metadata |= _links(report, settings)
    return {name: value for name, value in metadata.items() if value is not None}


def _links(report: FileReport, settings: Settings) -> dict[str, Any]:
    base = settings.iiif_base_url
    if not base or not report.uri:
        return {}
    key = report.uri.split("/", 3)[3].rpartition(".")[0]
    image = f"{base.rstrip('/')}/{quote(key, safe='')}"
    links = {
        "IIIF info.json": dg.MetadataValue.url(f"{image}/info.json"),
        "IIIF image": dg.MetadataValue.url(f"{image}/full/!1200,1200/0/default.jpg"),
    }
    if settings.iiif_viewer_url:
        address = quote(f"{image}/info.json", safe="")
        links["IIIF viewer"] = dg.MetadataValue.url(f"{settings.iiif_viewer_url}{address}")
    return links

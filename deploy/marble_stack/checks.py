"""Findings of cdk-nag that are accepted, each where it arises and with its reason."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Acknowledgment, Validations
from constructs import IConstruct


def accept(construct: IConstruct, findings: Mapping[str, str]) -> None:
    """Accept ``findings`` (rule, or ``rule[finding]``, to reason) on ``construct`` and all below it."""
    Validations.of(construct).acknowledge(
        *(Acknowledgment(id=rule, reason=reason) for rule, reason in findings.items())
    )

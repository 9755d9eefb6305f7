"""A template with its intrinsic functions worked out, as if it had been deployed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Physical:
    """Resolves ``Ref``, ``Fn::GetAtt``, ``Fn::Join`` and the like.

    Parameters
    ----------
    template
        The template.
    account, region
        Where it was deployed.
    names
        Physical names by logical id; all others are named as in the template.
    attributes
        Values of ``Fn::GetAtt``, by ``LogicalId.Attribute``.
    """

    def __init__(
        self,
        template: Mapping[str, Any],
        *,
        account: str,
        region: str,
        names: Mapping[str, str] | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        self._resources = template["Resources"]
        self._account = account
        self._region = region
        self._names = dict(names or {})
        self._attributes = dict(attributes or {})

    def __call__(self, value: Any) -> Any:
        """The value with everything in it resolved."""
        if isinstance(value, list):
            return [self(item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function == "Ref":
                return self.ref(argument)
            if function.startswith("Fn::"):
                return getattr(self, f"_{function[4:].lower()}")(argument)
        return {name: self(item) for name, item in value.items()}

    def name(self, logical: str, physical: str) -> None:
        """Give a resource its physical name."""
        self._names[logical] = physical

    def ref(self, logical: str) -> str:
        """What ``Ref`` gives."""
        pseudo = {
            "AWS::AccountId": self._account,
            "AWS::Partition": "aws",
            "AWS::Region": self._region,
            "AWS::URLSuffix": "amazonaws.com",
        }
        if logical in pseudo:
            return pseudo[logical]
        if logical in self._names:
            return self._names[logical]
        kind = self._resources[logical]["Type"]
        if kind == "AWS::SNS::Topic":
            return self._arn("sns", logical)
        if kind == "AWS::SecretsManager::SecretTargetAttachment":
            return self.ref(self._resources[logical]["Properties"]["SecretId"]["Ref"])
        named = self._resources[logical].get("Properties", {})
        return str(named.get("ClusterName", logical))

    def _getatt(self, argument: list[str]) -> str:
        logical, attribute = argument
        known = self._attributes.get(f"{logical}.{attribute}")
        if known is not None:
            return known
        name = self.ref(logical)
        if attribute != "Arn":
            return f"{name}.{attribute}"
        return {
            "AWS::ECS::Cluster": self._arn("ecs", f"cluster/{name}"),
            "AWS::IAM::Role": f"arn:aws:iam::{self._account}:role/{name}",
            "AWS::KMS::Key": self._arn("kms", f"key/{name}"),
            "AWS::Logs::LogGroup": self._arn("logs", f"log-group:{name}:*"),
            "AWS::S3::Bucket": f"arn:aws:s3:::{name}",
        }[self._resources[logical]["Type"]]

    def _arn(self, service: str, resource: str) -> str:
        return f"arn:aws:{service}:{self._region}:{self._account}:{resource}"

    def _join(self, argument: list[Any]) -> str:
        return str(argument[0]).join(map(str, self(argument[1])))

    def _sub(self, argument: str) -> str:
        for name in ("AWS::AccountId", "AWS::Partition", "AWS::Region", "AWS::URLSuffix"):
            argument = argument.replace(f"${{{name}}}", self.ref(name))
        return argument

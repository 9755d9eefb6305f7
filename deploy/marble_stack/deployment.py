"""What differs between deployments, read from a JSON file and checked before anything is synthesized."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic import model_validator as whole

GIB = 1024

# Memory (MiB) that Fargate offers for each CPU size: lowest, highest, step.
FARGATE_MEMORY = {
    256: (512, 2048, 512),
    512: (1024, 4096, 1024),
    1024: (2048, 8192, 1024),
    2048: (4096, 16384, 1024),
    4096: (8192, 30720, 1024),
    8192: (16384, 61440, 4096),
    16384: (32768, 122880, 8192),
}


# Settings that roles, buckets and networks are made by: they have fields of their own, or none.
_OWN = (
    *("ALERT_", "ALLOWED_SOURCE_", "AWS_", "CURATE_API_", "DAGSTER_", "GOOGLE_CREDENTIALS_", "GRAPHQL_API_"),
    *("IIIF_BASE_URL", "IMAGE_BUCKET", "PG", "REMOVE_RETIRED_", "SCHEDULE_", "STATE_", "WORK_FOLDER"),
)


class DeploymentError(Exception):
    """A deployment's description cannot be used; one line that says where and why."""


def _internal(cidr: str) -> str:
    network = ipaddress.ip_network(cidr)
    if network.prefixlen < 8:
        raise ValueError(f"{cidr} is wider than /8: the UI has no login of its own")
    return str(network)


def _further(name: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
        raise ValueError(f"{name!r} is no setting's name")
    if name.startswith(_OWN):
        raise ValueError(f"the stack itself sets {name}: its role and its network depend on it")
    return name


Cidr = Annotated[str, AfterValidator(_internal)]
BucketName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
ParameterPath = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9_./-]+[A-Za-z0-9_.-]$")]
SettingName = Annotated[str, AfterValidator(_further)]
Arn = Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:[^\s*]+$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Network(_Part):
    """An existing VPC: by the exports of the stack that made it, or by its ids.

    ``stack`` exports ``NAME:VPCID``, ``NAME:PrivateSubnet1ID`` and ``NAME:PrivateSubnet2ID``, as the marble
    network stack does. The subnets are private, with a way out (NAT): sources lie on the internet.
    """

    stack: str | None = None
    vpc_id: str | None = None
    private_subnet_ids: tuple[str, ...] = ()
    availability_zones: tuple[str, ...] = ()

    @whole(mode="after")
    def _one_way(self) -> Network:
        if bool(self.stack) == bool(self.vpc_id):
            raise ValueError("give either stack or vpc_id")
        if self.vpc_id and not len(self.private_subnet_ids) == len(self.availability_zones) >= 2:
            raise ValueError("give two or more private_subnet_ids, and availability_zones in their order")
        return self


class Image(_Part):
    """An image in ECR; without one, ``cdk deploy`` builds the Dockerfile and pushes it."""

    repository: str
    tag: str


class Ui(_Part):
    """Who reaches the web server, and how. It is never on the internet."""

    allowed_cidrs: tuple[Cidr, ...] = ()
    certificate_arn: Arn | None = None
    url: str | None = Field(None, description="its address in links; default: the load balancer's own")


class Database(_Part):
    """Size of the RDS instance. The major version is the one that the tests run on."""

    instance_type: str = "t4g.small"
    major_version: str = "15"
    storage_gib: int = Field(20, ge=20)
    multi_az: bool = False


class RunSize(_Part):
    """Size of a run's task; ``ephemeral_gib`` holds the sources and pyramids in flight."""

    cpu: int = 2048
    memory_mib: int = 4 * GIB
    ephemeral_gib: int = Field(50, ge=21, le=200)

    @whole(mode="after")
    def _fargate(self) -> RunSize:
        if self.cpu not in FARGATE_MEMORY:
            sizes = ", ".join(map(str, FARGATE_MEMORY))
            raise ValueError(f"Fargate has no size of {self.cpu} CPU units, but {sizes}")
        lowest, highest, step = FARGATE_MEMORY[self.cpu]
        if not (lowest <= self.memory_mib <= highest and (self.memory_mib - lowest) % step == 0):
            raise ValueError(f"Fargate has {lowest} to {highest} MiB, by {step}, for {self.cpu} CPU units")
        return self


class Deployment(_Part):
    """One deployment. Names of AWS things that exist are required; all else has a default."""

    stack_name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{2,40}$")] = "marble-images"
    account: Annotated[str, StringConstraints(pattern=r"^\d{12}$")]
    region: Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    network: Network
    image: Image | None = None

    image_bucket: BucketName
    source_buckets: tuple[BucketName, ...] = ()
    graphql_api_url_key_path: ParameterPath
    graphql_api_key_key_path: ParameterPath
    google_credentials_key_path: ParameterPath = "/all/marble/google/credentials"
    curate_api_token_key_path: ParameterPath | None = None
    kms_key_arns: tuple[Arn, ...] = Field((), description="keys of one's own, of parameters and buckets")

    allowed_source_hosts: tuple[str, ...] = ()
    allowed_source_ports: tuple[int, ...] = ()
    iiif_base_url: str | None = None
    schedule_hour: int = Field(5, ge=0, le=23)
    schedule_minute: int = Field(30, ge=0, le=59)
    remove_retired_pyramids: bool = False
    settings: dict[SettingName, str] = Field({}, description="further settings of the README's table")

    ui: Ui = Ui()
    database: Database = Database()
    run: RunSize = RunSize()
    spot: bool = False
    alert_emails: tuple[str, ...] = ()
    log_days: Literal[7, 30, 60, 90, 180, 365] = 90
    protect: bool = Field(True, description="refuse to delete the stack, its database and load balancer")

    @classmethod
    def load(cls, path: Path) -> Deployment:
        """Read a deployment's JSON file.

        Raises
        ------
        DeploymentError
            The file cannot be read, or a value in it cannot be used.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise DeploymentError(f"{path}: {error.strerror}") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise DeploymentError(f"{path}: {where}: {first['msg']}") from None

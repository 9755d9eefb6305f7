"""How patiently, how much and from where source files are fetched."""

from __future__ import annotations

from dataclasses import dataclass

from marble_images.errors import SettingsError


@dataclass(frozen=True)
class FetchSettings:
    """Limits of one fetch; sizes in bytes, times in seconds.

    Attributes
    ----------
    connect_timeout, read_timeout
        For one connection, and for one silence of a server in the middle of an answer.
    deadline
        For one file, from the first call to the last byte, retries and pauses included.
    max_bytes
        The largest file that is fetched.
    attempts
        Tries in a row that bring nothing new before a file is given up; a try that gets at least
        1 MiB further than all before it starts the count again.
    backoff_initial, backoff_max
        Pauses between tries grow exponentially from the first to the second, with full jitter.
    retry_after_max
        A server that asks for a longer pause than this (``Retry-After``) is given up at once.
    gone_pause
        Between the two tries that confirm that a file no longer exists.
    allowed_hosts
        Hosts that may be opened although they are not public: ``host`` (any port) or ``host:port``.
        An entry allows that very name, not other names of the same machine.
    allowed_ports
        Ports of public hosts that may be opened besides 80 (http) and 443 (https).
    curate_host
        The host, or ``host:port``, that gets Curate's API token.
    drive_api_url
        Google Drive's API; its host needs no entry in ``allowed_hosts``.
    free_space_reserve
        What must stay free on the disk of the work folder.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    deadline: float = 3600.0
    max_bytes: int = 20 * 10**9
    attempts: int = 5
    backoff_initial: float = 0.5
    backoff_max: float = 30.0
    retry_after_max: float = 300.0
    gone_pause: float = 5.0
    allowed_hosts: frozenset[str] = frozenset()
    allowed_ports: frozenset[int] = frozenset()
    curate_host: str = "curate.nd.edu"
    drive_api_url: str = "https://www.googleapis.com/drive/v3"
    free_space_reserve: int = 64 * 2**20

    def __post_init__(self) -> None:
        """Refuse limits that can never be met.

        Raises
        ------
        SettingsError
            A time, a size or the number of attempts is out of range; the message names it.
        """
        for name in ("connect_timeout", "read_timeout", "deadline", "max_bytes", "attempts"):
            if getattr(self, name) <= 0:
                raise SettingsError(f"{name} of fetches must be more than 0")
        for name in ("backoff_initial", "backoff_max", "retry_after_max", "gone_pause", "free_space_reserve"):
            if getattr(self, name) < 0:
                raise SettingsError(f"{name} of fetches must not be negative")

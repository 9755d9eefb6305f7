"""The web stand-ins: static files for ``Uri`` sources, and a repository API like Curate's.

Both answer with ETag, Last-Modified, byte ranges and HEAD. Curate's download address answers with a
redirect to its storage, which is on the other server, so a token that is for Curate only can be seen
to stay there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from flask import Flask, Response, abort, jsonify, redirect, request, send_from_directory
from werkzeug.security import safe_join

_STORAGE = "curate-storage"


@dataclass
class CurateRules:
    """What Curate asks of its callers.

    Attributes
    ----------
    token
        ``X-Api-Token`` must be this; ``None``: everybody may download.
    """

    token: str | None = None


def without_date(response: Response) -> Response:
    """Drop the date that Flask sets: the server sets one, and two are an error."""
    response.headers.pop("Date", None)
    return response


def build_uri_app(folder: Path) -> Flask:
    """Static files of ``folder / "uri"``, and Curate's storage."""
    app = Flask(__name__, static_folder=None)
    app.after_request(without_date)

    @app.get(f"/{_STORAGE}/<path:name>")
    def storage(name: str) -> Response:
        return send_from_directory(folder / "curate", name, conditional=True)

    @app.get("/<path:name>")
    def file(name: str) -> Response:
        return send_from_directory(folder / "uri", name, conditional=True)

    return app


def build_curate_app(folder: Path, storage_url: Callable[[], str], rules: CurateRules) -> Flask:
    """Curate's API: ``/api/items/download/<id>`` redirects to the item's file in storage."""
    app = Flask(__name__, static_folder=None)
    app.after_request(without_date)

    @app.get("/api/items/download/<item>")
    def download(item: str) -> Response:
        if rules.token is not None and request.headers.get("X-Api-Token") != rules.token:
            return _refused()
        path = one_file(folder / "curate", item)
        if path is None:
            abort(404)
        target = f"{storage_url()}/{_STORAGE}/{quote(item)}/{quote(path.name)}"
        return redirect(target, code=302)  # type: ignore[return-value]

    return app


def one_file(folder: Path, name: str) -> Path | None:
    """The file in a folder of its own, which a store's id names."""
    place = safe_join(str(folder), name)
    if place is None or not Path(place).is_dir():
        return None
    # One that is just being written has a name with a dot.
    return next((path for path in sorted(Path(place).iterdir()) if not path.name.startswith(".")), None)


def operation(path: str) -> str:
    """What a request to the web server is for: a file of its own, or one in Curate's storage."""
    return "Storage" if path.startswith(f"/{_STORAGE}/") else "File"


def _refused() -> Response:
    response = jsonify(error="You are not authorized")
    response.status_code = 401
    return response


class WebFolder:
    """Puts files where the web stand-ins find them.

    Parameters
    ----------
    folder
        The web stand-ins' folder.
    uri_url, curate_url
        Their addresses.
    """

    def __init__(self, folder: Path, uri_url: str, curate_url: str) -> None:
        self.folder = folder
        self.uri_url = uri_url
        self.curate_url = curate_url

    def put_uri(self, name: str, content: bytes | Path) -> str:
        """Serve a file under a path; its address."""
        _place(self.folder / "uri" / name, content)
        return f"{self.uri_url}/{quote(name)}"

    def put_curate(self, item: str, content: bytes | Path, name: str = "content.tif") -> str:
        """Serve a file as a Curate item, in place of the item's file; its download address."""
        shutil.rmtree(self.folder / "curate" / item, ignore_errors=True)
        _place(self.folder / "curate" / item / name, content)
        return self.curate_address(item)

    def curate_address(self, item: str) -> str:
        """The download address of an item, there or not."""
        return f"{self.curate_url}/api/items/download/{quote(item)}"

    def put_drive(self, file_id: str, content: bytes | Path, name: str = "content.jpg") -> str:
        """Serve a file as a Google Drive file; its address as people copy it from Drive."""
        shutil.rmtree(self.folder / "drive" / file_id, ignore_errors=True)
        _place(self.folder / "drive" / file_id / name, content)
        return f"https://drive.google.com/a/nd.edu/file/d/{file_id}/view"

    def remove(self, kind: str, name: str) -> None:
        """Take a ``uri`` file, a ``curate`` item or a ``drive`` file away."""
        path = self.folder / kind / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def make_folders(folder: Path) -> None:
    """The empty folders of the web stand-ins."""
    for kind in ("uri", "curate", "drive"):
        (folder / kind).mkdir(parents=True, exist_ok=True)


def clear_folders(folder: Path) -> None:
    """Take every file away."""
    for kind in ("uri", "curate", "drive"):
        shutil.rmtree(folder / kind, ignore_errors=True)
    make_folders(folder)


def _place(path: Path, content: bytes | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name[:60]}.part")
    if isinstance(content, Path):
        shutil.copyfile(content, fresh)
    else:
        fresh.write_bytes(content)
    # Renamed, so that no request sees half of it.
    fresh.replace(path)

"""One running UI for all tests of this package, on what the demo left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from marble_images_tests.ui.dev_server import DevServer, dev_server, marble_images
from marble_images_tests.ui.workload import Begun, begin


@pytest.fixture(scope="session")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """`marble-images dev` after a demo."""
    folder = tmp_path_factory.mktemp("ui")
    demo = marble_images("demo", "--folder", str(folder))
    said, _ = demo.communicate(timeout=280)
    assert demo.returncode == 0, said.decode()
    with dev_server(folder, GONE_PAUSE="0.1") as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def begun(ui: DevServer) -> Begun:
    """What was asked for before the first test."""
    return begin(ui)

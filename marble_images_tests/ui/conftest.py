"""One running UI for all tests of this package, on what the demo left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from marble_images_tests.ui.dev_server import DEMO_FAILED, DevServer, dev_server, marble_images


@pytest.fixture(scope="session")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """`marble-images dev` after a demo."""
    folder = tmp_path_factory.mktemp("ui")
    demo = marble_images("demo", "--folder", str(folder))
    said, _ = demo.communicate(timeout=280)
    assert demo.returncode == 0, said.decode()
    with dev_server(folder, GONE_PAUSE="0.1") as server:
        # Else every new list of a test would try it again, until it is set aside.
        server.stack.appsync.remove(DEMO_FAILED)
        yield server

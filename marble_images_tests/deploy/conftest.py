"""The two example deployments, synthesized once."""

from __future__ import annotations

import pytest

from marble_images_tests.deploy.synthesis import DEPLOY, NO_NODE, Synthesis, has_node, synthesize_all

EXAMPLES = sorted((DEPLOY / "contexts").glob("*.json"))


@pytest.fixture(scope="session")
def syntheses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Synthesis]:
    """Both example deployments."""
    if not has_node:
        pytest.skip(NO_NODE)
    base = tmp_path_factory.getbasetemp()
    # Workers of one session have folders of their own beside each other.
    return synthesize_all(EXAMPLES, base.parent if base.name.startswith("popen") else base)


@pytest.fixture(params=[path.stem for path in EXAMPLES])
def example(request: pytest.FixtureRequest, syntheses: dict[str, Synthesis]) -> Synthesis:
    """Each example deployment."""
    return syntheses[request.param]

"""The CDK app: ``cdk deploy -c config=contexts/mine.json``."""

import sys
from pathlib import Path

import aws_cdk as cdk
from marble_stack import Deployment, DeploymentError, build


def main() -> int:
    """Synthesize the stack of the deployment that the context names."""
    app = cdk.App()
    config = app.node.try_get_context("config")
    if not isinstance(config, str):
        print("marble-images: say which deployment: -c config=contexts/NAME.json", file=sys.stderr)  # noqa: T201
        return 1
    try:
        build(app, Deployment.load(Path(__file__).parent / config))
    except DeploymentError as error:
        print(f"marble-images: {error}", file=sys.stderr)  # noqa: T201
        return 1
    app.synth()
    return 0


if __name__ == "__main__":
    sys.exit(main())

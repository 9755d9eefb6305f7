"""The AWS side of marble_images: one stack, from a deployment's description."""

from marble_stack.deployment import Deployment, DeploymentError
from marble_stack.stack import MarbleImagesStack, build

__all__ = ["Deployment", "DeploymentError", "MarbleImagesStack", "build"]

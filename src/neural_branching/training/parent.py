"""The parent: a network trained once on all classes of a data set, then frozen."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from neural_branching.errors import one_of
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.weights import fill
from neural_branching.networks.wrapped import as_network
from neural_branching.training.classifier import Classifier
from neural_branching.training.recipe import Fit

RECIPE = 2
NORMALIZE = ("channel", "pixel", "imagenet")
# Means and deviations of ImageNet's training images that torchvision's weights expect, for pixels 0 … 255.
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class Parent(Classifier):
    """A classifier of raw images (uint8).

    Args:
        network: made for images of ``image_shape``; a module that names no stages is wrapped.
        fit: the training recipe.
        image_shape: (3, height, width).
        normalize: "channel" standardises by one mean and deviation per colour channel, "pixel" by
            one for every pixel and channel, both learned from the training images; "imagenet" by
            the constants that weights from ImageNet were trained with.

    Raises:
        InputError: for another ``normalize``.
    """

    def __init__(
        self, network: nn.Module, fit: Fit, image_shape: Sequence[int], normalize: str = "channel"
    ) -> None:
        one_of(normalize, NORMALIZE, "normalize")
        shape = image_shape if normalize == "pixel" else (image_shape[0], 1, 1)
        super().__init__(Standardize(shape), as_network(network), fit)
        self.normalize = normalize

    def learn_normalization(self, images: Tensor) -> None:
        """Take the pixel statistics from the training images, uint8 (n, 3, height, width)."""
        if self.normalize == "imagenet":
            self.standardize.mean.copy_(torch.tensor(IMAGENET_MEAN).view(3, 1, 1))
            self.standardize.inverse_std.copy_(1 / torch.tensor(IMAGENET_STD).view(3, 1, 1))
        else:
            self.standardize.learn(images)

    def adopt(self, state: Mapping[str, Tensor], what: str) -> bool:
        """Take weights that were trained elsewhere.

        Args:
            state: weights of a parent of this package, or of the bare network.
            what: where they come from, for messages.

        Returns:
            Whether the pixel statistics came with them.

        Raises:
            InputError: if they are another network's.
        """
        if "standardize.mean" in state:
            fill(self, state, what)
            return True
        fill(self.network.bare, state, what)
        return False

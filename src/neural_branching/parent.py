"""The parent: a network trained once on all classes of a data set, then frozen."""

from collections.abc import Sequence

from torch import Tensor

from neural_branching.classifier import Classifier
from neural_branching.errors import one_of
from neural_branching.fit import Fit
from neural_branching.networks.staged import StagedNetwork
from neural_branching.networks.standardize import Standardize

RECIPE = 2


class Parent(Classifier):
    """A classifier of raw images (uint8).

    Args:
        network: the stages, made for images of ``image_shape``.
        fit: the training recipe.
        image_shape: (3, height, width).
        normalize: "channel" standardises by one mean and deviation per colour channel, "pixel" by
            one for every pixel and channel.

    Raises:
        InputError: if ``normalize`` is neither.
    """

    def __init__(
        self, network: StagedNetwork, fit: Fit, image_shape: Sequence[int], normalize: str = "channel"
    ) -> None:
        one_of(normalize, ("channel", "pixel"), "normalize")
        shape = (image_shape[0], 1, 1) if normalize == "channel" else image_shape
        super().__init__(Standardize(shape), network, fit)

    def learn_normalization(self, images: Tensor) -> None:
        """Take the pixel statistics from the training images, uint8 (n, 3, height, width)."""
        self.standardize.learn(images)

"""The loss that brings what a classifier goes by into the first branch of an autoencoder."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from neural_branching.labs.decomposition.autoencoder import Autoencoder, PartsLoss
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.selection.array_types import Float, Float32, Shaped


class ClassEvidence(PartsLoss):
    """First branches of two images are blended, and the classifier has to see the classes in like shares.

    Of images i and j, α uniform within [0, 1], the blended image is α·Ψ_1(i) + (1 − α)·Ψ_1(j) +
    Σ_{b>1} Ψ_b(i), and the loss is the divergence of the classifier's probabilities for it from
    α·p(i) + (1 − α)·p(j). So what tells classes apart has to come from the first branch alone. DXAI blends
    styles of classes; blending two images instead is our own reconstruction, which needs no label.

    Args:
        classifier: what is explained; it is not changed.
        sha: of its weights.
        weight: of this loss beside the mean squared error of the reconstruction.
    """

    def __init__(self, classifier: StandardizedNetwork, sha: str, weight: float) -> None:
        self.classifier = classifier.eval().requires_grad_(False)
        self.sha, self.weight = sha, weight

    def identity(self) -> Mapping[str, Any]:
        """Of the classifier its weights."""
        return {"name": "class_evidence", "classifier": self.sha, "weight": self.weight}

    def loss(
        self, module: Autoencoder, images: Shaped[Tensor, "n c h w"], parts: Float32[Tensor, "n b c h w"]
    ) -> Float[Tensor, ""]:
        """The weighted Kullback–Leibler divergence; partners are drawn anew for every batch."""
        classifier = self.classifier.to(images.device)
        order = torch.randperm(len(parts)).to(parts.device)
        share = torch.rand(len(parts)).to(parts.device)
        first, rest = parts[:, 0], parts[:, 1:].sum(1)
        mixed = share[:, None, None, None]
        blended = module.raw(mixed * first + (1 - mixed) * first[order] + rest)
        with torch.no_grad():
            seen = classifier(images).softmax(1)
            expected = share[:, None] * seen + (1 - share[:, None]) * seen[order]
        answered = classifier(blended).log_softmax(1)
        return self.weight * F.kl_div(answered, expected, reduction="batchmean")

"""A module of one's own as the parent: its submodules are the branch points."""

from torch import Tensor, nn

import neural_branching as nb


class TwoConvolutions(nn.Module):
    """Logits of images; ``in_shape`` and ``num_classes`` are handed over."""

    def __init__(self, in_shape: tuple[int, int, int], num_classes: int, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(in_shape[0], width, 3, stride=2), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(width, 2 * width, 3, stride=2), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8 * width, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, channels, height, width)."""
        logits: Tensor = self.head(self.second(self.first(images)))
        return logits


if __name__ == "__main__":
    for stage in ("first", "second"):
        experiment = nb.Experiment(
            data=nb.sources.Glyphs(train_per_class=60, test_per_class=20, image_size=16),
            parent=nb.parents.Module(
                TwoConvolutions,
                {"width": 8},
                fit={"epochs": 6, "precision": "32-true"},
                augment={"cutout": 4},
            ),
            branches=nb.Branch("upper", at=stage, fit={"epochs": 5, "lr": 1e-2}),
        )
        results = experiment.run("outputs").results  # the second run finds the parent
        print(stage, results["nodes"]["upper"]["thresholds"][0]["test"]["accuracy"])

"""Class evidence in the first branch, and its comparison with controls, on networks with known answers."""

import numpy as np
import pytest
import torch

from neural_branching.labs.decomposition.autoencoder import Autoencoder
from neural_branching.labs.decomposition.branched_autoencoder import BranchedAutoencoder
from neural_branching.labs.explanation.class_evidence import ClassEvidence
from neural_branching.labs.explanation.faithfulness import (
    CONTROLS,
    DISTINCT,
    MAPS,
    answers,
    compare,
    maps_of,
    right_without,
)
from neural_branching.labs.verdicts import NOT_SEEN, SEEN, UNDECIDED
from neural_branching.networks.mlp import MLP
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.training.recipe import Recipe

SHAPE = (3, 8, 8)
IMAGES = torch.randint(0, 256, (12, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def pair() -> tuple[Autoencoder, StandardizedNetwork]:
    torch.manual_seed(0)
    module = Autoencoder(BranchedAutoencoder(SHAPE, 3, 4, 2, None), Recipe(1, 4, 1e-3)).eval()
    classifier = StandardizedNetwork(Standardize((3, 1, 1)), MLP(SHAPE, 3, (8,))).eval()
    for one in (module, classifier):
        one.standardize.learn(IMAGES)
    return module, classifier


def test_evidence_costs_nothing_where_the_first_branch_alone_has_it() -> None:
    module, classifier = pair()
    evidence = ClassEvidence(classifier, "sha", 2.0)
    target = module.standardized(IMAGES)
    parts = torch.zeros(len(IMAGES), 3, *SHAPE)
    parts[:, 0] = target
    same = target[:1].expand_as(target)
    alike = parts.clone()
    alike[:, 0] = same  # partners are equal, so that blending changes nothing
    seen = module.raw(same)
    assert evidence.loss(module, seen, alike).item() == pytest.approx(0, abs=1e-6)
    elsewhere = parts.roll(1, 1)  # in the second branch: answers do not follow the first
    torch.manual_seed(0)
    wrong = evidence.loss(module, IMAGES, elsewhere).item()
    torch.manual_seed(0)
    assert wrong > evidence.loss(module, IMAGES, parts).item() > 0


def test_evidence_trains_the_branches_and_not_the_classifier() -> None:
    module, classifier = pair()
    module.parts_loss = ClassEvidence(classifier, "sha", 1.0)
    assert not [name for name in module.state_dict() if "parts_loss" in name]
    module.batch_loss(IMAGES, torch.zeros(len(IMAGES), dtype=torch.int64)).backward()
    assert all(one.grad is not None for one in module.network.parameters())
    assert all(one.grad is None for one in classifier.parameters())
    assert module.parts_loss.identity() == {"name": "class_evidence", "classifier": "sha", "weight": 1.0}


def test_every_map_is_of_the_images_and_removed_step_by_step() -> None:
    module, classifier = pair()
    maps, images = maps_of(module, classifier, IMAGES, 0), module.standardized(IMAGES)
    assert tuple(maps) == MAPS
    assert all(one.shape == IMAGES.shape for one in maps.values())
    torch.testing.assert_close(maps[DISTINCT].mean(0), torch.zeros(SHAPE), atol=1e-6, rtol=0)
    labels = answers(classifier, module, images)
    right = right_without(classifier, module, images, labels, maps["gradient"], [0.01, 1.0])
    assert right.shape == (3, len(IMAGES))
    assert right[0].all()
    assert right[1].mean() >= right[2].mean() < 1


def test_raw_images_come_back_from_standardised_ones() -> None:
    module, _ = pair()
    torch.testing.assert_close(module.raw(module.standardized(IMAGES)), IMAGES.float(), atol=1e-3, rtol=0)


def test_verdicts_go_by_seeds_and_by_images() -> None:
    generator = np.random.default_rng(0)
    whole = np.ones((5, 200))
    areas = {name: generator.uniform(0.7, 0.9, (5, 200)) for name in MAPS}
    areas[DISTINCT] = areas["random"] - 0.2 + generator.normal(0, 0.01, (5, 200))
    areas["gradient"] = areas[DISTINCT] - 0.1
    areas["low-pass"] = areas[DISTINCT] + generator.normal(0, 0.3, (5, 200))
    found = {one.control: one for one in compare("a classifier", areas, whole)}
    assert [*found] == [*CONTROLS]
    assert found["random"].verdict == SEEN
    assert found["random"].difference == pytest.approx(-0.2, abs=0.01)
    assert found["random"].interval[0] < found["random"].difference < found["random"].interval[1] < 0
    assert found["gradient"].verdict == NOT_SEEN
    assert found["low-pass"].verdict == UNDECIDED
    assert found["random"].p == 1 / 32

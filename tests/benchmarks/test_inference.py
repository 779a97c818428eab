"""Answers of branches and systems beside their parent's forward pass."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from neural_branching.artifacts.activations import stage_widths
from neural_branching.data.files import decoded
from neural_branching.data.inputs.image_inputs import ImageInputs
from neural_branching.evaluation.tree_acceptance import Acceptance
from neural_branching.exported_program import Program, export
from neural_branching.networks.convnet import ConvNet
from neural_branching.networks.mlp import MLP
from neural_branching.networks.readout import Readout
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.predictor import Head, Predictor
from neural_branching.routing.descent import FittedRouter
from neural_branching.routing.hierarchy import ROOT, Node, Tree
from neural_branching.routing.routers import ParentMass
from neural_branching.selection.scores.from_logits import MaxSoftmax
from neural_branching.selection.thresholds.plain import Fixed
from neural_branching.selection.thresholds.threshold import HeldOut

pytestmark = pytest.mark.benchmark
SHORT = os.environ.get("BENCH") == "short"
IMAGE = (3, 32, 32)
NO_IMAGES = HeldOut(np.empty(0), np.empty(0, bool), np.empty(0), np.empty(0, bool), np.empty(0))


def test_answers_of_a_system(tmp_path: Path, side_by_side, one_thread) -> None:
    """Images through parent, two branches, router and thresholds, beside the parent alone.

    Once images in memory, once PNG files that are decoded while others are answered.
    """
    groups = (("a", "b", "c"), ("d", "e", "f"))
    nodes = {ROOT: Node(ROOT, None, ("first", "second"), groups, leaf=False)}
    for name, group in zip(("first", "second"), groups, strict=True):
        nodes[name] = Node(name, ROOT, group, tuple((one,) for one in group), leaf=True)
    parent = StandardizedNetwork(Standardize((3, 1, 1)), ConvNet(IMAGE, 6)).eval()
    heads = {
        name: Head(StandardizedNetwork(Standardize((128,)), MLP((128,), 3, [256])), "pool", Readout("auto"))
        for name in ("first", "second")
    }
    rule, router = Fixed(0.5), ParentMass()
    stop = Acceptance(MaxSoftmax(), MaxSoftmax().fit(None), rule.fit(NO_IMAGES), rule)
    predictor = Predictor(
        Tree("two", nodes),
        parent,
        heads,
        {},
        [[0, 1, 2], [3, 4, 5]],
        FittedRouter(router, {ROOT: router.weights}),
        dict.fromkeys(nodes, stop),
        ImageInputs(32),
        torch.device("cpu"),
        np.empty((0, *IMAGE), np.uint8),
    )
    count = 512 if SHORT else 10_000
    images = torch.randint(0, 256, (count, *IMAGE), dtype=torch.uint8)

    @torch.inference_mode()
    def plain() -> None:
        for batch in images.split(256):
            parent(batch)

    side_by_side(
        f"{count:,} decoded images through a system of two branches, answers with traces",
        "the parent's forward pass",
        plain,
        lambda: [predictor.predict(batch) for batch in images.split(256)],
    )
    files = [tmp_path / f"{index}.png" for index in range(count)]
    for file, image in zip(files, images.numpy(), strict=True):
        Image.fromarray(image.transpose(1, 2, 0)).save(file)
    side_by_side(
        f"the same from {count:,} PNG files, decoded meanwhile",
        "the parent's forward pass over decoded images",
        plain,
        lambda: [predictor.predict(batch) for _, batch, _ in decoded(files, 32, 256)],
    )


@pytest.mark.parametrize("batch", [1, 256])
@pytest.mark.parametrize("way", ["eager", "pt2", "onnx"])
def test_a_branch_of_a_truncated_parent(
    way: str, batch: int, tmp_path: Path, side_by_side, one_thread
) -> None:
    """Pixels to answer, score and decision by a branch at the convnet's second block."""
    if way == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    classes = ("a", "b", "c")
    parent = StandardizedNetwork(Standardize((3, 1, 1)), ConvNet(IMAGE, 6)).eval()
    readout = Readout("auto")
    width = stage_widths(parent, torch.zeros(1, *IMAGE), ("block2",), readout)["block2"]
    rule = Fixed(0.5)
    images = torch.randint(0, 256, (batch, *IMAGE), dtype=torch.uint8)
    predictor = Predictor(
        Tree("one", {ROOT: Node(ROOT, None, classes, tuple((one,) for one in classes), leaf=True)}),
        parent,
        {ROOT: Head(StandardizedNetwork(Standardize((width,)), MLP((width,), 3, [256])), "block2", readout)},
        {},
        None,
        FittedRouter(ParentMass(), {}),
        {ROOT: Acceptance(MaxSoftmax(), MaxSoftmax().fit(None), rule.fit(NO_IMAGES), rule)},
        ImageInputs(32),
        torch.device("cpu"),
        torch.randint(0, 256, (8, *IMAGE), dtype=torch.uint8).numpy(),
    )
    program: Callable[[], object] = partial(Program(predictor).eval().requires_grad_(False), images)
    if way != "eager":
        file = tmp_path / f"branch.{way}"
        export(predictor, file)
    if way == "pt2":
        program = partial(torch.export.load(file).module(), images)
    elif way == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, 1
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        program = partial(session.run, None, {"images": images.numpy()})

    def many(action: Callable[[], object]) -> None:
        with torch.inference_mode():
            for _ in range(200 if batch == 1 and not SHORT else 1):
                action()

    side_by_side(
        f"a branch at block2 of the convnet, {way}, batch {batch}" + (", 200 times" if batch == 1 else ""),
        "the whole parent, eager",
        lambda: many(lambda: parent(images)),
        lambda: many(program),
    )


def test_answers_of_a_cascade(side_by_side, one_thread) -> None:
    """Three exits at which a third of the images leaves each, beside the last of them alone.

    One image by itself is each of 24 in turn.
    """
    classes, stages = ("a", "b", "c"), ("block1", "block2", "pool")
    torch.manual_seed(0)
    parent = StandardizedNetwork(Standardize((3, 1, 1)), ConvNet(IMAGE, 6)).eval()
    readout = Readout("auto")
    widths = stage_widths(parent, torch.zeros(1, *IMAGE), stages, readout)
    exits = [Node(name, None, classes, tuple((one,) for one in classes), leaf=True) for name in stages]
    tree = Tree.cascade("thirds", exits)
    heads = {
        name: Head(
            StandardizedNetwork(Standardize((widths[name],)), nn.Linear(widths[name], 3)), name, readout
        )
        for name in stages
    }
    images = torch.randint(0, 256, (256, *IMAGE), dtype=torch.uint8)

    def predictor(values: Sequence[float]) -> Predictor:
        rules = [Fixed(value) for value in values]
        return Predictor(
            tree,
            parent,
            heads,
            {},
            None,
            FittedRouter(ParentMass(), {}),
            {
                name: Acceptance(MaxSoftmax(), MaxSoftmax().fit(None), rule.fit(NO_IMAGES), rule)
                for name, rule in zip(stages, rules, strict=True)
            },
            ImageInputs(32),
            torch.device("cpu"),
            images.numpy(),
        )

    def scores(name: str) -> NDArray[np.float64]:
        return np.array([one.trace[0].score for one in everyone.only(name).predict(images)])

    everyone = predictor([1.0, 1.0, 0.0])
    first = float(np.quantile(scores("block1"), 2 / 3))
    stayed = scores("block1") < first
    cascade = predictor([first, float(np.quantile(scores("block2")[stayed], 1 / 2)), 0.0])
    alone = cascade.only("pool")
    for name, batches in (
        ("256 at once", [images]),
        ("24 images, one at a time", list(images[:24].split(1))),
    ):
        side_by_side(
            f"a cascade of three exits of the convnet, a third of the images leaves at each, {name}",
            "its last exit by itself",
            lambda batches=batches: [alone.predict(batch) for batch in batches],
            lambda batches=batches: [cascade.predict(batch) for batch in batches],
        )

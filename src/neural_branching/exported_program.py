"""A finished run as one program of tensor operations, from pixels to answers."""

import copy
import io
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neural_branching.errors import InputError, one_of
from neural_branching.evaluation.fitted import Stop
from neural_branching.predictor import Head, Predictor
from neural_branching.routing.descent import TINY, answers_of
from neural_branching.routing.hierarchy import Node
from neural_branching.routing.routers import Scaled
from neural_branching.training.classifier import Classifier

OUTPUTS = ("answer", "confidence", "accepted")
ANSWERS = "answers.json"
MOST = 2**31 - 1  # images at once; torch 2.6 refuses a dimension without an end

SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "max_softmax": lambda logits: logits.softmax(1).amax(1),
    "margin": lambda logits: _margin(logits.softmax(1)),
    "negative_entropy": lambda logits: (logits.softmax(1) * logits.log_softmax(1)).sum(1),
    "max_logit": lambda logits: logits.amax(1),
    "energy": lambda logits: logits.logsumexp(1),
}


def _margin(probabilities: Tensor) -> Tensor:
    largest = probabilities.topk(2, dim=1).values
    return largest[:, 0] - largest[:, 1]


class Program(nn.Module):
    """A predictor as a module of tensor operations alone.

    Args:
        predictor: the loaded run.

    Raises:
        InputError: if its score or its router cannot be written down as such.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.tree, self.stages, self.columns = predictor.tree, predictor.stages, predictor.columns
        self.asks_logits = predictor.asks_logits
        self.guide = predictor.guide
        self.parent = _Model(predictor.parent)
        self.heads, self.gates = predictor.heads, predictor.gates
        # By number: a module must not be called "type" or "a.b", as a node may.
        self.place = {name: index for index, name in enumerate(self.heads)}
        self.branches = nn.ModuleList([_Model(head.branch) for head in self.heads.values()])
        self.gate_branches = nn.ModuleList([_Model(gate.branch) for gate in self.gates.values()])
        self.stops = {name: (_score(stop), stop.choice.value) for name, stop in predictor.stops.items()}

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Answers as ``Predictor.predict`` gives them.

        Args:
            images: examples as the table holds them, shape (n, …).

        Returns:
            Index into ``answers_of(tree)``, int64 (n,), 0 being no answer; its confidence, float32 (n,); and
            whether it is a class, bool (n,).
        """
        outputs = dict(self.parent.network.walk(self.parent.standardize(images), self.stages))
        vectors: dict[str, Tensor] = {}
        logits: dict[str, Tensor] = {}
        for model, (name, head) in zip(self.branches, self.heads.items(), strict=True):
            logits[name] = self._ask(model, name, head, outputs, vectors)
        gates: dict[str, Tensor] = {}
        for model, (name, gate) in zip(self.gate_branches, self.gates.items(), strict=True):
            gates[name] = self._ask(model, name, gate, outputs, {}).double().softmax(1)
        own: dict[str, Tensor] = {name: one.double().softmax(1) for name, one in logits.items()}
        if self.asks_logits and self.columns is not None:
            shares = outputs["logits"].double().softmax(1)
            own[self.tree.root] = torch.stack([shares[:, list(mine)].sum(1) for mine in self.columns], dim=1)
        weights = self._weights(own, logits, gates)
        return self._descend(images, logits, weights)

    def _ask(
        self,
        model: nn.Module,
        name: str,
        head: Head,
        outputs: Mapping[str, Tensor],
        vectors: dict[str, Tensor],
    ) -> Tensor:
        if head.trunk is None:
            token = self.parent.network.has_class_token(head.stage)
            vectors[name] = head.readout(outputs[head.stage], token)
        else:
            trunk = self.branches[self.place[head.trunk]]
            vectors[name] = trunk(vectors[head.trunk], head.stage)
        answer: Tensor = model(vectors[name], None)
        return answer

    def _weights(
        self, own: Mapping[str, Tensor], logits: Mapping[str, Tensor], gates: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Weights of every node's labels, as the routers give them."""
        weights: dict[str, Tensor] = {}
        reach: dict[str, Tensor] = {}
        for name, node in reversed(list(self.tree.nodes.items())):
            if node.leaf:
                weights[name] = own[name]
                reach[name] = own[name].amax(1)
                continue
            furthest = torch.stack([reach[label] for label in node.labels], dim=1)
            if name in own:
                reach[name] = (own[name] * furthest).amax(1)
            weights[name] = self._route(node, own.get(name), furthest, logits, gates)
        return weights

    def _route(
        self,
        node: Node,
        own: Tensor | None,
        furthest: Tensor,
        logits: Mapping[str, Tensor],
        gates: Mapping[str, Tensor],
    ) -> Tensor:
        assert self.guide  # where the way splits there is a router
        kind = self.guide.router.kind
        if kind == "gate":
            return gates[node.name][:, : len(node.labels)]
        if kind == "energy":
            energies = [logits[label].double().logsumexp(1) for label in node.labels]
            return torch.stack(energies, dim=1).softmax(1)
        if kind == "max_confidence":
            scaled = self.guide.weigh[node.name]
            assert isinstance(scaled, Scaled)
            pairs = zip(node.labels, scaled.temperatures, strict=True)
            sure = torch.stack([(logits[label].double() / t).softmax(1).amax(1) for label, t in pairs], dim=1)
            return sure / sure.sum(1, keepdim=True)
        assert own is not None
        if kind == "soft":
            mixed = own * furthest
            return mixed / mixed.sum(1, keepdim=True) * own.sum(1, keepdim=True)
        return own

    def _descend(
        self, images: Tensor, logits: Mapping[str, Tensor], weights: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        names = answers_of(self.tree)
        none = torch.zeros_like(
            images.flatten(1)[:, 0], dtype=torch.int64
        )  # of the batch's size, whatever it is
        answer, confidence = none.long(), none.double() + 1
        whole = none > 0
        going = {self.tree.root: none == 0}
        for name, node in self.tree.nodes.items():
            here = logits[name].double() if node.leaf else (weights[name] + TINY).log().float().double()
            score, threshold = self.stops[name]
            on = going[name] & (score(here) >= threshold)
            if not node.leaf:
                on = on & (1 - weights[name].sum(1) <= weights[name].amax(1))
            turn = weights[name].argmax(1)
            share = here.softmax(1).gather(1, turn[:, None])[:, 0]
            confidence = torch.where(on, confidence * share, confidence)
            index = torch.tensor([names.index(label) for label in node.labels], device=images.device)
            answer = torch.where(on, index[turn], answer)
            if node.leaf:
                whole = whole | on
            else:
                for label, below in enumerate(node.labels):
                    going[below] = on & (turn == label)
        return answer, torch.where(answer > 0, confidence, 0.0).float(), whole


class _Model(nn.Module):
    """A classifier without Lightning's part."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.standardize, self.network = model.standardize, model.network

    def forward(self, x: Tensor, until: str | None = None) -> Tensor:
        output: Tensor = self.network(self.standardize(x), until=until)
        return output


def _score(stop: Stop) -> Callable[[Tensor], Tensor]:
    if stop.score.kind == "temperature":
        temperature = stop.scorer.learned.get("temperature", 1.0)  # none where no image arrived to learn from
        return lambda logits: SCORES["max_softmax"](logits / temperature)
    try:
        return SCORES[one_of(stop.score.kind, (*SCORES, "temperature"), "score")]
    except InputError:
        allowed = ", ".join((*SCORES, "temperature"))
        raise InputError(
            f"score={stop.score.kind} needs more than logits and cannot be exported: allowed are {allowed}."
        ) from None


def export(predictor: Predictor, file: Path) -> tuple[int, float]:
    """Write a program, after it has answered test images of the run as the predictor does.

    It is made for the CPU, and compared there: a GPU rounds in another way.

    Args:
        predictor: the loaded run, on any device; left as it was.
        file: ``.pt2`` for ``torch.export``, with the answers' names as its extra file "answers.json";
            ``.onnx`` for ONNX, with them in its metadata under "answers".

    Returns:
        Number of images compared, and their largest difference in confidence.

    Raises:
        InputError: for another suffix, a package that is missing, what cannot be exported, or a program
            that answers differently, cannot be compared or has no place on the disk.
    """
    one_of(file.suffix, (".pt2", ".onnx"), "The suffix of the file")
    images = predictor.examples
    example = torch.from_numpy(images[[0, -1]])  # two: a program traced with one would take only one
    batch = torch.export.Dim("images", min=1, max=MOST)
    with _refused("torch.export"):
        predictor = _on_cpu(predictor)
    program = Program(predictor).eval().requires_grad_(False)
    with torch.no_grad(), _refused("torch.export"):
        exported = torch.export.export(program, (example,), dynamic_shapes=({0: batch},), strict=False)
    names = json.dumps(list(answers_of(predictor.tree)))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".exporting-") as folder:
            made = Path(folder) / file.name
            name = predictor.input.name
            run = _pt2(exported, made, names) if file.suffix == ".pt2" else _onnx(exported, made, names, name)
            compared = _compare(predictor, run, images)
            made.replace(file)
    except OSError as error:
        raise InputError(f"{file} cannot be written ({error.strerror or error}).") from error
    return compared


def _on_cpu(predictor: Predictor) -> Predictor:
    """The same predictor with networks of its own on the CPU."""
    parent, heads, gates = copy.deepcopy((predictor.parent, predictor.heads, predictor.gates))
    return Predictor(
        predictor.tree,
        parent,
        heads,
        gates,
        predictor.columns,
        predictor.guide,
        predictor.stops,
        predictor.input,
        torch.device("cpu"),
        predictor.examples,
    )


@contextmanager
def _refused(by: str) -> Iterator[None]:
    """One sentence for whatever an exporter says of a network that it cannot follow.

    Raises:
        InputError: instead of any exception but those of the file system.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # exporters run anyone's module, which may raise anything
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
        raise InputError(
            f"{by} cannot write the run as one program ({type(error).__name__}: {reason})."
        ) from error


Run = Callable[[NDArray[Any]], list[NDArray[np.generic]]]


def _pt2(exported: torch.export.ExportedProgram, file: Path, names: str) -> Run:
    with warnings.catch_warnings():
        # torch groups weights by their storage and warns of every group that it can only write in part.
        warnings.simplefilter("ignore", UserWarning)
        buffer = io.BytesIO()  # torch's own writer has no sentence for a full disk
        torch.export.save(exported, buffer, extra_files={ANSWERS: names})
    file.write_bytes(buffer.getvalue())
    loaded = torch.export.load(file).module()
    return lambda images: [one.numpy() for one in loaded(torch.from_numpy(images))]


def _onnx(exported: torch.export.ExportedProgram, file: Path, names: str, inputs: str) -> Run:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401, torch asks for it
    except ImportError as error:
        raise InputError(
            f"ONNX needs the package {error.name}: pip install 'neural-branching[onnx]'."
        ) from error
    with _refused("torch.onnx"):
        program = torch.onnx.export(
            exported, (), input_names=[inputs], output_names=list(OUTPUTS), dynamo=True, verbose=False
        )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, {"answers": names})
    onnx.save(model, file)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda images: list(session.run(list(OUTPUTS), {inputs: images}))


def _compare(predictor: Predictor, run: Run, images: NDArray[Any]) -> tuple[int, float]:
    """Number of images and largest difference in confidence; refuses a program that answers differently.

    Thresholds lie on scores of images: where one is met within rounding, either answer is right.
    """
    names = answers_of(predictor.tree)
    answers, confidences, accepted = run(images)
    expected = predictor.predict(images)
    compared, difference = 0, 0.0
    for index, one in enumerate(expected):
        if any(abs(step.score - step.threshold) < 1e-4 * max(1, abs(step.score)) for step in one.trace):
            continue
        mine = names[int(answers[index])] if int(answers[index]) else None
        if mine != one.answer or bool(accepted[index]) != one.accepted:
            raise InputError(
                f"The exported program answers image {index} with {mine!r}, and the run with {one.answer!r}: "
                "nothing was written."
            )
        compared += 1
        difference = max(difference, abs(float(confidences[index]) - one.confidence))
    if not compared:
        raise InputError(
            f"Each of {len(images)} test images lies within rounding of a threshold, so that none can be "
            "compared: nothing was written."
        )
    if difference > 1e-3:
        raise InputError(f"The program's confidence is off by {difference:.2g}: nothing was written.")
    return compared, difference

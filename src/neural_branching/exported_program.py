"""A finished run as one program of tensor operations, from examples to answers."""

import copy
import io
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neural_branching.errors import InputError, one_of
from neural_branching.evaluation.acceptance import Acceptance
from neural_branching.labs.self_evaluation.answer_judge import ClassifierJudge
from neural_branching.predictor import ExamplePredictor, Predictor
from neural_branching.routing.descent import answer, descend, visits

OUTPUTS = ("answer", "confidence", "accepted")
ANSWERS = "answers.json"
P = TypeVar("P", bound=ExamplePredictor)


class Program(nn.Module):
    """A predictor as a module of tensor operations alone.

    Scores, routers and the descent are those of every evaluation: they are written for tensors too.

    Args:
        predictor: the loaded run.

    Raises:
        InputError: if a score looks at more than logits.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.tree, self.router, self.networks = predictor.tree, predictor.router, predictor.networks
        self.stages = predictor.stages
        self.scores = {name: _formula(one) for name, one in predictor.acceptances.items()}
        self.thresholds = {name: one.choice.value for name, one in predictor.acceptances.items()}

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Answers as ``Predictor.predict`` gives them.

        Args:
            batch: examples as the table holds them, shape (n, …); of texts the ids of their tokens, filled up
                with −1.

        Returns:
            Index into ``answers_of(tree)``, int64 (n,), 0 being no answer; its confidence, float32 (n,); and
            whether it is a class, bool (n,).
        """
        # Of the batch's size, whatever that will be.
        unknown = torch.zeros_like(batch.flatten(1)[:, 0], dtype=torch.int64) - 1
        outputs = self.networks.node_outputs(self.networks(batch, self.stages), unknown, unknown)
        paths = descend(self.tree, outputs, self.router)
        logits = {name: paths.logits(outputs, node).double() for name, node in self.tree.nodes.items()}

        def accepts(name: str) -> Tensor:
            accepted: Tensor = self.scores[name](logits[name]) >= self.thresholds[name]
            return accepted

        answered = answer(self.tree, paths, accepts, back_off=True)
        confidence = torch.ones_like(paths.confidence)
        whole = torch.zeros_like(unknown) > 0
        for visit in visits(self.tree, paths, accepts):
            name = visit.node.name
            share = logits[name].softmax(1).gather(1, paths.label[name][:, None])[:, 0]
            confidence = torch.where(visit.accepted, confidence * share, confidence)
            whole = whole | visit.accepted if visit.node.leaf else whole
        return answered, torch.where(answered > 0, confidence, 0.0).float(), whole


def _formula(acceptance: Acceptance) -> Callable[[Tensor], Tensor]:
    if acceptance.scorer.formula is None:
        raise InputError(
            f"score={acceptance.score.kind} needs more than logits and cannot be exported: choose a score "
            "that is a formula of the logits, such as max_softmax or temperature."
        )
    return acceptance.scorer.formula


def export(predictor: ExamplePredictor, file: Path) -> tuple[int, float]:
    """Write a program, after it has answered test examples of the run as the predictor does.

    It is made for the CPU, and compared there: a GPU rounds in another way.

    Args:
        predictor: the loaded run, on any device; left as it was.
        file: ``.pt2`` for ``torch.export``, with the answers' names as its extra file "answers.json";
            ``.onnx`` for ONNX, with them in its metadata under "answers".

    Returns:
        Number of examples compared, and their largest difference in confidence.

    Raises:
        InputError: for another suffix, a package that is missing, what cannot be exported, such as a judge of
            written answers, or a program that answers differently, cannot be compared or has no place on the
            disk.
    """
    one_of(file.suffix, (".pt2", ".onnx"), "The suffix of the file")
    if not isinstance(predictor, Predictor | ClassifierJudge):
        raise InputError(
            "The run judges the answers of a language model, which is no single program: use predict, or "
            "nb.load in Python."
        )
    examples = predictor.encoded(torch.from_numpy(np.array(predictor.examples)))
    example = examples[[0, -1]]  # two: a program traced with one would take only one
    sizes = {0: torch.export.Dim("examples", min=1)}
    tokenizer = predictor.networks.parent.network.tokenizer
    if tokenizer:
        sizes[1] = torch.export.Dim("tokens", min=2, max=tokenizer.tokens)
    with _refused("torch.export"):
        predictor = _on_cpu(predictor)
    program = Program(predictor) if isinstance(predictor, Predictor) else predictor.program()
    program = program.eval().requires_grad_(False)
    with torch.no_grad(), _refused("torch.export"):
        exported = torch.export.export(program, (example,), dynamic_shapes=(sizes,), strict=False)
    names = json.dumps(list(predictor.answers))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".exporting-") as folder:
            made = Path(folder) / file.name
            name = predictor.input.name
            run = _pt2(exported, made, names) if file.suffix == ".pt2" else _onnx(exported, made, names, name)
            compared = _compare(predictor, run, examples.numpy())
            made.replace(file)
    except OSError as error:
        raise InputError(f"{file} cannot be written ({error.strerror or error}).") from error
    return compared


def _on_cpu(predictor: P) -> P:
    """The same predictor with networks of its own on the CPU."""
    mine = copy.copy(predictor)
    mine.networks, mine.device = copy.deepcopy(predictor.networks).cpu(), torch.device("cpu")
    return mine


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
    return lambda examples: [one.numpy() for one in loaded(torch.from_numpy(examples))]


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
    return lambda examples: list(session.run(list(OUTPUTS), {inputs: examples}))


def _compare(predictor: ExamplePredictor, run: Run, examples: NDArray[Any]) -> tuple[int, float]:
    """Number of examples and largest difference in confidence; refuses a program that answers differently.

    Thresholds lie on scores of examples: where one is met within rounding, either answer is right.
    """
    names = predictor.answers
    answers, confidences, accepted = run(examples)
    expected = predictor.predict(predictor.examples)
    compared, difference = 0, 0.0
    for index, one in enumerate(expected):
        if any(abs(step.score - step.threshold) < 1e-4 * max(1, abs(step.score)) for step in one.trace):
            continue
        mine = names[int(answers[index])] if int(answers[index]) else None
        if mine != one.answer or bool(accepted[index]) != one.accepted:
            raise InputError(
                f"The exported program answers example {index} with {mine!r}, and the run with "
                f"{one.answer!r}: nothing was written."
            )
        compared += 1
        difference = max(difference, abs(float(confidences[index]) - one.confidence))
    if not compared:
        raise InputError(
            f"Each of {len(examples)} test examples lies within rounding of a threshold, so that none can be "
            "compared: nothing was written."
        )
    if difference > 1e-3:
        raise InputError(f"The program's confidence is off by {difference:.2g}: nothing was written.")
    return compared, difference

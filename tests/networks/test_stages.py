"""Networks stop where they are told to, and cost what the closed forms say."""

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from neural_branching.errors import InputError
from neural_branching.networks.convnet import ConvNet
from neural_branching.networks.mlp import MLP
from neural_branching.networks.staged import StagedNetwork
from neural_branching.networks.standardize import Standardize

IMAGE = (3, 32, 32)
CONV_STAGES = ("stem", "block1", "block2", "block3", "pool", "logits")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Explodes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("a stage behind the branch point was run")


def small(kind: str, dropout: float = 0.0) -> StagedNetwork:
    torch.manual_seed(0)
    return MLP((3, 8, 8), 4, [6, 5], dropout) if kind == "mlp" else ConvNet((3, 8, 8), 4, 2)


def images(n: int = 5) -> Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def macs(network: StagedNetwork, shape: tuple[int, ...], until: str | None = None) -> int:
    """Multiply–accumulates of one input."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network.to("meta").eval()(torch.empty(1, *shape), until=until)
    return counter.get_total_flops() // 2


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_stage_names_are_in_order() -> None:
    assert MLP(IMAGE, 6, [8, 4, 2]).stage_names == ("hidden1", "hidden2", "hidden3", "logits")
    assert MLP(IMAGE, 6).stage_names == ("logits",)
    assert ConvNet(IMAGE, 6, 2).stage_names == CONV_STAGES


def test_a_block_without_a_shortcut_is_its_convolutions() -> None:
    residual, plain = ConvNet(IMAGE, 6, 2), ConvNet(IMAGE, 6, 2, residual=False)
    shortcuts = {name: value for name, value in residual.state_dict().items() if "shortcut" in name}
    plain.load_state_dict({n: value for n, value in residual.state_dict().items() if n not in shortcuts})
    with torch.no_grad():
        for name, value in residual.named_parameters():
            if "shortcut.1" in name:  # its batch norm gives nothing
                value.zero_()
    assert torch.equal(residual.eval()(torch.ones(2, *IMAGE)), plain.eval()(torch.ones(2, *IMAGE)))
    assert plain.block_units == {"block1": 4, "block2": 8, "block3": 16}
    with pytest.raises(InputError, match=r"^residual is 'no': it must be true or false\.$"):
        ConvNet(IMAGE, 6, 2, residual="no")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_stopping_at_a_stage_gives_that_stage_of_a_full_pass(kind: str) -> None:
    network, x = small(kind).eval(), images()
    outputs = dict(network.walk(x, network.stage_names))
    assert tuple(outputs) == network.stage_names
    for name, output in outputs.items():
        assert torch.equal(network(x, until=name), output)
    assert torch.equal(network(x), outputs["logits"])
    assert outputs["logits"].shape == (5, 4)


@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_stages_behind_the_branch_point_are_never_run(kind: str) -> None:
    network = small(kind).eval()
    expected = dict(network.walk(images(), network.stage_names))
    for position, name in reversed(list(enumerate(network.stage_names))):
        for later in network.stage_names[position + 1 :]:
            network.stages[later] = Explodes()
        assert torch.equal(network(images(), until=name), expected[name])
    with pytest.raises(AssertionError, match="behind the branch point"):
        network(images())


def test_unknown_stage_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"'hiden2'.*did you mean 'hidden2'.*hidden1, hidden2, logits"):
        small("mlp")(images(), until="hiden2")


def test_hidden_stages_are_post_relu_and_the_mlp_is_the_textbook_formula() -> None:
    network, x = small("mlp", dropout=0.5).eval(), images()
    h1, h2, out = (network.stages[name][1] for name in network.stage_names)
    hidden1 = F.relu(F.linear(x.flatten(1), h1.weight, h1.bias))
    hidden2 = F.relu(F.linear(hidden1, h2.weight, h2.bias))
    outputs = dict(network.walk(x, network.stage_names))
    assert torch.equal(outputs["hidden1"], hidden1)
    assert torch.equal(outputs["hidden2"], hidden2)
    assert torch.equal(outputs["logits"], F.linear(hidden2, out.weight, out.bias))
    assert (outputs["hidden1"] == 0).any()
    assert (outputs["logits"] < 0).any()


def test_dropout_sits_at_the_input_of_the_next_layer() -> None:
    network, x = small("mlp", dropout=0.5), images(64)
    clean = network.eval()(x, until="hidden1")
    network.train()
    torch.manual_seed(3)
    outputs = dict(network.walk(x, network.stage_names))
    torch.manual_seed(3)
    dropped = F.dropout(clean, 0.5, training=True)
    assert not torch.equal(dropped, clean)
    assert torch.equal(outputs["hidden1"], clean)  # not dropped out itself
    expected = F.relu(network.stages["hidden2"][1](dropped))
    assert torch.equal(outputs["hidden2"], expected)  # its input was, its output was not
    assert not torch.equal(network(x), network(x))


def test_mlp_without_widths_is_linear() -> None:
    torch.manual_seed(0)
    network = MLP((3, 2, 2), 4, dropout=0.5).train()
    x, y = torch.randn(2, 7, 3, 2, 2).double()
    network.double()
    zero = network(torch.zeros_like(x))
    torch.testing.assert_close(
        network(2 * x - 3 * y) - zero, 2 * (network(x) - zero) - 3 * (network(y) - zero)
    )
    assert parameters(network) == 12 * 4 + 4


def test_convnet_shapes_and_size() -> None:
    network = ConvNet(IMAGE, 6).eval()
    outputs = network.walk(torch.zeros(2, *IMAGE), network.stage_names)
    shapes = {name: tuple(output.shape) for name, output in outputs}
    assert shapes == {
        "stem": (2, 16, 32, 32),
        "block1": (2, 32, 16, 16),
        "block2": (2, 64, 8, 8),
        "block3": (2, 128, 4, 4),
        "pool": (2, 128),
        "logits": (2, 6),
    }
    assert parameters(network) == pytest.approx(0.3e6, rel=0.1)


def test_convnet_stages_are_post_relu_and_pool_is_the_global_mean() -> None:
    network = small("convnet").eval()
    outputs = dict(network.walk(images(), network.stage_names))
    for name in CONV_STAGES[:4]:
        assert (outputs[name] >= 0).all()
        assert (outputs[name] == 0).any()
    torch.testing.assert_close(outputs["pool"], outputs["block3"].mean((2, 3)))


@pytest.mark.parametrize("widths", [[], [7], [1024, 512]])
def test_mlp_parameters_and_macs(widths: list[int]) -> None:
    sizes = [3072, *widths, 6]
    products = [a * b for a, b in pairwise(sizes)]
    network = MLP(IMAGE, 6, widths, 0.3)
    assert parameters(network) == sum(products) + sum(sizes[1:])
    assert macs(network, IMAGE) == sum(products)
    for depth in range(len(widths)):
        assert macs(network, IMAGE, until=f"hidden{depth + 1}") == sum(products[: depth + 1])


def test_macs_of_the_original_experiment() -> None:
    parent = MLP(IMAGE, 6, [1024, 512])
    assert macs(parent, IMAGE) == 3_673_088
    at_hidden2 = macs(MLP((512,), 3, [256]), (512,))
    assert at_hidden2 == 131_840
    assert macs(parent, IMAGE, until="hidden2") + at_hidden2 == 3_801_856
    at_hidden1 = macs(MLP((1024,), 3, [256]), (1024,))
    assert macs(parent, IMAGE, until="hidden1") + at_hidden1 == 3_408_640


def test_convnet_macs_by_stage() -> None:
    side, channels, expected = 32, 16, {"stem": 9 * 3 * 16 * 32 * 32}
    for block in ("block1", "block2", "block3"):
        side //= 2
        kernels = 9 * channels * 2 * channels + 9 * (2 * channels) ** 2 + channels * 2 * channels
        channels *= 2
        expected[block] = kernels * side * side
    network = ConvNet(IMAGE, 6)
    total = 0
    for name, cost in expected.items():
        total += cost
        assert macs(network, IMAGE, until=name) == total
    assert macs(network, IMAGE) == total + 128 * 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": [0]}, "widths"),
        ({"widths": [8, 2.5]}, "widths"),
        ({"dropout": 1.0}, "dropout is 1"),
        ({"dropout": -0.1}, "dropout"),
        ({"dropout": float("nan")}, "dropout"),
    ],
)
def test_mlp_refuses_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MLP(IMAGE, 6, **arguments)


@pytest.mark.parametrize("width", [0, -1, 1.5, True])
def test_convnet_refuses_bad_widths(width: object) -> None:
    with pytest.raises(InputError, match="width"):
        ConvNet(IMAGE, 6, width)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 4, 5)])
def test_standardised_training_images_have_mean_0_and_std_1(shape: tuple[int, ...]) -> None:
    x = torch.randint(0, 256, (300, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    x[:, 1] //= 7
    standardize = Standardize(shape)
    standardize.learn(x)
    result = standardize(x)
    assert result.dtype == torch.float32
    pooled = (0, 2, 3) if shape[1] == 1 else (0,)
    torch.testing.assert_close(result.mean(pooled), torch.zeros_like(result.mean(pooled)), atol=1e-5, rtol=0)
    std = result.std(pooled, correction=0)
    torch.testing.assert_close(std, torch.ones_like(std), atol=1e-5, rtol=0)


def test_a_new_standardize_changes_nothing() -> None:
    x = torch.arange(6, dtype=torch.uint8).view(2, 3)
    assert torch.equal(Standardize((3,))(x), x.float())


def test_chunks_equal_the_direct_formula() -> None:
    x = torch.randn(4096 * 2 + 5, 3, generator=torch.Generator().manual_seed(0)) * 4 + 7
    standardize = Standardize((3,))
    standardize.learn(x)
    direct = x.double()
    torch.testing.assert_close(standardize.mean, direct.mean(0).float())
    torch.testing.assert_close(standardize.inverse_std, 1 / direct.std(0, correction=0).float())


@pytest.mark.parametrize("constant", [0.0, 1.0, 255.0, 0.1, 1000.1])
def test_constant_dimensions_are_only_centred(constant: float) -> None:
    x = torch.randn(1050, 2, generator=torch.Generator().manual_seed(0))
    x[:, 1] = constant
    standardize = Standardize((2,))
    standardize.learn(x)
    assert standardize.inverse_std[1] == 1
    seen = standardize(torch.tensor([[0.0, constant], [0.0, constant + 2]]))[:, 1]
    torch.testing.assert_close(seen, torch.tensor([0.0, 2.0]), atol=1e-3, rtol=0)


def test_statistics_travel_with_the_weights() -> None:
    learned, loaded = Standardize((2,)), Standardize((2,))
    learned.learn(torch.tensor([[0.0, 1.0], [4.0, 3.0]]))
    loaded.load_state_dict(learned.state_dict())
    assert torch.equal(loaded(torch.tensor([[4.0, 1.0]])), torch.tensor([[1.0, -1.0]]))
    assert not list(learned.parameters())  # nothing to train


def test_a_unit_that_hardly_fires_in_training_does_not_drown_the_others() -> None:
    x = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 0
    x[0, 1] = 1e-3
    standardize = Standardize((2,))
    standardize.learn(x)
    seen = standardize(torch.tensor([[0.5, 3.0], [0.5, -3.0]]))
    assert seen[:, 1].tolist() == [5, -5]
    assert seen[:, 0].abs().max() < 1


def test_constants_stay_and_cut_nothing_off() -> None:
    constant = Standardize((), ([0.0], [1.0]))
    x = torch.tensor([[-80.0, 3.0], [1e30, -0.0]])
    constant.learn(x)
    assert torch.equal(constant(x), x)
    scaled = Standardize((2, 1), ([1.0, 2.0], [4.0, 0.5]))
    assert torch.equal(scaled(torch.full((1, 2, 3), 101.0))[0, :, 0], torch.tensor([25.0, 198.0]))


def test_a_narrow_convnet_learns_and_does_no_harm() -> None:
    """A fault of oneDNN's would end the process."""
    code = (
        "import torch; from neural_branching.networks.convnet import ConvNet\n"
        "for width in (2, 5, 7):\n"
        "    network = ConvNet((3, 16, 16), 4, width)\n"
        "    for size in (64, 12) * 6:\n"
        "        outputs = dict(network.walk(torch.randn(size, 3, 16, 16), ['logits']))\n"
        "        outputs['logits'].square().mean().backward()\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0

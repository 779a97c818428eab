"""Parallel encoder–decoders whose outputs are added up."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neural_branching.errors import ArgumentError, InputError, one_of, whole
from neural_branching.selection.array_types import Float, Float32, Int64

NORMS = {"none": None, "instance": nn.InstanceNorm2d, "batch": nn.BatchNorm2d}
COMBINE = ("sum", "mean")


class BranchedAutoencoder(nn.Module):
    """B autoencoders that see the same image and pass nothing to one another: x̂ = Σ Ψ_b(x).

    Our own reconstruction of the networks of Brokman & Gilboa. Branches are alike but for their initial
    weights. (They run one after another: grouped convolutions were no faster.)

    Args:
        in_shape: (channels, height, width) of an image.
        branches: number of branches; 1 is an ordinary autoencoder.
        width: channels of a branch's first layer, doubled by each further one.
        depth: convolutions of an encoder, and of a decoder.
        latent: numbers that a branch keeps of an image; None for its last maps as they are, which keep where
            things are and far more detail.
        stride: by which each convolution shrinks the image; kernels have a side of stride + 2.
        norm: "none", "instance" or "batch", after every hidden convolution. Instance norm makes branches take
            equal shares and doubled the error in a pilot.
        combine: "sum" or "mean" of the branches' outputs.
        variational: whether encoders give a mean and a log variance (Kingma & Welling, 2014).

    Raises:
        InputError: for values outside their ranges, and a size that the strides do not divide.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        branches: int = 3,
        width: int = 16,
        depth: int = 3,
        latent: int | None = 32,
        stride: int = 2,
        norm: str = "none",
        combine: str = "sum",
        variational: bool = False,
    ) -> None:
        super().__init__()
        whole(branches, "branches", 1)
        whole(width, "width", 1)
        shrunk = whole(stride, "stride", 2) ** whole(depth, "depth", 1)
        for size in in_shape[1:]:
            if size % shrunk:
                raise ArgumentError(
                    "stride",
                    f"is {stride} and depth {depth}, which divide an image's side by {shrunk}: {size} is no "
                    "multiple of it.",
                )
        self.in_shape = tuple(in_shape)
        self.scale = 1 / branches if one_of(combine, COMBINE, "combine") == "mean" else 1.0
        if one_of(norm, NORMS, "norm") != "none" and shrunk in in_shape[1:]:
            raise ArgumentError(
                "norm", f"is {norm!r}, and the smallest maps have one pixel: take fewer layers, or none."
            )
        if latent is not None:
            whole(latent, "latent", 1)
        elif variational:
            raise ArgumentError("latent", "is None: a variational autoencoder draws codes, so give a number.")
        self.branches = nn.ModuleList(
            AutoencoderBranch(in_shape, width, depth, latent, stride, norm, variational=variational)
            for _ in range(branches)
        )

    def forward(
        self, x: Float32[Tensor, "n c h w"], *, sample: bool = False
    ) -> tuple[Float32[Tensor, "n b c h w"], Float32[Tensor, " n"]]:
        """What every branch contributes, and the branches' KL divergence from a standard normal.

        Args:
            x: standardised images.
            sample: whether codes of a variational autoencoder are drawn; otherwise they are their means.

        Returns:
            Parts, whose sum over the branches is the reconstruction; and of each image the divergence in
            nats, 0 unless the autoencoder is variational.
        """
        parts, divergence = [], x.new_zeros(len(x))
        for branch in self._each():
            code, kl = branch.encode(x, sample=sample)
            parts.append(self.scale * branch.decode(code))
            divergence = divergence + kl
        return torch.stack(parts, 1), divergence

    def divided(
        self, x: Float32[Tensor, "n c h w"], owners: Int64[Tensor, " units"], count: int
    ) -> Float32[Tensor, "n b c h w"]:
        """The output of a single branch as a sum of parts: those of groups of its last hidden units.

        The last layer is linear, so that parts add up to the reconstruction, its bias shared out evenly.

        Args:
            x: standardised images.
            owners: the part of each unit of the last hidden layer.
            count: number of parts.

        Raises:
            InputError: if there are several branches.
        """
        if len(self.branches) > 1:
            raise InputError(f"A network of {len(self.branches)} branches is divided by them already.")
        [branch] = self._each()
        hidden = branch.body(branch.encode(x)[0])
        last = branch.last
        bias = None if last.bias is None else last.bias / count
        parts = [
            F.conv_transpose2d(hidden[:, mine], last.weight[mine], bias, last.stride, 1)
            for mine in (owners == part for part in range(count))
        ]
        return self.scale * torch.stack(parts, 1)

    @property
    def last_units(self) -> int:
        """Number of a branch's last hidden units."""
        return next(self._each()).last.in_channels

    def _each(self) -> "Iterator[AutoencoderBranch]":
        for branch in self.branches:
            assert isinstance(branch, AutoencoderBranch)
            yield branch


class AutoencoderBranch(nn.Module):
    """One encoder–decoder; arguments as of ``BranchedAutoencoder``."""

    def __init__(
        self,
        in_shape: Sequence[int],
        width: int,
        depth: int,
        latent: int | None,
        stride: int,
        norm: str,
        *,
        variational: bool,
    ) -> None:
        super().__init__()
        widths = [in_shape[0], *(width * 2**layer for layer in range(depth))]
        small = (widths[-1], *(size // stride**depth for size in in_shape[1:]))
        flat = small[0] * small[1] * small[2]
        kernel = stride + 2
        encoder: list[nn.Module] = []
        for before, after in pairwise(widths):
            encoder += [nn.Conv2d(before, after, kernel, stride, 1), *_norm(norm, after), nn.ReLU()]
        self.variational = variational
        decoder: list[nn.Module] = []
        if latent is not None:
            encoder += [nn.Flatten(), nn.Linear(flat, latent * (1 + variational))]
            decoder = [nn.Linear(latent, flat), nn.ReLU(), nn.Unflatten(1, small)]
        self.encoder = nn.Sequential(*encoder)
        for before, after in zip(widths[:1:-1], widths[-2:0:-1], strict=True):
            decoder += [nn.ConvTranspose2d(before, after, kernel, stride, 1), *_norm(norm, after), nn.ReLU()]
        self.body = nn.Sequential(*decoder)
        self.last = nn.ConvTranspose2d(width, in_shape[0], kernel, stride, 1)

    def encode(
        self, x: Float[Tensor, "n c h w"], *, sample: bool = False
    ) -> tuple[Float[Tensor, "n ..."], Float[Tensor, " n"]]:
        """Codes, and their KL divergence."""
        code: Tensor = self.encoder(x)
        if not self.variational:
            return code, code.new_zeros(len(code))
        mean, log_variance = code.chunk(2, 1)
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
        if sample:
            mean = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        return mean, divergence

    def decode(self, code: Float[Tensor, "n ..."]) -> Float[Tensor, "n c h w"]:
        """Images of codes."""
        output: Tensor = self.last(self.body(code))
        return output

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The branch's own output, without sampling."""
        return self.decode(self.encode(x)[0])


def _norm(norm: str, channels: int) -> list[nn.Module]:
    kind = NORMS[norm]
    return [kind(channels, affine=True)] if kind else []

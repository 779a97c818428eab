"""The device that the tests run on, and how closely they compare numbers there: ``make test DEVICE=cuda``.

Whatever trains or predicts takes its device from here; no test uses a GPU unless it is told to. Benchmarks
stay on the CPU. On the CPU, with one thread, all is asked to the bit that the product promises to the bit.
"""

import os

import pytest

DEVICE = os.environ.get("DEVICE", "cpu")
ON_CPU = DEVICE == "cpu"
TRAINER = (f"trainer.accelerator={DEVICE}", "trainer.threads=1")
ON_GPU = pytest.mark.skipif(DEVICE != "cuda", reason="shows itself on a GPU alone: DEVICE=cuda")

# Within what numbers are equal: absolutely, and of tensors relatively as well.
# The same computation once more. CUDA's libraries promise the same bits for products, not for convolutions.
REPEATED = 0.0 if ON_CPU else 1e-4
# The same network on the device and on the CPU. CUDA convolves in TF32, with 11 bits of each number.
ELSEWHERE = 0.0 if ON_CPU else 1e-2
# Branches trained at once and alone, or in other stacks, add up in another order: on CPUs 1e-8 was seen.
TOGETHER = 1e-6 if ON_CPU else 1e-4

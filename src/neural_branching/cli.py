"""The command ``neural-branching``. Heavy imports happen inside a command, after its input is checked."""

import sys
from importlib import import_module

from neural_branching.commands import terminal
from neural_branching.errors import InputError, one_of, refused_file

INTERRUPTED = 130  # the exit code of what Ctrl-C ends

# Name, which is that of its module in ``commands`` → what is typed behind it, and what it does.
COMMANDS = {
    "train": (
        "[-m] [OVERRIDES]",
        "parent → activations → branch → threshold; -m sweeps comma-separated values",
    ),
    "route": (
        "[-m] [OVERRIDES]",
        "a tree of branches as one: routers compared, answers backed off or refused",
    ),
    "cascade": (
        "[-m] [OVERRIDES]",
        "branches at several depths: answer at the first that is sure enough, with a certificate",
    ),
    "study": ("[OVERRIDES]", "train -m over all main stages of the parent: accuracy, AURC and MACs by depth"),
    "stages": (
        "[OVERRIDES]",
        "the parent's branch points: shape, readout, MACs and parameters, without training",
    ),
    "init": ("data FOLDER", "the configuration of a data set of yours, with its classes, to fill in"),
    "specialize": (
        "[-m] [OVERRIDES]",
        "laboratory: do branches of a layer specialise by themselves, and what is it worth?",
    ),
    "decompose": (
        "[-m] [OVERRIDES]",
        "laboratory: what do parallel branches of an autoencoder take apart?",
    ),
    "explain": (
        "[-m] [OVERRIDES]",
        "laboratory: does one branch of an autoencoder hold what a frozen classifier goes by?",
    ),
    "judge": (
        "[-m] [OVERRIDES]",
        "laboratory: do branches know whether their parent is right, and better than it does?",
    ),
    "predict": (
        "RUN FILES ...",
        "what a finished run answers to files or folders of them, with a trace",
    ),
    "export": ("RUN FILE", "a finished run as one program: FILE.pt2 (torch.export) or FILE.onnx"),
    "report": ("FOLDER", "table and figures of every run below a folder; --compare A B pairs two settings"),
    "store": ("ACTION [FOLDER]", "list what is kept, verify that it is whole, prune what no run needs"),
    "simulate": (
        "FOLDER",
        "what each guaranteed threshold would keep with other numbers of calibration examples",
    ),
}

_LINES = "\n".join(f"  {f'{name} {typed}':<24} {what}" for name, (typed, what) in COMMANDS.items())
HELP = f"""\
neural-branching: grow small, selective networks from the layers of a frozen parent.

usage: neural-branching COMMAND ...

commands:
{_LINES}

examples:
  neural-branching train subset=lower branch_point=hidden1 threshold.value=0.8
  neural-branching train -m subset=digits,upper,lower branch_point=hidden1,hidden2
  neural-branching train experiment=cifar100_fish
  neural-branching train subset=lower baselines=all
  neural-branching init data photos/
  neural-branching stages parent=torchvision parent.model=resnet18
  neural-branching study subset=digits,upper,lower parent=convnet
  neural-branching train -m "score=glob(*)" threshold=coverage
  neural-branching route hierarchy=glyphs_by_case router=soft threshold=risk threshold.target=0.1
  neural-branching cascade "stages=[hidden1,hidden2]" promise.target=0.05
  neural-branching predict outputs/runs/NAME photos/ --output answers.csv
  neural-branching specialize -m parent.network.branches=2,4 parent.network.width=32
  neural-branching decompose autoencoder.network.branches=4
  neural-branching explain subset=upper
  neural-branching judge parent=convnet
  neural-branching report outputs/sweeps/NAME --where subset=digits --sort aurc --top 10
  neural-branching report outputs/sweeps/NAME --compare score=margin score=energy
  neural-branching store prune outputs --dry-run
  neural-branching study search=pareto subset=digits
  neural-branching train -m hydra/launcher=joblib "seed=range(20)"
  neural-branching simulate outputs/sweeps/NAME --target 0.1 --examples 300 1000 3000

`neural-branching train --help` lists every option and its value."""


def main() -> None:
    """Entry point of the console script."""
    terminal.prepare()
    arguments = sys.argv[1:]
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(HELP)
        else:
            name = one_of(arguments[0], COMMANDS, "The command")
            import_module(f"neural_branching.commands.{name}").main(arguments[1:])
        sys.stdout.flush()
    except InputError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("Interrupted: the same command continues with what is finished.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except OSError as error:
        if sentence := refused_file(error):
            sys.exit(str(sentence))
        raise
    if not arguments:
        sys.exit(2)

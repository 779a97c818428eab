"""``python -m neural_branching`` is the same as the command ``neural-branching``."""

from neural_branching.cli import main

if __name__ == "__main__":
    main()

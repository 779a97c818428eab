"""How well confidences tell right answers from wrong ones on test, and what each of them can promise."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neural_branching.evaluation.selective import acceptance_intervals, areas_of, resampled, selective
from neural_branching.labs.self_evaluation.confidences import Rows, Scores
from neural_branching.selection import risk_coverage_curve
from neural_branching.selection.area_intervals import area_intervals
from neural_branching.selection.array_types import Bool, Int64
from neural_branching.selection.arrays import Floats
from neural_branching.selection.exchangeability import exchangeability
from neural_branching.selection.intervals import Bootstrap, percentile_interval
from neural_branching.selection.row_groups import one_per_group
from neural_branching.selection.thresholds.threshold import Choice, HeldOut, Threshold

AREAS = ("failure_auroc", "aurc", "augrc")


@dataclass(frozen=True)
class Rater:
    """What confidences are rated on.

    Attributes:
        wrong: whether each answer is, of all rows of the table.
        rows: "validation", "calibration" and "test".
        groups: of all rows; None where each is by itself. Certificates then count groups.
        rule: how the smallest accepted confidence is chosen.
    """

    wrong: Bool[np.ndarray, " n"]
    rows: Rows
    groups: Int64[np.ndarray, " n"] | None
    rule: Threshold

    def rate(self, scores: Mapping[str, Scores], reference: str) -> dict[str, dict[str, Any]]:
        """Name → areas with 95 % intervals, the threshold and what it does, and differences to a reference.

        Differences are paired: each resample of the test examples, or of whole groups, gives both areas.

        Args:
            scores: name → confidences, of all rows.
            reference: one of the names.
        """
        test = self.rows["test"]
        bootstrap = Bootstrap(len(test), groups=self._groups("test"))
        drawn = {
            name: resampled(areas_of, bootstrap.curves(one[test], self.wrong[test]))
            for name, one in scores.items()
        }
        found = {name: self._alone(one, drawn[name]) for name, one in scores.items()}
        for name, one in found.items():
            one["difference"] = {
                area: {
                    "value": one[area] - found[reference][area],
                    "interval": percentile_interval(drawn[name][area] - drawn[reference][area]),
                }
                for area in AREAS
            }
        return found

    def choice(self, scores: Scores) -> Choice:
        """The smallest confidence that is accepted.

        Args:
            scores: of all rows.
        """
        return self.rule.fit(self._held_out(scores))

    def _alone(self, scores: Scores, drawn: Mapping[str, Floats]) -> dict[str, Any]:
        test, groups = self.rows["test"], self._groups("test")
        score, wrong = scores[test], self.wrong[test]
        choice = self.choice(scores)
        if groups is None:
            areas = area_intervals(risk_coverage_curve(score, wrong))
        else:
            areas = {name: percentile_interval(values) for name, values in drawn.items()}
        calibration = self.rows["calibration"]
        sides = None if groups is None else (self._groups("calibration"), groups)
        alike = exchangeability(scores[calibration], score, sides)  # type: ignore[arg-type]
        return {
            **selective(score, wrong, choice.value),
            "intervals": {**areas, **acceptance_intervals(score, wrong, [choice.value], groups)[0]},
            "threshold": choice.value,
            "n_calibration": choice.n,
            "certificate": asdict(choice.certificate) if choice.certificate else None,
            "shortage": choice.shortage.sentence if choice.shortage else None,
            "exchangeability": vars(alike),
        }

    def _held_out(self, scores: Scores) -> HeldOut:
        """What the threshold is fitted on: of each calibration group one row."""
        rows, validation, groups = (
            self.rows["calibration"],
            self.rows["validation"],
            self._groups("calibration"),
        )
        if groups is not None:
            left = one_per_group(groups)
            rows, groups = rows[left], groups[left]
        return HeldOut(
            score=scores[rows],
            error=self.wrong[rows],
            validation_score=scores[validation],
            validation_error=self.wrong[validation],
            foreign_score=np.empty(0),
            groups=groups,
        )

    def _groups(self, split: str) -> Int64[np.ndarray, " m"] | None:
        return None if self.groups is None else self.groups[self.rows[split]]

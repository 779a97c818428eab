"""Is a short answer right? Equal to an accepted one, but for case, accents, punctuation and an article."""

import re
import unicodedata
from collections.abc import Iterable


def plain(answer: str) -> str:
    """An answer as it is compared: small letters and digits of any script, single spaces, no "the" first."""
    letters = unicodedata.normalize("NFKD", answer.casefold())
    bare = "".join(one for one in letters if not unicodedata.combining(one))
    return re.sub(r"^the ", "", " ".join(re.findall(r"\w+", bare)))


def accepts(answer: str, accepted: Iterable[str]) -> bool:
    """Whether an answer is one of the accepted; an empty one never is."""
    given = plain(answer)
    return bool(given) and given in {plain(one) for one in accepted}

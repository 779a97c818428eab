"""What a run has built, and what it has found."""

from collections.abc import Mapping
from typing import Any


def provenance(results: Mapping[str, Any]) -> str:
    """What a run built and what it found in the store, as a phrase."""
    artifacts = results["artifacts"]
    built = [
        f"{name} ({entry['build_seconds']:.1f} s)" for name, entry in artifacts.items() if entry["built"]
    ]
    found = [name for name, entry in artifacts.items() if not entry["built"]]
    parts = [f"built {', '.join(built)}"] if built else []
    parts += [f"reused {', '.join(found)}"] if found else []
    return "; ".join(parts)

"""All reproductions by name, with their claims. Modules that need torch are imported when played."""

from collections.abc import Mapping

from harness.reproduce import categorical
from harness.reproduce.outcome import Reproduction


def named(name: str) -> Reproduction:
    """Raises ValueError with the names there are."""
    for known, reproduction in CATALOGUE.items():
        if known.lower() == name.lower():
            return reproduction
    raise ValueError(f"no reproduction {name!r}; choose one of {', '.join(CATALOGUE)}")


CATALOGUE: Mapping[str, Reproduction] = {
    one.name: one
    for one in (
        Reproduction(
            name="E5",
            claim="refitting a categorical distribution to its own draws loses diversity by an exact law; "
            "accumulating bounds the loss",
            source="closed form; the workflows are those of Gerstgrasser et al. 2404.01413",
            cost="seconds",
            play=categorical.closed_form,
        ),
        Reproduction(
            name="E5b",
            claim="rare types go first; fresh data delays that, accumulating prevents it, low T hastens it",
            source="Shumailov et al. 2305.17493; Kazdan et al. 2410.16713 (fixed-budget accumulation)",
            cost="seconds",
            play=categorical.tail_table,
        ),
    )
}

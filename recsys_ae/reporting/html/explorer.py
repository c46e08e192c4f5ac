"""The explorer of a page: what some users did, and what each model shows them."""

from recsys_ae.reporting.html.blocks import Block, Lists, Notes
from recsys_ae.reporting.html.facts import Explained, Explorer

WHY: dict[Explained, str] = {
    "weights": "{models}: unfold an item to see which items of the history add most to its score (exact "
    "contributions), and the part of the score that does not depend on the history, if any.",
    "left out": "{models}: unfold an item to see which items of the history its score depends on most, by leaving out each "
    "in turn (for the first users only).",
    "independent": "{models}: no reasons, because no single item of the history adds to the score of a listed item.",
    "costly": "{models}: no reasons, because leaving out each item of these long histories in turn would take too long.",
    "indivisible": "{models}: no reasons, because users cannot be scored without a part of their history.",
    "cold": "{models}: no reasons, because none of these users can be scored.",
}


def explorer_blocks(explorer: Explorer | None) -> list[Block]:
    """The explorer and how to read it."""
    if explorer is None:
        return []
    n = len(explorer.users)
    drawn = "all users" if n == explorer.relevant_users else f"{n} of the {explorer.relevant_users:,} users"
    how = "" if n == explorer.relevant_users else ", drawn at random with seed 0"
    explained = {kind: [model for model, own in explorer.explained.items() if own == kind] for kind in WHY}
    lines = [
        f"{drawn.capitalize()} with relevant items in the test part{how}. ✓ marks items of the test part that are relevant.",
        *(WHY[kind].format(models=", ".join(models)) for kind, models in explained.items() if models),
    ]
    content = {
        "k": explorer.k,
        "inTime": explorer.in_time,
        "models": list(explorer.explained),
        "items": [[one, title] if title is not None else [one] for one, title in explorer.items],
        "users": [
            {
                "id": user.id,
                "known": user.known,
                "history": [[item, rating] if rating is not None else [item] for item, rating in user.history],
                "relevant": user.relevant,
                "lists": {
                    label: [part for part in (own.items, own.why, own.constants) if part is not None]
                    for label, own in user.lists.items()
                },
            }
            for user in explorer.users
        ],
    }
    return [Notes(lines), Lists(content)]

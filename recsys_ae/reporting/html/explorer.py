"""The explorer of a page: what some users did, and what each model shows them."""

from recsys_ae.reporting.html.blocks import Block, Lists, Notes
from recsys_ae.reporting.html.facts import Explorer

WHY = {
    "weights": "exact contributions of the items of the history to the score",
    "left out": "how far the score falls without an item of the history, for some of the users",
    "no": "no reasons, because its scores do not depend on single items of the history, or it would take too long",
}


def explorer_blocks(explorer: Explorer | None) -> list[Block]:
    """The explorer and how to read it."""
    if explorer is None:
        return []
    n = len(explorer.users)
    drawn = "all users" if n == explorer.relevant_users else f"{n} of the {explorer.relevant_users:,} users"
    how = "" if n == explorer.relevant_users else ", drawn at random with seed 0"
    told = dict.fromkeys(explorer.explained.values())
    reasons = [f"{WHY[kind]}: {', '.join(m for m, own in explorer.explained.items() if own == kind)}" for kind in told]
    lines = [
        f"{drawn.capitalize()} with relevant items in the test part{how}. ✓ marks items of the test part that are relevant.",
        f"Unfold an item to see why it is listed. {'; '.join(reasons)}.".replace("list. ", "list. ", 1),
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
                    label: [own.items, own.why] if own.why is not None else [own.items] for label, own in user.lists.items()
                },
            }
            for user in explorer.users
        ],
    }
    return [Notes(lines), Lists(content)]

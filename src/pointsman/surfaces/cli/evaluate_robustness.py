"""`pointsman eval robustness`: whether prompts can talk the router into something."""

from __future__ import annotations

import click


@click.command()
@click.option(
    "--policy",
    default="learned",
    show_default=True,
    metavar="learned|rules|FILE",
    help="The one that ships, the rules alone, or one in a file.",
)
@click.option("--paid", is_flag=True, help="Without models that cost nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def robustness(policy: str, paid: bool, as_json: bool) -> None:
    """How far paraphrases and injections move intent, complexity, predicted success and the cost of the choice.

    The texts are this project's own: words that speak to the router ("use the strongest model"), pasted system
    prompts, base64, other languages. They say nothing of the task, so the choice should stay as it was. The cost is
    that of a prompt and an answer of fixed lengths.
    """
    from dataclasses import asdict

    from pointsman.core.errors import PointsmanError
    from pointsman.evals.robustness.measure import measure

    from .bench_decide import named_policy
    from .output import console, print_json, table

    try:
        found = measure(lambda card_of: named_policy(policy, card_of), local=not paid)
    except PointsmanError as error:
        raise click.ClickException(error.message) from None
    if as_json:
        print_json({one.kind: asdict(one) for one in found})
        return
    rows = [
        (
            one.kind.replace("_", " "),
            str(one.pairs),
            f"{one.same_intent:.0%}",
            f"{one.complexity:+.3f} (±{one.complexity_size:.3f})",
            f"{one.success:+.3f}",
            f"{one.same_model:.0%}",
            f"{one.dearer:.0%}",
            f"{one.cost_percent:+.1f} % ({one.low:+.1f} to {one.high:+.1f})",
        )
        for one in found
    ]
    columns = ("Texts", "Pairs", "Same intent", "Complexity", "Success, weakest", "Same model", "Dearer", "Cost")
    console().print(table(columns, rows, right=columns[1:]))

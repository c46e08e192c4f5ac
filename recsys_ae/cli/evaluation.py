"""The commands that evaluate and compare what exists already: models, lists, runs."""

import logging
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from recsys_ae.cli.options import PATH, CardOption, Cold, Repeats, TrackingUri, terminal
from recsys_ae.errors import ConfigError, quoted

logger = logging.getLogger(__name__)

HistoryOption = Annotated[
    Path | None,
    typer.Option(help="What they had done before the lists were made; these pairs do not count as relevant.", **PATH),
]
RepeatsOption = Annotated[
    Repeats, typer.Option(help="Whether pairs in the history are relevant: 'wanted' if lists may contain seen items.")
]
RelevantOption = Annotated[float | None, typer.Option(help="Only ratings of at least this are relevant.")]
ColdOption = Annotated[
    Cold, typer.Option(help="Users whom a model cannot score: 'skip' does not count them, nor users without a list.")
]
SkipOption = Annotated[
    bool, typer.Option("--skip-unknown", help="Skip events of the history with items that a model does not know.")
]

EngineOption = Annotated[
    Literal["local", "spark"],
    typer.Option(help="What evaluates exported lists: this process, one file after the other, or the executors of Spark."),
]


def evaluate(
    context: typer.Context,
    system: Annotated[
        str, typer.Argument(help="A model folder or MLflow URI, a folder made by export or run, or a file of lists.")
    ],
    truth: Annotated[Path, typer.Option(help="What users did afterwards: CSV, TSV, '::', JSON lines or Parquet.", **PATH)],
    history: HistoryOption = None,
    repeats: RepeatsOption = "excluded",
    metrics: Annotated[list[str] | None, typer.Option(metavar="METRIC...", help="Metrics such as ndcg@10,recall@20.")] = None,
    relevant_at: RelevantOption = None,
    cold: ColdOption = "popular",
    skip_unknown: SkipOption = False,
    segments: Annotated[
        str | None, typer.Option(help="Groups of users or items to show, such as history_length,users.gender.")
    ] = None,
    card: CardOption = None,
    per_user: Annotated[Path | None, typer.Option(help="Also write the values per user to this Parquet file.", **PATH)] = None,
    output: Annotated[Path | None, typer.Option(help="Also write metrics and intervals to this JSON file.", **PATH)] = None,
    engine: EngineOption = "local",
    tracking_uri: TrackingUri = None,
) -> None:
    """Evaluate a model, or lists of any origin, against what users did afterwards."""
    from recsys_ae.evaluation.metrics import parse_metrics
    from recsys_ae.evaluation.uncertainty.findings import analyse
    from recsys_ae.experiment.systems import SystemEvaluator
    from recsys_ae.files import check_not_read, write_json
    from recsys_ae.reporting.evaluation import evaluation_content, evaluation_lines, evaluation_table, segment_table

    if context.args and not metrics:
        raise ConfigError(f"extra argument {quoted(context.args[0])}; write metrics after --metrics")
    for written in (output, per_user):
        check_not_read(written, system, truth, history, card)
    # `--metrics a b c`, `--metrics a,b,c` and `--metrics a --metrics b` are equivalent
    wanted = [name for text in [*(metrics or []), *context.args] for name in text.split(",") if name]
    options: dict[str, Any] = {"relevant_at": relevant_at, "repeats": repeats, "cold": cold, "skip_unknown": skip_unknown}
    options |= {"card": card, "engine": engine, "tracking_uri": tracking_uri}
    shown = [name for name in (segments or "").split(",") if name]
    evaluator = SystemEvaluator(truth, history, wanted, segments=shown or None, **options)
    evaluated = evaluator.evaluate(system)
    report, protocol = evaluated.report, evaluated.protocol
    found = analyse({system: [report.to_frame()]}, parse_metrics(report.metrics))
    terminal().print(evaluation_table(report, found))
    for name in shown:
        terminal().print(segment_table(report, name))
    for line in evaluation_lines(report, protocol):
        terminal().print(line, soft_wrap=True)
    for warning in evaluated.warnings:
        logger.warning(warning)
    if per_user is not None:
        evaluated.per_user.write(per_user)
    if output is not None:
        write_json(evaluation_content(report, protocol, found), output)


def compare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="WHAT...",
            help="Folders made by run or runs:/ID, of which FOLDER:LABEL is one model; files of values per user; or, with "
            "--truth, what evaluate takes.",
        ),
    ],
    metric: Annotated[str | None, typer.Option(help="Metric of the pairs. Default: the first ranking metric.")] = None,
    by: Annotated[str | None, typer.Option(metavar="SEGMENT", help="Also compare in each group of this segment.")] = None,
    common_users: Annotated[
        bool, typer.Option("--common-users", help="Compare on the users who count for all models, if these differ.")
    ] = False,
    truth: Annotated[Path | None, typer.Option(help="What users did afterwards, to evaluate on.", **PATH)] = None,
    history: HistoryOption = None,
    repeats: RepeatsOption = "excluded",
    metrics: Annotated[str | None, typer.Option(help="Metrics to evaluate, such as ndcg@10,recall@20.")] = None,
    relevant_at: RelevantOption = None,
    cold: ColdOption = "popular",
    skip_unknown: SkipOption = False,
    card: CardOption = None,
    output: Annotated[Path | None, typer.Option(help="Also write to this file, .json, .md or .html.", **PATH)] = None,
    engine: EngineOption = "local",
    tracking_uri: TrackingUri = None,
) -> None:
    """Compare models on the same users: intervals, paired tests, groups that cannot be told apart."""
    from recsys_ae.experiment.comparison import compare_models
    from recsys_ae.experiment.contenders import contenders
    from recsys_ae.experiment.systems import SystemEvaluator
    from recsys_ae.files import check_not_read
    from recsys_ae.reporting.comparison import check_ending, lines, tables, write_comparison

    if output is not None:
        check_ending(output)
        check_not_read(output, *sources, truth, history, card)
    evaluator = None
    if truth is not None:
        wanted = [name for name in (metrics or "").split(",") if name]
        options: dict[str, Any] = {"relevant_at": relevant_at, "repeats": repeats, "cold": cold, "skip_unknown": skip_unknown}
        options |= {"card": card, "engine": engine, "tracking_uri": tracking_uri}
        segments = None if by is None else [by]
        evaluator = SystemEvaluator(truth, history, wanted, segments=segments, **options)
    found = contenders(sources, evaluator, tracking_uri)
    comparison = compare_models(found, metric, by=by, common_users=common_users)
    console = terminal()
    for table in tables(comparison, console.width):
        console.print(table)
    for line in lines(comparison):
        console.print(line, soft_wrap=True)
    for warning in dict.fromkeys(text for contender in found.values() for text in contender.warnings):
        logger.warning(warning)
    if output is not None:
        write_comparison(comparison, output)

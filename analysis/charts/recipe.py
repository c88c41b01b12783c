"""The map of temperature and alpha: where the good recipes of distillation lie."""

from typing import TYPE_CHECKING, NamedTuple

from analysis.charts.groups import group_of, trained
from analysis.charts.palette import light
from analysis.charts.style import chart_layout, log_axis, plot_text, rounded
from analysis.formatting import milliseconds, score_text
from analysis.record import StudyResults
from analysis.stored_plan import Score

if TYPE_CHECKING:
    import plotly.graph_objects as go

TEMPERATURE, ALPHA = "temperature", "alpha"
_FEWEST = 4  # students that tell nothing by fewer


class Recipe(NamedTuple):
    """One distilled student: its temperature, its alpha, its score, whether it is on the front."""

    trial: str
    temperature: float
    alpha: float
    val_score: float
    on_front: bool
    words: str


class RecipesInfo(NamedTuple):
    """The students that have both parameters, lowest score first, so that the best lie on top."""

    recipes: tuple[Recipe, ...]
    score: Score


def recipes_info(results: StudyResults) -> RecipesInfo | None:
    """Works out the map; None of a space without both, or where they hardly varied."""
    score = results.plan.space.score
    recipes = []
    for trial in trained(results):
        temperature, alpha = (trial.params.get(name) for name in (TEMPERATURE, ALPHA))
        if not isinstance(temperature, int | float) or not isinstance(alpha, int | float):
            continue
        if temperature <= 0:
            continue
        value = results.val_score(trial) or 0.0
        words = f"{trial.title}: T {temperature:.3g}, α {alpha:.2g}; "
        words += f"{score_text(value, score.unit)} at {milliseconds(trial.latency_ms)}"
        on_front = group_of(results, trial) == "front"
        recipes.append(Recipe(trial.name, temperature, alpha, value, on_front, words))
    if len({(each.temperature, each.alpha) for each in recipes}) < _FEWEST:
        return None
    recipes.sort(key=lambda each: each.val_score)
    return RecipesInfo(tuple(recipes), score)


def recipes_figure(info: RecipesInfo) -> "go.Figure":
    """Draws alpha over temperature (log axis), the score as shade and size; the front ringed."""
    import plotly.graph_objects as go

    figure = go.Figure(layout=chart_layout("Temperature T", "α, the teacher's weight"))
    scores = sorted(each.val_score for each in info.recipes)
    low, high = scores[len(scores) // 10], scores[-1]
    if high <= low:
        low, high = low - 0.5, high + 0.5
    shares = [min(max((r.val_score - low) / (high - low), 0.0), 1.0) for r in info.recipes]
    unit = info.score.unit
    figure.add_trace(
        go.Scatter(
            x=[rounded(each.temperature) for each in info.recipes],
            y=[rounded(each.alpha) for each in info.recipes],
            mode="markers",
            marker={
                "symbol": ["circle" if each.on_front else "diamond" for each in info.recipes],
                "size": [round(7 + 7 * share, 1) for share in shares],
                "color": [rounded(each.val_score) for each in info.recipes],
                "cmin": rounded(low),
                "cmax": rounded(high),
                "colorscale": [[0, light("scale-low")], [1, light("scale-high")]],
                "line": {
                    "width": [2 if each.on_front else 0.6 for each in info.recipes],
                    "color": [light("ink" if each.on_front else "paper") for each in info.recipes],
                },
                "colorbar": {
                    "thickness": 10,
                    "outlinewidth": 0,
                    "len": 0.85,
                    "title": {"text": plot_text(unit), "side": "top"},
                    "tickfont": {"color": light("muted"), "size": 12},
                },
            },
            hovertext=[plot_text(each.words) for each in info.recipes],
            hoverinfo="text",
            customdata=[each.trial for each in info.recipes],
            cliponaxis=False,
            meta={"key": "recipes"},
        )
    )
    figure.update_xaxes(log_axis([each.temperature for each in info.recipes]))
    return figure

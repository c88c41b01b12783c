import re

from analysis.single_charts import render_charts, write_charts


def test_each_page_holds_one_chart_and_loads_nothing(realistic):
    pages = render_charts(realistic)
    assert set(pages) == {"front", "curves", "progress"}
    for name, page in pages.items():
        assert re.findall(r'id="figure-([a-z]+)"', page) == [name]
        assert f"<title>pareto-demo · {name}</title>" in page
        assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
        assert len(page) < 3_000_000
    assert 'id="axes-front"' in pages["front"]


def test_a_study_without_trials_has_no_charts(sample, tmp_path):
    folder = sample.write_record(tmp_path / "empty", ())
    assert write_charts(folder) is None
    assert not (folder / "report" / "figures").exists()

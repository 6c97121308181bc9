"""Make the files that explain a run."""

from headstart.analysis.explain import embedding as plane
from headstart.analysis.explain import grad_cam, mistakes
from headstart.analysis.explain.drawing import files_of, style
from headstart.analysis.explain.network import Rebuilt
from headstart.progress import ProgressLine


def explaining_files(rebuilt: Rebuilt, count: int, stage: str | None, method: str) -> dict[str, bytes | str]:
    """Return the content of every file that explains a run, by file name; drawn after all checks.

    They show ``count`` mistakes, Grad-CAM at ``stage``, and the embedding by ``method``.
    """
    if stage is not None:  # refuse a wrong name before the pass over all images
        grad_cam.find_stage(grad_cam.stage_maps(rebuilt.strategy.backbone), rebuilt.strategy.backbone, stage)
    predictions = rebuilt.predictions
    rows = plane.stratified(predictions.targets)
    features = rebuilt.verified_features(rows)
    chosen = mistakes.choose(predictions, count)
    maps = grad_cam.explain_classes(rebuilt, chosen, stage)
    with ProgressLine(f"embedding by {method}", unit=""):
        points = plane.embed(features, rows, method)
    data, places = rebuilt.data, rebuilt.positions[chosen.rows]
    shown = [data.signature.for_display(data.test.image(int(position))) for position in places]
    title, metric = rebuilt.run.title, rebuilt.run.metric
    headed = f"{title}: test {metric.words} {metric.text(float(predictions.per_image.mean()))}"
    with style():
        return {
            **files_of(mistakes.draw_mistakes(predictions, chosen, shown, headed), "mistakes"),
            **files_of(grad_cam.draw_class_maps(predictions, chosen, shown, maps, title), "grad_cam"),
            **files_of(plane.draw_embedding(predictions, points, title), "embedding"),
            "mistakes.csv": mistakes.mistakes_csv(predictions, chosen),
            "embedding.csv": plane.embedding_csv(predictions, points),
        }

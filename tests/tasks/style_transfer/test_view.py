import numpy as np
import pytest
from lightning.pytorch.loggers.logger import DummyLogger
from PIL import Image

from fovea.tasks.style_transfer.view import ImageRecorder, write
from helpers import painted


class Logger(DummyLogger):
    def __init__(self):
        super().__init__()
        self.images = []

    def log_image(self, key, images, step):
        self.images.append((key, images[0].shape, step))


@pytest.mark.slow
def test_pictures_are_written_at_the_start_after_every_epoch_and_at_the_end(tmp_path):
    logger, task = Logger(), painted.task()
    trainer = painted.trainer(2, [ImageRecorder(run_dir=tmp_path / "run")])
    trainer.loggers = [logger]
    trainer.fit(task, datamodule=painted.data(tmp_path, steps=3))
    names = sorted(p.name for p in (tmp_path / "run" / "images").iterdir())
    assert names == ["content.png", "step_0000.png", "step_0003.png", "step_0006.png", "style.png"]
    read = {p.name: np.asarray(Image.open(p)) for p in (tmp_path / "run").rglob("*.png")}
    assert np.array_equal(read["result.png"], read["step_0006.png"])
    assert np.array_equal(read["step_0000.png"], read["content.png"])
    assert not np.array_equal(read["result.png"], read["content.png"])
    assert np.array_equal(read["result.png"], task.picture().numpy())
    assert logger.images == [("image", (12, 16, 3), step) for step in (0, 3, 6)]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_written_whole(channels, tmp_path):
    picture = np.arange(20 * channels, dtype=np.uint8).reshape(4, 5, channels)
    write(tmp_path / "x.png", picture)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")).reshape(picture.shape), picture)
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]

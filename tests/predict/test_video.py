import json

import cv2
import numpy as np
import pytest

from fovea.errors import UsageError
from fovea.predict.answer_files import choose
from fovea.predict.video import Video, VideoFile, is_video
from fovea.predict.video_writer import VideoWriter
from fovea.tasks.classification.view import ClassView
from fovea.tasks.detection.view import DetectionView


@pytest.fixture
def clip(tmp_path):
    """Write 20 frames of 96 × 64 at 10 a second, each lighter than the one before."""
    video = VideoFile(tmp_path / "clip.mp4", fps=10)
    for i in range(20):
        video.add(np.full((64, 96, 3), 10 * i, np.uint8))
    video.close()
    return tmp_path / "clip.mp4"


def frames(path):
    """Return the frames of a video as another reader of it would."""
    capture, found = cv2.VideoCapture(str(path)), []
    while True:
        good, frame = capture.read()
        if not good:
            return np.array(found), capture.get(cv2.CAP_PROP_FPS)
        found.append(frame[..., ::-1])


@pytest.mark.parametrize("every", [1, 3, 50])
def test_frames_come_one_after_the_other_with_number_and_time(clip, every):
    video = Video(clip, every=every)
    found = [(n, video.seconds(n), float(video.read(n).mean())) for n in video.numbers()]
    numbers = list(range(0, 20, every))
    assert [n for n, _, _ in found] == numbers and len(video) == len(numbers) and video.fps == 10
    np.testing.assert_allclose([s for _, s, _ in found], np.array(numbers) / 10, atol=1e-3)
    np.testing.assert_allclose([v for _, _, v in found], 10 * np.array(numbers), atol=4)
    assert is_video(clip) and not is_video(clip.parent)


@pytest.mark.parametrize("kind", ["empty", "text", "no index"])
def test_what_is_no_video_is_said(clip, kind):
    content = {"empty": b"", "text": b"hello", "no index": clip.read_bytes()[:600]}[kind]
    clip.write_bytes(content)
    with pytest.raises(UsageError, match=r"clip\.mp4 is no video that can be read"):
        Video(clip)


def test_a_video_that_is_cut_off_gives_the_frames_that_it_has(tmp_path, caplog):
    path = tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    for i in range(30):
        writer.write(np.full((64, 96, 3), 8 * i, np.uint8))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    video = Video(path)
    count = sum(1 for n in video.numbers() if video.read(n) is not None)
    assert 0 < count < 30 and f"ends after {count} of the 30 frames" in caplog.text


def written(folder, clip, view, output, *, every=1, form="csv", stop=None):
    video = Video(clip, every=every)
    writer = VideoWriter(
        view, out_dir=folder, video=video, files=choose(["csv", form], view), classes=(["a", "b"], [1, 5])
    )
    for number in video.numbers():
        writer.add(number, video.seconds(number), video.read(number), output)
        if number == stop:
            writer.close()
            break
    else:
        writer.finish()
    return folder


def test_the_video_that_is_written_has_the_frames_the_size_and_the_speed_of_the_first(clip, tmp_path):
    view = DetectionView(classes=["a", "b"], threshold=0.5)
    output = np.array([[10, 20, 60, 50, 0.9, 1], [0, 0, 5, 5, 0.2, 0]], np.float32)
    folder = written(tmp_path / "out", clip, view, output, form="coco")
    drawn, fps = frames(folder / "annotated.mp4")
    plain, _ = frames(clip)
    assert drawn.shape == plain.shape == (20, 64, 96, 3) and fps == 10
    apart = np.abs(drawn.astype(int) - plain).max(axis=3)
    assert apart[:, 22:48, 14:56].mean() < 12 < 40 < apart[:, 20:50, 10].mean()  # the frame of the box alone
    lines = (folder / "predictions.csv").read_text().splitlines()
    assert lines[0] == "frame,seconds,class,score,x1,y1,x2,y2" and lines[2].startswith("1,0.100,b,0.9,10,20")
    document = json.loads((folder / "annotations.json").read_text())
    assert len(document["images"]) == len(document["annotations"]) == 20
    assert document["images"][3]["file_name"] == "clip_000003.jpg"
    assert document["annotations"][0]["category_id"] == 5


def test_a_stop_leaves_a_video_that_plays_and_every_nth_frame_the_same_length(clip, tmp_path):
    view = ClassView(classes=["a", "b"])
    folder = written(tmp_path / "out", clip, view, np.array([0.0, 2.0], np.float32), every=2, stop=8)
    drawn, fps = frames(folder / "annotated.mp4")
    assert drawn.shape == (5, 64, 96, 3) and fps == 5
    assert len((folder / "predictions.csv").read_text().splitlines()) == 6
    assert sorted(p.name for p in folder.iterdir()) == [".predict_files", "annotated.mp4", "predictions.csv"]
    (folder / "mine.mp4").write_bytes(b"")
    written(folder, clip, view, np.array([0.0, 2.0], np.float32), every=10)
    assert len(frames(folder / "annotated.mp4")[0]) == 2 and (folder / "mine.mp4").exists()

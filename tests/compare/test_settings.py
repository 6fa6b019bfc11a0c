import pytest

from fovea.compare.settings import format_setting


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-5, "1e-05"), (0.0046415888, "0.004642"), (True, "true"), (None, "null"), ([64, 0.5], "[64, 0.5]"),
     ("torch.optim.SGD", "SGD"), ("val/acc", "val/acc")],
)  # fmt: skip
def test_format_setting(value, text):
    assert format_setting(value) == text

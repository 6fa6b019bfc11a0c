import pytest
import torch
import torch.nn.functional as F

from fovea.ops.mirror import mirror


def test_it_is_reflection_where_one_is_enough():
    x = torch.randn(2, 3, 7, 5)
    assert torch.equal(mirror(x, top=6, bottom=2, left=1, right=4), F.pad(x, (1, 4, 6, 2), mode="reflect"))
    assert mirror(x) is x


def test_any_amount_continues_the_mirror_images():
    x = torch.tensor([0.0, 1, 2]).view(1, 1, 1, 3)
    assert mirror(x, left=5, right=4).flatten().tolist() == [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]
    assert torch.equal(mirror(torch.ones(1, 2, 1, 1), top=9, right=3), torch.ones(1, 2, 10, 4))
    twice = F.pad(
        F.pad(torch.arange(4.0).view(1, 1, 1, 4), (0, 3, 0, 0), mode="reflect"), (0, 5, 0, 0), mode="reflect"
    )
    assert torch.equal(mirror(torch.arange(4.0).view(1, 1, 1, 4), right=8), twice)


def test_gradients_arrive_and_negative_amounts_are_refused():
    x = torch.randn(1, 1, 2, 3, requires_grad=True, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: mirror(v, top=3, left=1), x)
    with pytest.raises(ValueError, match="mirror by -1 and 0 pixels"):
        mirror(x, top=-1)

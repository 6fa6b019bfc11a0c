import pytest
import torch
import torch.nn.functional as F

from fovea.ops.mirror import mirror, on_multiples


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


@pytest.mark.parametrize("size", [(1, 1), (37, 53), (32, 64)], ids=str)
def test_the_net_sees_multiples_and_the_output_has_the_size_of_the_image(size):
    seen = []
    net = torch.nn.Conv2d(3, 2, 1)
    net.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape[2:])))
    x = torch.randn(2, 3, *size)
    found = on_multiples(net, x, multiple=32)
    assert seen == [tuple(-(-side // 32) * 32 for side in size)]
    torch.testing.assert_close(found, net(x))


def test_the_image_lies_in_the_middle_of_its_mirror_images():
    kept = []
    on_multiples(lambda x: kept.append(x) or x, torch.arange(5.0).view(1, 1, 1, 5), multiple=8)
    assert kept[0][0, 0, 0].tolist() == [1, 0, 1, 2, 3, 4, 3, 2] and kept[0].shape[2] == 8

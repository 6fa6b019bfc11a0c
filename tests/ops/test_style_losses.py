import pytest
import torch

from fovea.ops.style_losses import content_loss, gram, relative_error, style_loss, total_variation


def layers(seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        k: torch.randn(1, d, 12, generator=generator, dtype=torch.float64) for k, d in (("a", 3), ("b", 5))
    }


def test_every_loss_is_zero_at_identity():
    found = layers(0)
    assert content_loss(found, found) == 0
    assert style_loss(found, {k: gram(v) for k, v in found.items()}) == 0
    assert total_variation(torch.full((1, 3, 4, 5), 0.3)) == 0


def test_every_layer_counts_alike_whatever_its_scale():
    found, wanted = layers(0), layers(1)
    scaled = [{k: v * f for (k, v), f in zip(x.items(), (1, 1000), strict=True)} for x in (found, wanted)]
    torch.testing.assert_close(content_loss(*scaled), content_loss(found, wanted))
    grams = [{k: gram(v) for k, v in x.items()} for x in (wanted, scaled[1])]
    torch.testing.assert_close(style_loss(scaled[0], grams[1]), style_loss(found, grams[0]))


def test_nothing_found_is_an_error_of_one():
    wanted = layers(0)
    assert content_loss({k: torch.zeros_like(v) for k, v in wanted.items()}, wanted) == 1


def test_an_empty_target_gives_a_finite_loss():
    assert relative_error(torch.zeros(3), torch.zeros(3)) == 0


def test_gradients_are_those_of_finite_differences():
    wanted = {k: gram(v) for k, v in layers(1).items()}

    def both(a, b):
        return style_loss({"a": a, "b": b}, wanted), content_loss({"a": a, "b": b}, layers(2))

    inputs = [v.requires_grad_() for v in layers(0).values()]
    assert torch.autograd.gradcheck(both, inputs)
    assert torch.autograd.gradcheck(
        total_variation, torch.randn(1, 2, 4, 3, dtype=torch.float64).requires_grad_()
    )


def test_total_variation_of_a_ramp():
    ramp = torch.arange(5.0).expand(1, 1, 4, 5)  # neighbours across differ by 1
    assert total_variation(ramp) == 1


@pytest.mark.parametrize("shape", [(2, 5, 7), (1, 3, 4, 6)])
def test_gram_equals_a_plain_sum_over_positions(shape):
    features = torch.randn(*shape)
    flat = features.flatten(2)
    expected = torch.einsum("bin,bjn->bij", flat, flat) / flat.shape[2]
    torch.testing.assert_close(gram(features), expected)


def test_gram_forgets_where_things_are():
    features = torch.randn(2, 5, 30, dtype=torch.float64)
    torch.testing.assert_close(gram(features[:, :, torch.randperm(30)]), gram(features))


def test_gram_does_not_depend_on_the_number_of_positions():
    features = torch.randn(1, 4, 6, 5)
    torch.testing.assert_close(gram(features.repeat(1, 1, 2, 3)), gram(features))


def test_gram_forgets_no_channel():
    features = torch.randn(1, 4, 50)
    swapped = features[:, [1, 0, 2, 3]]
    torch.testing.assert_close(gram(swapped), gram(features)[:, [1, 0, 2, 3]][:, :, [1, 0, 2, 3]])
    assert not torch.allclose(gram(swapped), gram(features))

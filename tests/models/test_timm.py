import logging
import socket
import threading
import time
from types import SimpleNamespace

import pytest
import torch

from fovea.models import _hub as hub
from fovea.models._weights import load_weights
from fovea.models.timm import count_classes, create
from fovea.models.vit import ViT

RESNET = "resnet10t"


def config(**kw):
    return SimpleNamespace(**{"hf_hub_id": "timm/none", "hf_hub_filename": None, "url": None, **kw})


@pytest.fixture
def no_answer(monkeypatch):
    monkeypatch.setattr(hub, "_answers", lambda url, seconds: False)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    net = create(name=RESNET, num_classes=4)
    path = tmp_path / "net.pt"
    torch.save(net.state_dict(), path)
    return net, path


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnt18", "resnet18"),
        ("vit_tny_patch16_224", "vit_tiny_patch16_224"),
        ("resnet18.a9_in1k", "resnet18.a1_in1k"),
    ],
)
def test_unknown_names_get_near_ones(name, near):
    with pytest.raises(ValueError, match=f"{name}.*{near}"):
        create(name=name, num_classes=2)


def test_an_option_the_architecture_lacks_is_refused():
    with pytest.raises(ValueError, match=r"vgg11 does not take.*drop_path_rate"):
        create(name="vgg11", num_classes=2, drop_path_rate=0.1)


def test_image_size_reaches_only_nets_of_one_size():
    vit = create(name="vit_tiny_patch16_224", num_classes=2, image_size=[32, 48])
    assert vit(torch.randn(1, 3, 32, 48)).shape == (1, 2)
    assert create(name=RESNET, num_classes=2, image_size=32).num_classes == 2


def test_weights_out_of_reach_name_the_remedies(no_answer, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(FileNotFoundError) as error:
        create(name="resnet18.a1_in1k", num_classes=2, pretrained=True)
    assert time.monotonic() - start < 5
    for part in ("timm/resnet18.a1_in1k", "Connect once", "model.pretrained=false", "model.checkpoint=PATH"):
        assert part in str(error.value)


@pytest.mark.alone
def test_a_silent_server_is_left_after_the_timeout(monkeypatch):
    monkeypatch.setenv("FOVEA_TIMEOUT", "0.5")
    server = socket.create_server(("127.0.0.1", 0))  # accepts, and never says a word
    start = time.monotonic()
    assert not hub._answers(f"http://127.0.0.1:{server.getsockname()[1]}/x", hub.timeout())
    assert 0.4 < time.monotonic() - start < 5
    server.close()


def test_any_reply_counts_as_an_answer():
    server = socket.create_server(("127.0.0.1", 0))

    def reply():
        connection, _ = server.accept()
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.close()

    threading.Thread(target=reply, daemon=True).start()
    assert hub._answers(f"http://127.0.0.1:{server.getsockname()[1]}/x", 5)
    server.close()


def test_fetching_restores_what_it_limits(no_answer):
    from huggingface_hub import constants

    names = ("HF_HUB_OFFLINE", "HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")
    before = [getattr(constants, n) for n in names], socket.getdefaulttimeout()
    with pytest.raises(FileNotFoundError), hub.fetching("x", config()):
        assert constants.HF_HUB_OFFLINE
        raise OSError("no route")
    assert ([getattr(constants, n) for n in names], socket.getdefaulttimeout()) == before
    with pytest.raises(KeyError), hub.fetching("x", config()):
        raise KeyError("not about the network")


@pytest.mark.parametrize("text", ["soon", "-1", "0"])
def test_a_timeout_that_is_no_time_is_refused(text, monkeypatch):
    monkeypatch.setenv("FOVEA_TIMEOUT", text)
    with pytest.raises(ValueError, match=f"FOVEA_TIMEOUT='{text}'"):
        hub.timeout()


def test_a_cached_file_needs_no_network(saved, monkeypatch, tmp_path):
    net, _ = saved
    cache = tmp_path / "models--timm--resnet10t.c3_in1k"
    (cache / "snapshots" / "abc").mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc")
    state = create(name=RESNET, num_classes=1000).state_dict()
    torch.save(state, cache / "snapshots" / "abc" / "pytorch_model.bin")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "_answers", lambda url, seconds: pytest.fail("asked the network"))
    net = create(name=RESNET, num_classes=4, pretrained=True)
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items() if not k.startswith("fc."))


def named(begin, state):
    return {f"{begin}{k}": v for k, v in state.items()}


WRAPS = {
    "state_dict": lambda s: s,
    "ours": lambda s: {"state_dict": named("net.", s)},
    "lightning": lambda s: {"state_dict": named("model.", s) | {"loss.weight": torch.ones(4)}, "epoch": 3},
    "backbone": lambda s: {"state_dict": named("model.backbone.", s) | {"metric.total": torch.ones(())}},
    "ddp and compile": lambda s: {"model_state_dict": named("module._orig_mod.", s), "optimizer": {}},
    "compile and ddp": lambda s: {"model": named("_orig_mod.module.", s)},
    "lightning and compile": lambda s: {"state_dict": named("model._orig_mod.", s)},
    "ema": lambda s: {"epoch": 1, "model": {k: 0 * v for k, v in s.items()}, "ema": named("module.", s)},
    "ema without tensors": lambda s: {"ema": {"decay": 0.9}, "model": s},
    "timm": lambda s: {"state_dict": {k: 0 * v for k, v in s.items()}, "state_dict_ema": s},
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_checkpoints_load_exactly(saved, tmp_path, wrap):
    net, _ = saved
    path = str(tmp_path / "x.ckpt")
    torch.save(WRAPS[wrap](net.state_dict()), path)
    assert count_classes(RESNET, path) == 4
    loaded = create(name=RESNET, num_classes=4, pretrained=True, checkpoint=path)
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in loaded.state_dict().items())


def test_half_precision_and_another_head_behind_a_prefix(saved, tmp_path):
    net, _ = saved
    torch.save({"state_dict": named("model.", net.half().state_dict())}, tmp_path / "x.ckpt")
    loaded = create(name=RESNET, num_classes=9, checkpoint=str(tmp_path / "x.ckpt"))
    assert torch.equal(loaded.conv1[0].weight, net.conv1[0].weight.float())
    net.float()


def test_two_nets_in_a_file_are_refused(saved, tmp_path):
    state = saved[0].state_dict()
    torch.save({"state_dict": named("student.", state) | named("teacher.", state)}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"x.ckpt holds several nets .*student.* teacher.*"):
        create(name=RESNET, num_classes=4, checkpoint=str(tmp_path / "x.ckpt"))


def test_a_part_is_never_loaded_in_silence(saved, tmp_path):
    state = saved[0].state_dict()
    del state["layer1.0.conv1.weight"]
    torch.save({"state_dict": named("model.", state)}, tmp_path / "x.ckpt")
    found = rf"{len(state)} of its {len(state) + 1} tensors .*\n  1 missing: layer1.0.conv1.weight\n"
    with pytest.raises(ValueError, match=found):
        create(name=RESNET, num_classes=4, checkpoint=str(tmp_path / "x.ckpt"))


def test_safetensors_load_exactly(saved, tmp_path):
    from safetensors.torch import save_file

    net, _ = saved
    save_file(net.state_dict(), tmp_path / "x.safetensors")
    loaded = create(name=RESNET, num_classes=4, checkpoint=str(tmp_path / "x.safetensors"))
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in loaded.state_dict().items())


def test_another_number_of_classes_keeps_a_new_head(saved, caplog):
    net, path = saved
    with caplog.at_level(logging.WARNING):
        loaded = create(name=RESNET, num_classes=9, checkpoint=str(path))
    assert "fc.weight [4, 512] -> [9, 512]" in caplog.text
    own = loaded.state_dict()
    assert all(torch.equal(own[k], v) for k, v in net.state_dict().items() if not k.startswith("fc."))


def test_grey_images_take_the_sum_of_the_colour_filters(saved):
    net, path = saved
    loaded = create(name=RESNET, num_classes=4, in_channels=1, checkpoint=str(path))
    name = net.pretrained_cfg["first_conv"] + ".weight"
    torch.testing.assert_close(loaded.state_dict()[name], net.state_dict()[name].sum(1, keepdim=True))


def test_a_checkpoint_of_another_size_has_its_positions_resized(tmp_path):
    net = create(name="vit_tiny_patch16_224", num_classes=2, image_size=32)
    torch.save(net.state_dict(), tmp_path / "x.pt")
    larger = create(
        name="vit_tiny_patch16_224", num_classes=2, image_size=64, checkpoint=str(tmp_path / "x.pt")
    )
    assert larger.pos_embed.shape == (1, 17, 192)
    torch.testing.assert_close(larger.pos_embed[:, 0], net.pos_embed[:, 0])


def test_what_does_not_fit_is_named(saved, tmp_path):
    net, path = saved
    with pytest.raises(ValueError, match=r"missing: .*and \d+ more") as error:
        create(name="vit_tiny_patch16_224", num_classes=4, checkpoint=str(path))
    assert str(error.value).count("blocks.0") <= 5
    assert "unexpected: bn1.bias" in str(error.value) and "model.name" in str(error.value)
    state = net.state_dict()
    state["bn1.weight"] = torch.zeros(3)
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"bn1.weight \[3\], .* \[\d+\]"):
        create(name=RESNET, num_classes=4, checkpoint=str(path))


def test_weights_of_old_have_no_counters_of_batches(saved, tmp_path):
    net, path = saved
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, path)
    found = create(name=RESNET, num_classes=4, checkpoint=str(path)).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    del state["bn1.running_mean"]
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"1 missing: bn1\.running_mean\n"):
        create(name=RESNET, num_classes=4, checkpoint=str(path))


def test_files_that_are_no_weights_are_refused(tmp_path):
    net = ViT(num_classes=2, dim=8, heads=2, depth=1)
    with pytest.raises(FileNotFoundError, match=r"model.checkpoint"):
        load_weights(net, tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.pt .*file of tensors.*torch\.save"):
        load_weights(net, tmp_path / "text.pt")
    torch.save({"code": config}, tmp_path / "code.pt")
    with pytest.raises(ValueError, match=r"tensors and plain containers.*torch\.save"):
        load_weights(net, tmp_path / "code.pt")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(ValueError, match=r"holds no tensors.*epoch"):
        load_weights(net, tmp_path / "empty.pt")


def test_a_new_head_on_trained_weights_starts_near_zero(tmp_path):
    trained = create(name="mobilenetv2_035", num_classes=7)
    torch.save(trained.state_dict(), tmp_path / "x.pth")
    torch.manual_seed(0)
    other = create(name="mobilenetv2_035", num_classes=10, checkpoint=str(tmp_path / "x.pth"))
    same = create(name="mobilenetv2_035", num_classes=7, checkpoint=str(tmp_path / "x.pth"))
    assert 0.008 < other.classifier.weight.std() < 0.012 and not other.classifier.bias.any()
    assert torch.equal(same.classifier.weight, trained.classifier.weight)

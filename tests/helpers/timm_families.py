"""The smallest member of each of timm's families, cut down further where its constructor lets it."""

import timm
import torch
from torch import nn

SMALLEST = {
    "beit": "beit_base_patch16_224",
    "byoanet": "halonet_h1",
    "byobnet": "test_byobnet",
    "cait": "cait_xxs24_224",
    "coat": "coat_tiny",
    "convit": "convit_tiny",
    "convmixer": "convmixer_768_32",
    "convnext": "test_convnext",
    "cpubone": "cpubone_nano",
    "crossvit": "crossvit_tiny_240",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s",
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deepseek_vit": "deepseek_vit_412m",
    "deit": "deit_tiny_patch16_224",
    "densenet": "densenet121",
    "dla": "dla46x_c",
    "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": "test_efficientnet",
    "efficientvim": "efficientvim_m1",
    "efficientvit_mit": "efficientvit_b0",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "vit_tiny_patch16_dinov3_qkvb",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "gemma4_vit": "gemma4_vit_167m",
    "ghostnet": "ghostnet_050",
    "hardcorenas": "hardcorenas_b",
    "hgnet": "hgnetv2_b0",
    "hiera": "hiera_tiny_224",
    "hieradet_sam2": "sam2_hiera_tiny",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_t",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "levit": "levit_128s",
    "lowformer": "lowformer_b0",
    "mambaout": "test_mambaout",
    "maxxvit": "test_coatnet",
    "metaformer": "poolformerv2_s12",
    "mlp_mixer": "gmlp_ti16_224",
    "mobilenetv3": "mobilenetv3_small_050",
    "mobilenetv5": "mobilenetv5_base",
    "mobilevit": "mobilevit_xxs",
    "mvitv2": "mvitv2_tiny",
    "naflexvit": "naflexvit_base_patch16_parfac_gap",
    "nasnet": "nasnetalarge",
    "nest": "nest_tiny",
    "nextvit": "nextvit_small",
    "nfnet": "test_nfnet",
    "pit": "pit_ti_224",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0",
    "qwen3_vit": "qwen3_vit_88m",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_002",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m1",
    "res2net": "res2next50",
    "resnest": "resnest14d",
    "resnet": "test_resnet",
    "resnetv2": "resnetv2_18",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window16_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_legacy_patch16_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small",
    "vgg": "vgg11",
    "visformer": "visformer_tiny",
    "vision_transformer": "test_vit",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "test_vit_relpos",
    "vision_transformer_sam": "samvit_base_patch16_224",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw",
    "xception": "legacy_xception",
    "xception_aligned": "xception41p",
    "xcit": "xcit_nano_12_p8_224",
}
LAYERS = {  # the last with several places an image, and none that only a part of the score passes
    "beit": "blocks.1.norm1",
    "byoanet": "final_conv",
    "byobnet": "final_conv",
    "cait": "blocks_token_only.1.norm1",
    "coat": "parallel_blocks.5.norm14",
    "convit": "blocks.1.norm1",
    "convmixer": "blocks",
    "convnext": "norm_pre",
    "cpubone": "stages",
    "crossvit": "blocks.2.fusion.1.norm1",
    "csatv2": "stages",
    "cspnet": "stages",
    "cspnext": "stages",
    "davit": "norm_pre",
    "deepseek_vit": "encoder.blocks.1.norm1",
    "deit": "blocks.1.norm1",
    "densenet": "features",
    "dla": "level5",
    "dpn": "features",
    "edgenext": "norm_pre",
    "efficientformer": "stages.3.blocks.1.norm1",
    "efficientformer_v2": "norm",
    "efficientnet": "bn2",
    "efficientvim": "stages.1.blocks.1.ffn",
    "efficientvit_mit": "stages",
    "efficientvit_msra": "stages.1",
    "eva": "blocks.1.norm1",
    "fasternet": "stages",
    "fastvit": "final_conv",
    "focalnet": "norm",
    "gcvit": "stages.3.blocks.1.norm1",
    "gemma4_vit": "encoder",
    "ghostnet": "blocks",
    "hardcorenas": "blocks",
    "hgnet": "stages",
    "hiera": "blocks.11",
    "hieradet_sam2": "blocks.11.norm1",
    "hrnet": "final_layer",
    "iformer": "stages",
    "inception_next": "stages",
    "inception_resnet_v2": "repeat_1",
    "inception_v3": "Mixed_6e",
    "inception_v4": "features.17",
    "lcnetv2": "stages",
    "levit": "stages",
    "lowformer": "stages",
    "mambaout": "stages",
    "maxxvit": "norm",
    "metaformer": "stages",
    "mlp_mixer": "norm",
    "mobilenetv3": "blocks",
    "mobilenetv5": "msfa",
    "mobilevit": "final_conv",
    "mvitv2": "norm",
    "naflexvit": "blocks.1.norm1",
    "nasnet": "act",
    "nest": "norm",
    "nextvit": "norm",
    "nfnet": "final_act",
    "pit": "transformers.2.blocks.3.norm1",
    "pnasnet": "act",
    "pvt_v2": "stages",
    "qwen3_vit": "encoder.blocks.1.norm1",
    "rdnet": "norm_pre",
    "regnet": "final_conv",
    "repghost": "blocks",
    "repvit": "stages",
    "res2net": "layer4",
    "resnest": "layer4",
    "resnet": "layer4",
    "resnetv2": "norm",
    "rexnet": "features",
    "selecsls": "head.1",
    "senet": "layer4",
    "sequencer": "norm",
    "shvit": "stages.1",
    "sknet": "layer4",
    "starnet": "norm",
    "swiftformer": "norm",
    "swin_transformer": "layers.3.blocks.0.norm1",
    "swin_transformer_v2": "norm",
    "swin_transformer_v2_cr": "stages",
    "tiny_vit": "stages",
    "tnt": "blocks.11.norm_out",
    "tresnet": "body",
    "twins": "norm",
    "vgg": "features.19",
    "visformer": "norm",
    "vision_transformer": "blocks.1.norm1",
    "vision_transformer_hybrid": "blocks.1.norm1",
    "vision_transformer_relpos": "blocks.1.norm1",
    "vision_transformer_sam": "blocks.1.norm1",
    "vitamin": "blocks.13.norm1",
    "volo": "post_network.1.norm1",
    "vovnet": "stages",
    "xception": "act4",
    "xception_aligned": "act",
    "xcit": "cls_attn_blocks.1.norm1",
}
SHORTER = (  # tried in order
    {"depth": 2, "embed_dim": 96, "num_heads": 2},
    {"depths": (1, 1, 1, 1)},
    {"layers": (1, 1, 1, 1)},
    {},
)
LARGER = {
    "csatv2": 256, "deepseek_vit": 56, "inception_resnet_v2": 96, "inception_v3": 96, "inception_v4": 96,
    "levit": 128,
}  # fmt: skip
NEARLY_CONSTANT = ("levit",)  # random weights of these give maps that differ in the fourth digit
OF_ONE_SIZE = {"byoanet": 256, "convit": 64, "crossvit": 240, "efficientformer": 224, "nest": 64}


def small(family):
    """Build a net whose random weights all take part, and two images for it, half as wide again as high.

    They are square where the family takes no other.
    """
    side = OF_ONE_SIZE.get(family, LARGER.get(family, 64))
    size = (side, side if family in OF_ONE_SIZE else side * 3 // 2)
    torch.manual_seed(0)
    net = _built(SMALLEST[family], size)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim < 2 or not parameter.any():  # also layer scales, and heads that start at zero
                parameter += 0.2 * torch.randn_like(parameter)
    drawn = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    x = nn.functional.interpolate(drawn, size, mode="bicubic")
    return (net.double(), x.double()) if family in NEARLY_CONSTANT else (net, x)


def _built(name, size):
    error = None
    for shorter in SHORTER:
        for sized in ({"img_size": size}, {}):
            try:
                net = timm.create_model(name, num_classes=5, **shorter, **sized).eval()
                with torch.no_grad():
                    net(torch.zeros(1, 3, *size))
                return net
            except Exception as problem:  # each constructor refuses in its own way
                error = problem
    raise error


def near_sighted(net):
    """Weaken random filters away from their middle: each place of the last map then sees its own most."""
    with torch.no_grad():
        for conv in (m for m in net.modules() if isinstance(m, nn.Conv2d)):
            rows, columns = (
                (torch.arange(k) - (k - 1) / 2).abs() <= (s / 2 if k > 1 and s > 1 else 0.5)
                for k, s in zip(conv.kernel_size, conv.stride, strict=True)
            )
            conv.weight *= torch.where(rows[:, None] & columns, 1.0, 0.03).to(conv.weight)
    return net

"""The networks' shapes: as published, and small ones of the same structure for tests.

The published JSON of the UNet was not seen; its values are those of musetalk.md §1.2. `convert`
uses the JSON that lies beside the weights.
"""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]

_UNET: Config = {
    "in_channels": 8,
    "out_channels": 4,
    "sample_size": 64,
    "layers_per_block": 2,
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "attention_head_dim": 8,
    "cross_attention_dim": 384,
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "act_fn": "silu",
    "center_input_sample": False,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "downsample_padding": 1,
    "mid_block_scale_factor": 1,
}

_KL: Config = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "sample_size": 256,
    "layers_per_block": 2,
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "norm_num_groups": 32,
    "act_fn": "silu",
}

_TINY: Config = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "encoder_block_out_channels": [64, 64, 64, 64],
    "decoder_block_out_channels": [64, 64, 64, 64],
    "num_encoder_blocks": [1, 3, 3, 3],
    "num_decoder_blocks": [3, 3, 3, 1],
    "act_fn": "relu",
    "upsampling_scaling_factor": 2,
    "force_upcast": False,
    "scaling_factor": 1.0,
    "shift_factor": 0.0,
    "latent_magnitude": 3,
    "latent_shift": 0.5,
}

_WHISPER: Config = {
    "num_mel_bins": 80,
    "d_model": 384,
    "encoder_layers": 4,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "max_source_positions": 1500,
    "activation_function": "gelu",
}

FULL: dict[str, Config] = {"unet": _UNET, "kl": _KL, "tiny": _TINY, "whisper": _WHISPER}

SMALL: dict[str, Config] = {
    "unet": _UNET
    | {
        "block_out_channels": [16, 32],
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "attention_head_dim": 2,
    },
    "kl": _KL | {"block_out_channels": [8, 8, 16, 16], "layers_per_block": 1, "norm_num_groups": 4},
    "tiny": _TINY
    | {
        "encoder_block_out_channels": [8, 8, 8, 8],
        "decoder_block_out_channels": [8, 8, 8, 8],
        "num_encoder_blocks": [1, 1, 1, 1],
        "num_decoder_blocks": [1, 1, 1, 1],
    },
    # Four layers and 384 channels stay: the windows and the UNet's tokens are made of them.
    "whisper": _WHISPER | {"encoder_ffn_dim": 64, "encoder_attention_heads": 2},
}

SIZES = {"full": FULL, "tiny": SMALL}

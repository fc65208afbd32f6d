"""Models that hear, saved with what makes their inputs of a sound, and sounds."""

import wave

import numpy as np
import torch
import transformers

from sequence_models import sequence_tokenizer

RATE, SECONDS = 16000, 0.1


def tone(rate, channels=1):
    """A chirp, in whole numbers of 16 bits, [T, C]."""
    time = np.arange(int(rate * SECONDS)) / rate
    left = np.sin(2 * np.pi * (300 + 2000 * time) * time)
    both = np.stack([left, 0.5 * left[::-1]][:channels], 1)
    return (both * 20000).astype("<i2")


def save_wave(path, samples, rate):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def save_listener(folder):
    """Save a classifier of waveforms."""
    torch.manual_seed(0)
    waves = {"conv_dim": (8, 8), "conv_stride": (5, 4), "conv_kernel": (10, 8)}
    config = transformers.Wav2Vec2Config(
        **waves,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        num_labels=3,
    )
    transformers.Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def save_writer(folder):
    """Save a Whisper that writes to the end."""
    torch.manual_seed(0)
    heads = {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
    layers = {f"{side}_layers": 1 for side in ("encoder", "decoder")}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = transformers.WhisperConfig(
        **(heads | layers | ids),
        vocab_size=20,
        d_model=16,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_mel_bins=8,
        max_source_positions=50,
        max_target_positions=20,
        decoder_start_token_id=1,
    )
    model = transformers.WhisperForConditionalGeneration(config).eval()
    # Text is written to the end, and nothing is suppressed that is not there.
    for name in ("eos_token_id", "begin_suppress_tokens", "suppress_tokens"):
        setattr(model.generation_config, name, None)
    model.save_pretrained(folder)
    sequence_tokenizer().save_pretrained(folder)
    hop = {"feature_size": 8, "hop_length": 160, "chunk_length": 1, "n_fft": 400}
    extractor = transformers.WhisperFeatureExtractor(**hop)
    extractor.save_pretrained(folder)
    return folder

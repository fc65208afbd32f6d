"""Encoders of sentences, and of images with texts, as small as they come."""

import torch
from torch import nn
from transformers import BertModel

from lrp_hooks.sentiment import sentiment_model
from tiny_bert import tiny_bert

TOKENIZER = sentiment_model()[1]


class TinySentenceEncoder(nn.Module):
    """What a SentenceTransformer is to a caller: a dictionary in, one out."""

    tokenizer = TOKENIZER

    def __init__(self, similarity="cosine", seed=0):
        super().__init__()
        self.similarity_fn_name = similarity
        self.body = tiny_bert(BertModel, seed=seed, max_position_embeddings=16)

    def preprocess(self, texts):
        return self.tokenizer(texts, padding=True, return_tensors="pt")

    def forward(self, features):
        hidden = self.body(**features).last_hidden_state
        mask = features["attention_mask"][..., None].to(hidden)
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return {**features, "token_embeddings": hidden, "sentence_embedding": mean}

    def encode(self, text):
        with torch.no_grad():
            return self(dict(self.preprocess([text])))["sentence_embedding"][0]


class BagOfWords(nn.Module):
    """The mean of token vectors times a matrix: relevance is known in closed form."""

    tokenizer = TOKENIZER
    similarity_fn_name = "cosine"

    def __init__(self):
        super().__init__()
        torch.default_generator.manual_seed(0)
        self.table = nn.Embedding(len(TOKENIZER), 6).double()
        self.linear = nn.Linear(6, 4).double()

    tokenize = TinySentenceEncoder.preprocess

    def forward(self, features):
        mean = self.table(features["input_ids"]).mean(1)
        return {"sentence_embedding": self.linear(mean)}


TEXT = {
    "vocab_size": 6000,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
}
VISION = {**TEXT, "image_size": 8, "patch_size": 4}
del VISION["vocab_size"], VISION["max_position_embeddings"]


def two_towers(model, config, text=(), **settings):
    """A model of two towers in float64, from the class and its configuration's."""
    torch.default_generator.manual_seed(0)
    ids = {"bos_token_id": TOKENIZER.cls_token_id, "pad_token_id": 0}
    ids["eos_token_id"] = TOKENIZER.sep_token_id
    built = config(
        text_config={**TEXT, **ids, **dict(text)}, vision_config=VISION, **settings
    )
    return model(built).double().eval()

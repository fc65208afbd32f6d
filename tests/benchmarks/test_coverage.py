"""The coverage benchmark: its shrinking and its report, on little and on fakes."""

import json

import pytest
import torch
from torch import nn
from transformers import BertConfig, GPT2Config, Qwen3NextConfig

from coverage import architectures, leak, probe, report, run, shrink

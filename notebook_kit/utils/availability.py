"""Which optional packages and devices there are, as published scripts ask."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

__all__ = [
    "is_deepspeed_zero3_enabled",
    "is_offline_mode",
    "is_sagemaker_mp_enabled",
    "is_torch_bf16_gpu_available",
    "is_torch_cuda_available",
    "is_torch_mps_available",
    "is_torch_tf32_available",
    "requires_backends",
    "send_example_telemetry",
]

# `is_<name>_available` -> the module that it looks for
_MODULES = {
    **{
        name: name
        for name in [
            "accelerate",
            "apex",
            "av",
            "bitsandbytes",
            "datasets",
            "deepspeed",
            "faiss",
            "flax",
            "ftfy",
            "librosa",
        ]
    },
    **{
        name: name
        for name in [
            "matplotlib",
            "nltk",
            "onnx",
            "optuna",
            "pandas",
            "peft",
            "phonemizer",
            "psutil",
            "pyctcdecode",
            "rich",
        ]
    },
    **{
        name: name
        for name in ["safetensors", "scipy", "sentencepiece", "spacy", "timm", "tokenizers", "torch", "torchvision"]
    },
    **{name: name for name in ["sacremoses", "tiktoken", "torchaudio", "wandb", "tensorboard", "mlflow"]},
    "comet": "comet_ml",
    "flash_attn_2": "flash_attn",
    "protobuf": "google.protobuf",
    "pytesseract": "pytesseract",
    "ray": "ray",
    "sklearn": "sklearn",
    "speech": "torchaudio",
    "tf": "tensorflow",
    "torch_npu": "torch_npu",
    "torch_tpu": "torch_xla",
    "torch_xla": "torch_xla",
    "vision": "PIL",
}
__all__ += [f"is_{name}_available" for name in _MODULES]

_DOCUMENTATION = """Whether the package `{module}` is installed.

    Example:
        >>> from notebook_kit.utils import {name}
        >>> isinstance({name}(), bool)
        True
    """


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a parent package is missing, or a module without a spec stands in for it
        return False


def __getattr__(name: str) -> Callable[..., bool]:
    package = name.removeprefix("is_").removesuffix("_available")
    if package not in _MODULES or name != f"is_{package}_available":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def available(*_: Any, **__: Any) -> bool:
        return _installed(_MODULES[package])

    available.__name__ = available.__qualname__ = name
    available.__doc__ = _DOCUMENTATION.format(name=name, module=_MODULES[package])
    globals()[name] = available
    return available


def is_torch_cuda_available() -> bool:
    """Whether torch sees a CUDA device."""
    import torch

    return torch.cuda.is_available()


def is_torch_mps_available(min_version: str | None = None) -> bool:
    """Whether torch sees a GPU of an Apple computer."""
    import torch

    return torch.backends.mps.is_available()


def is_torch_bf16_gpu_available() -> bool:
    """Whether the GPU computes in bfloat16."""
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()


def is_torch_tf32_available() -> bool:
    """Whether the GPU has TensorFloat-32, as those from Ampere on have."""
    import torch

    return torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 8


def is_sagemaker_mp_enabled() -> bool:
    """False: SageMaker's model parallelism is not supported."""
    return False


def is_deepspeed_zero3_enabled() -> bool:
    """False: DeepSpeed is not supported."""
    return False


def is_offline_mode() -> bool:
    """Whether `HF_HUB_OFFLINE` forbids the network."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def requires_backends(obj: Any, backends: str | list[str]) -> None:
    """Check that optional packages are installed.

    Args:
        obj: What needs them: an object, or its name.
        backends: Names as in `is_<name>_available`, such as "torch" or "scipy".

    Raises:
        MissingDependencyError: (an ImportError) if one is missing.

    Example:
        >>> requires_backends("Trainer", ["torch"])
    """
    from notebook_kit.errors import MissingDependencyError

    names = [backends] if isinstance(backends, str) else backends
    missing = [name for name in names if not _installed(_MODULES.get(name, name))]
    if missing:
        owner = obj if isinstance(obj, str) else getattr(obj, "__name__", type(obj).__name__)
        raise MissingDependencyError(
            f"{owner} needs {' and '.join(missing)}, which is not installed.",
            next_step=f"pip install {' '.join(_MODULES.get(name, name) for name in missing)}",
        )


def send_example_telemetry(example_name: str, *example_args: Any, framework: str = "pytorch") -> None:
    """Send nothing. Published scripts call it to report that they are used; this package reports nothing.

    Example:
        >>> send_example_telemetry("run_glue")
    """

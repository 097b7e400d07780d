"""Settings: declared, documented and checked in `settings`, read by `load`."""

from vitdsi.config.load import config_from_dict, load_config
from vitdsi.config.settings import (
    IdsConfig,
    IndexConfig,
    ModelConfig,
    PaperIdsConfig,
    PaperModelConfig,
    PaperTrainingConfig,
    TrainingConfig,
)

__all__ = [
    "IdsConfig",
    "IndexConfig",
    "ModelConfig",
    "PaperIdsConfig",
    "PaperModelConfig",
    "PaperTrainingConfig",
    "TrainingConfig",
    "config_from_dict",
    "load_config",
]

"""Training of a model that does not fit on one card: its states are spread over the GPUs (FSDP2).

Each process keeps a share of the weights, of their gradients and of the optimizer's moments, and gathers a block's
weights for as long as it computes with them (Zhao et al., 2023; torch's `fully_shard`). Batches, losses and what is
kept are those of any other training.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME
from transformers.utils import SAFE_WEIGHTS_NAME

from libretto.training.trainer import MusicTrainer

# The first process reads and writes whole tensors, as one process alone would; the others get their share of them.
TO_FIRST = StateDictOptions(full_state_dict=True, cpu_offload=True)
FROM_FIRST = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)


class ShardedTrainer(MusicTrainer):
    """`MusicTrainer` for several processes, with the model's states spread over them."""

    def __init__(self, variant, settings, **kwargs):
        super().__init__(variant, settings, **kwargs)
        shard(variant.model, init_device_mesh(self.args.device.type, (self.args.world_size,)))
        # Autocast, but no DDP: training finds the model prepared.
        self.accelerator.prepare_model(variant.model, evaluation_mode=True)

    def weights_to_keep(self):
        """The whole weights, on the first process."""
        return whole_weights(self.model)

    def save_model(self, output_dir=None, _internal_call=False):
        """The HF Trainer's: all processes take part in gathering the weights, unless these have just been kept."""
        step, _ = self.just_kept
        weights = None if step == self.state.global_step else whole_weights(self.model)
        if self.args.should_save:
            self._save(output_dir, weights)

    def _save_optimizer_and_scheduler(self, output_dir):
        moments = get_optimizer_state_dict(self.model, self.optimizer, options=TO_FIRST)
        if self.args.should_save:
            torch.save(moments, Path(output_dir, OPTIMIZER_NAME))
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir, SCHEDULER_NAME))

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        weights = load_file(Path(resume_from_checkpoint, SAFE_WEIGHTS_NAME)) if self.is_world_process_zero() else {}
        set_model_state_dict(self.model, weights, options=FROM_FIRST)

    def _load_optimizer_and_scheduler(self, checkpoint):
        if checkpoint is not None:
            moments = torch.load(Path(checkpoint, OPTIMIZER_NAME)) if self.is_world_process_zero() else {}
            set_optimizer_state_dict(self.model, self.optimizer, moments, options=FROM_FIRST)
            self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint, SCHEDULER_NAME)))


def shard(model: torch.nn.Module, mesh: DeviceMesh) -> None:
    """Spread a model's parameters over the processes of `mesh`, block by block; in place."""
    for block in model.blocks():
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)  # what is outside the blocks
    register_fsdp_forward_method(model, "token_losses")


def whole_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights of a sharded model, on the CPU of the first process; nothing on the others. All must call it."""
    weights = get_model_state_dict(model, options=TO_FIRST)
    once = {name for name, _ in model.named_parameters()} | {name for name, _ in model.named_buffers()}
    return {name: tensor for name, tensor in weights.items() if name in once}  # tied weights under one name

"""Variants that train a small part of their parameters: low-rank adapters (LoRA; Hu et al., 2022), a frozen base."""

import torch

# The linear maps of a block: Llama's, GPT-2's.
LINEAR_MAPS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "c_attn", "c_proj", "c_fc"]


def add_adapter(model: torch.nn.Module, settings: dict) -> None:
    """Freeze the pretrained weights, and add two small matrices to each linear map of the blocks.

    What is new in the model, `model.new_parameters`, is trained in full.

    Args:
        model: of either family; changed in place.
        settings: the variant's section `adapter`: `rank`, `alpha` and `dropout`.
    """
    from peft import LoraConfig, inject_adapter_in_model  # takes seconds: only those who need it should wait

    config = LoraConfig(
        r=settings["rank"],
        lora_alpha=settings["alpha"],
        lora_dropout=settings["dropout"],
        target_modules=LINEAR_MAPS,
        fan_in_fan_out=model.config.model_type == "libretto-amt",  # GPT-2 stores its matrices transposed
    )
    inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        if name.startswith(model.new_parameters):
            parameter.requires_grad = True


def freeze_base(model: torch.nn.Module) -> None:
    """Leave the pretrained weights as they are: what is new in the model, `new_parameters`, is trained alone."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith(model.new_parameters)


def is_adapted(model: torch.nn.Module) -> bool:
    """Whether the model has an adapter."""
    return any(hasattr(module, "lora_A") for module in model.modules())


@torch.no_grad()
def merged_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights of the model without an adapter that computes the same: W + alpha / rank B A for each adapted W."""
    state = {
        name.replace(".base_layer.", "."): tensor for name, tensor in model.state_dict().items() if ".lora_" not in name
    }
    for name, module in model.named_modules():
        if hasattr(module, "lora_A"):
            state[f"{name}.weight"] = module.get_base_layer().weight + module.get_delta_weight("default")
    return state

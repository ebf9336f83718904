"""Reads a trained Llama variant, folds it into a plain LlamaForCausalLM, writes that with its tokenizer."""

from libretto.files import follow_umask
from libretto.imports import lean_imports
from libretto.job import start_job

with lean_imports():
    import torch

    from libretto.models.llama import LlamaForTextToMusic, generation_config
    from libretto.models.prompts import load_tokenizer

start_job(snakemake)
model = LlamaForTextToMusic.from_pretrained(snakemake.input.model, dtype=torch.float32)
tokenizer = load_tokenizer(snakemake.input.text_model)
folded = model.fold()
folded.generation_config = generation_config(tokenizer, model.config.vocab_size, snakemake.params.chunk_tokens)
folded.save_pretrained(snakemake.output.model)
tokenizer.save_pretrained(snakemake.output.model)
follow_umask(snakemake.output.model)

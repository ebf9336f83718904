"""The results table, the figures, the listening page (paper, section 6)."""

from dataclasses import asdict

from libretto.config.jobs import chunk_tokens, published_base, stages

TEMPLATES = "workflow/templates"
PAGE_TEMPLATES = [
    f"{TEMPLATES}/{name}"
    for name in ("style.css", "scores.html", "samples.html", "card.html", "keys.html", "player.js", "sort.js")
]

HEARD_AS = [system.heard_as for system in SYSTEMS.values()]

VARIANT_FAMILIES = {name: variant["family"] for name, variant in config["variants"].items()}
VARIANT_LABELS = {
    row.variant: row.label for row in SYSTEMS.values() if row.variant and row.name not in config["systems"]
}
WEIGHTED = [name for name, variant in config["variants"].items() if variant.get("text_states") == "weighted"]

# The page's figures and their captions.
FIGURES = {
    "dataset": "The data: songs per split, chunks and tokens per song, instruments, and what was dropped.",
    "losses": "Training and validation loss over steps. The losses of the two families are over different tokens; "
    "those of the first steps may lie above the panel.",
    "scores": "Each measured score of every system, of this run and of the paper; bars are standard errors of the mean. "
    "The validation losses of the two families are over different tokens.",
    "correlations": "The paper suspects that CLAP and FAD follow the instruments more than the music (section 6.1). How "
    "they go with instrument F1, and CLAP with degeneracy (crowded or short), over the samples of a system; bars are 95 % "
    "intervals. FAD per sample also falls with a sample's length.",
}
if WEIGHTED:
    FIGURES["layer_weights"] = (
        "How far the learned weight of each layer of the text encoder is from the uniform one, in percent of it, in the "
        "weighted variants."
    )


# Seconds of work: not worth a place in a cluster's queue.
localrules:
    table,
    figure_losses,
    figure_scores,
    figure_correlations,
    figure_layer_weights,
    listening_page,
    model_card,


rule table:
    input:
        metrics=expand("<run>/metrics/{system}.json", system=SYSTEMS),
        samples=expand("<run>/metrics/{system}.parquet", system=SYSTEMS),
        paper="workflow/reference/table3.csv",
        elsewhere="workflow/reference/elsewhere.csv",
        template=f"{TEMPLATES}/table.html",
        templates=PAGE_TEMPLATES,
    output:
        csv="<run>/table.csv",
        markdown="<run>/table.md",
        latex="<run>/table.tex",
        samples="<run>/scores.parquet",
        comparisons=report(
            "<run>/comparisons.csv",
            caption="../captions/comparisons.rst",
            category="Results",
            labels={"item": "Tests of all pairs of systems"},
        ),
        html=report("<run>/table.html", caption="../captions/table.rst", category="Results", labels={"item": "Table 3"}),
    log:
        "<run>/logs/table.log",
    benchmark:
        "<run>/benchmarks/table.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=grows(30),
    params:
        run=config["run"],
        systems=[asdict(system) for system in SYSTEMS.values()],
        clap=config["metrics"]["clap"],
        standins=uses_standins(config),
        seed=config["seed"],
        code=code("table.py"),
    message:
        "Results table of {params.run}"
    script:
        "../scripts/table.py"


rule model_card:
    input:
        model=ancient("<run>/train/{variant}/folded"),
        best="<run>/train/{variant}/best.json",
        table="<run>/table.csv",
        template=f"{TEMPLATES}/model_card.md",
    output:
        card="<run>/train/{variant}/README.md",
    log:
        "<run>/logs/model_card/{variant}.log",
    benchmark:
        "<run>/benchmarks/model_card/{variant}.tsv"
    wildcard_constraints:
        variant=one_of(LLAMA_VARIANTS),
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        systems=lambda wildcards: [
            asdict(row)
            for row in SYSTEMS.values()
            if row.variant == wildcards.variant and row.name not in config["systems"]
        ],
        base=lambda wildcards: published_base(config, wildcards.variant),
        training=lambda wildcards: config["variants"][wildcards.variant]["training"],
        init=lambda wildcards: config["variants"][wildcards.variant].get("init"),
        songs=lambda wildcards: config["variants"][wildcards.variant]["songs"],
        stages=lambda wildcards: [
            {"name": name, "songs": config["variants"][name]["songs"]} | config["variants"][name]["training"]
            for name in stages(config, wildcards.variant)[:-1]
        ],
        instruction=config["text"]["instruction"],
        chunk_tokens=lambda wildcards: chunk_tokens(config, wildcards.variant),
        clap=config["metrics"]["clap"],
        standins=uses_standins(config),
        code=code("model_card.py"),
    message:
        "Model card of {wildcards.variant}"
    script:
        "../scripts/model_card.py"


rule figure_losses:
    input:
        logs=expand("<run>/train/{variant}/log.parquet", variant=config["variants"]),
    output:
        png="<run>/report/figures/losses.png",
        svg=report(
            "<run>/report/figures/losses.svg",
            caption="../captions/losses.rst",
            category="Figures",
            labels={"item": "Losses"},
        ),
    log:
        "<run>/logs/figure_losses.log",
    benchmark:
        "<run>/benchmarks/figure_losses.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        families=VARIANT_FAMILIES,
        labels=VARIANT_LABELS,
        code=code("figure_losses.py"),
    message:
        "Figure of the losses"
    script:
        "../scripts/figure_losses.py"


rule figure_scores:
    input:
        table="<run>/table.csv",
    output:
        png="<run>/report/figures/scores.png",
        svg=report(
            "<run>/report/figures/scores.svg",
            caption="../captions/scores.rst",
            category="Figures",
            labels={"item": "Scores"},
        ),
    log:
        "<run>/logs/figure_scores.log",
    benchmark:
        "<run>/benchmarks/figure_scores.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        systems=[asdict(system) for system in SYSTEMS.values()],
        families=VARIANT_FAMILIES,
        code=code("figure_scores.py"),
    message:
        "Figure of the scores"
    script:
        "../scripts/figure_scores.py"


rule figure_correlations:
    input:
        scores="<run>/scores.parquet",
    output:
        csv="<run>/correlations.csv",
        png="<run>/report/figures/correlations.png",
        svg=report(
            "<run>/report/figures/correlations.svg",
            caption="../captions/correlations.rst",
            category="Figures",
            labels={"item": "What CLAP and FAD follow"},
        ),
    log:
        "<run>/logs/figure_correlations.log",
    benchmark:
        "<run>/benchmarks/figure_correlations.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        systems=[asdict(system) for system in SYSTEMS.values()],
        seed=config["seed"],
        code=code("figure_correlations.py"),
    message:
        "Figure of what CLAP and FAD follow"
    script:
        "../scripts/figure_correlations.py"


rule figure_layer_weights:
    input:
        weights=expand("<run>/train/{variant}/layer_weights.json", variant=WEIGHTED),
    output:
        png="<run>/report/figures/layer_weights.png",
        svg=report(
            "<run>/report/figures/layer_weights.svg",
            caption="../captions/layer_weights.rst",
            category="Figures",
            labels={"item": "Layer weights"},
        ),
    log:
        "<run>/logs/figure_layer_weights.log",
    benchmark:
        "<run>/benchmarks/figure_layer_weights.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        variants=WEIGHTED,
        labels={name: VARIANT_LABELS[name] for name in WEIGHTED},
        code=code("figure_layer_weights.py"),
    message:
        "Figure of the learned layer weights"
    script:
        "../scripts/figure_layer_weights.py"


rule listening_page:
    input:
        table="<run>/table.csv",
        scores="<run>/scores.parquet",
        correlations="<run>/correlations.csv",
        pairs=PAIRS,
        samples=expand("<run>/samples/{system}/tokens.parquet", system=SYSTEMS),
        midi=[ancient(f"<run>/samples/{name}/midi") for name in SYSTEMS],
        audio=[ancient(f"<run>/audio/{name}") for name in HEARD_AS],
        audio_lists=[f"<run>/audio/{name}.csv" for name in HEARD_AS],
        figures=expand("<run>/report/figures/{figure}.svg", figure=FIGURES),
        elsewhere="workflow/reference/elsewhere.csv",
        template=f"{TEMPLATES}/index.html",
        extremes=f"{TEMPLATES}/extremes.html",
        templates=PAGE_TEMPLATES,
    output:
        page="<run>/report/index.html",
        extremes=expand("<run>/report/best-and-worst-{system}.html", system=SYSTEMS),
        media=directory("<run>/report/samples"),
    log:
        "<run>/logs/listening_page.log",
    benchmark:
        "<run>/benchmarks/listening_page.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        run=config["run"],
        systems=[asdict(system) for system in SYSTEMS.values()],
        clap=config["metrics"]["clap"],
        standins=uses_standins(config),
        prompts=config["report"]["listening_samples"],
        captions=list(FIGURES.values()),
        code=code("listening_page.py"),
    message:
        "Listening page of {params.run}"
    script:
        "../scripts/listening_page.py"

"""Section 5.1, inference: the music of every system, and FAD's reference set, as audio."""


rule render:
    input:
        midi="<run>/samples/{system}/midi",
        soundfont=source("soundfont"),
    output:
        audio=directory("<run>/audio/{system}"),
        list="<run>/audio/{system}.csv",
    log:
        "<run>/logs/render/{system}.log",
    benchmark:
        "<run>/benchmarks/render/{system}.tsv"
    wildcard_constraints:
        system=one_of(name for name in [*SYSTEMS, "background"] if name != RANDOM_TEXT),
    conda:
        "../../envs/audio.yaml"
    threads: 8
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        sample_rate=config["audio"]["sample_rate"],
        trim_db=config["audio"]["trim_db"],
        code=code("render.py"),
    message:
        "Rendering {wildcards.system}"
    script:
        "../scripts/render.py"
